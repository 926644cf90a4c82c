package nextomni.edge.tests

import nextomni.edge.AudioConfig
import nextomni.edge.ImageConfig
import nextomni.edge.TextConfig
import nextomni.edge.formats.Fields
import nextomni.edge.media.Picture
import nextomni.edge.media.Pixels
import nextomni.edge.media.Sound
import nextomni.edge.media.pictureOf
import nextomni.edge.media.pixelsOf
import nextomni.edge.media.waveformOf
import nextomni.edge.tokens.TextTokenizer
import nextomni.edge.tokens.logMel

private fun tokenizer(asked: Fields): TextTokenizer {
    val sizes = "{\"vocabulary_size\": 1, \"block_size\": 1, \"max_blocks\": 1}"
    return TextTokenizer(asked.fields("tokenizer"), TextConfig(Fields.parse(sizes, "config")))
}

private fun made(asked: Fields): List<Any?> = when (asked.string("kind")) {
    "picture" -> {
        val argb = asked.whole("argb").toIntArray()
        val picture = Picture(argb, asked.int("width"), asked.int("height"))
        pixelsOf(picture, ImageConfig(asked.fields("config"))).toList()
    }
    "levels" -> {
        val values = asked.floats("pixels")
        val pixels = Pixels(values, asked.int("width"), values.size / 3 / asked.int("width"))
        pictureOf(pixels, asked.boolean("truncated")).argb.toList()
    }
    "sound" -> {
        val sound = Sound(asked.rowsOfFloats("channels"), asked.int("from"))
        waveformOf(sound, asked.int("rate"), asked.int("most")).toList()
    }
    "logMel" -> logMel(asked.floats("samples"), AudioConfig(asked.fields("config"))).toList()
    "text" -> tokenizer(asked).let { own -> asked.strings("texts").map(own::encode) }
    else -> tokenizer(asked).let { own ->
        asked.list("ids").map { ids -> own.decode(flat(ids).map { it.toInt() }.toIntArray()) }
    }
}

/** Prepares what standard input lists, one JSON object a line, one answer a line. */
fun main() {
    for (line in generateSequence(::readLine)) println(json(made(Fields.parse(line, "asked"))))
}

package nextomni.edge.tokens

import java.text.Normalizer
import nextomni.edge.NextOmniException
import nextomni.edge.TextConfig
import nextomni.edge.formats.Fields

private const val MAX_TEXT = 1 shl 20 // characters
private const val SPACES =
    "\t\n\u000b\u000c\r\u001c\u001d\u001e\u001f \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004" +
        "\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"

/**
 * GPT-2's printable stand-in for each byte: itself where it is printable, else a letter from 256 on.
 */
private val SYMBOLS: CharArray = run {
    var next = 256
    CharArray(256) { byte ->
        (if (byte in 33..126 || byte in 161..172 || byte >= 174) byte else next++).toChar()
    }
}
private val BYTES: Map<Char, Byte> =
    SYMBOLS.withIndex().associate { (byte, symbol) -> symbol to byte.toByte() }

/** A text without white space around it, as Python's `strip` leaves it. */
internal fun stripped(text: String): String = text.trim { it in SPACES }

/**
 * Text to ids and back, by byte-level BPE from a tokenizer.json, and the special tokens of a chat
 * format. Special tokens in a user's text are plain text, never control. (tokens/text.py)
 */
class TextTokenizer(file: Fields, config: TextConfig) {
    val template: String = config.template
    private val pattern = splitPattern(file.fields("pre_tokenizer"))
    private val composes = file.fieldsOrNull("normalizer")?.string("type") == "NFC"
    private val ids = HashMap<String, Int>()
    private val pieces = HashMap<Int, String>()
    private val controls = HashSet<Int>()

    /** How early a pair "left right" is merged. */
    private val ranks: Map<String, Int>

    /** Spellings that a user's text must not make. */
    private val split: List<String>
    val special: SpecialTokens

    init {
        val model = file.fields("model")
        val vocabulary = model.fields("vocab")
        for (piece in vocabulary.names) ids[piece] = vocabulary.int(piece)
        val added = file.objects("added_tokens")
        for (each in added) {
            ids[each.string("content")] = each.int("id")
            if (each.boolean("special", false)) controls.add(each.int("id"))
        }
        for ((piece, id) in ids) pieces[id] = piece
        ranks = model.list("merges").withIndex().associate { (rank, pair) -> spelled(pair) to rank }
        split = if (template == "chatml") {
            listOf("<|")
        } else {
            added.map { it.string("content") }.filter { it.codePointCount(0, it.length) > 1 }.sorted()
        }
        special = specialTokens(config)
    }

    private fun spelled(pair: Any?): String = when (pair) {
        is String -> pair
        is List<*> -> pair.joinToString(" ")
        else -> throw NextOmniException("tokenizer.json: a merge that is no pair")
    }

    private fun specialTokens(config: TextConfig): SpecialTokens {
        val spelled = SPELLINGS[template] ?: throw NextOmniException(
            "chat template '$template': expected one of ${SPELLINGS.keys.joinToString(", ")}",
        )
        val own = spelled.mapValues { (_, spelling) ->
            ids[spelling]
                ?: throw NextOmniException("tokenizer.json: special token $spelling is missing")
        }
        val given = config.nullToken?.let { mapOf("null" to it) }.orEmpty()
        return SpecialTokens(given + own)
    }

    /** Ids of a text; a special token's spelling becomes ordinary characters. */
    fun encode(text: String): List<Int> {
        if (text.length > MAX_TEXT) {
            throw NextOmniException(
                "a text of ${text.length} characters, at most $MAX_TEXT are read; shorten it",
            )
        }
        val mask = SPELLINGS.getValue(template)["mask"]
        if (mask != null && mask in text) {
            throw NextOmniException(
                "the text holds $mask, the mask that the model fills in; leave it out",
            )
        }
        val plain = split.fold(text) { found, spelling ->
            val first = spelling.offsetByCodePoints(0, 1)
            found.replace(spelling, "${spelling.take(first)} ${spelling.drop(first)}")
        }
        val normal = if (composes) Normalizer.normalize(plain, Normalizer.Form.NFC) else plain
        return words(normal).flatMap(::merged)
    }

    /** What the pattern finds, and what stands between, each by itself. */
    private fun words(text: String): List<String> {
        val found = ArrayList<String>()
        var place = 0
        for (match in pattern.findAll(text)) {
            if (match.range.first > place) found.add(text.substring(place, match.range.first))
            if (match.value.isNotEmpty()) found.add(match.value)
            place = match.range.last + 1
        }
        if (place < text.length) found.add(text.substring(place))
        return found
    }

    /** One word: its bytes as symbols, the pair that was learnt first merged first. */
    private fun merged(word: String): List<Int> {
        val parts = word.encodeToByteArray().mapTo(ArrayList()) {
            SYMBOLS[it.toInt() and 0xff].toString()
        }
        while (true) {
            var best = -1
            var rank = Int.MAX_VALUE
            for (at in 0 until parts.size - 1) {
                val found = ranks["${parts[at]} ${parts[at + 1]}"] ?: continue
                if (found < rank) {
                    best = at
                    rank = found
                }
            }
            if (best < 0) break
            parts[best] += parts.removeAt(best + 1)
        }
        return parts.mapNotNull(ids::get)
    }

    /**
     * The text up to <EOS>, or another end of a masked model's answer, special tokens left out.
     */
    fun decode(tokens: IntArray): String {
        val ends = if (special.mask >= 0) special.ends else setOf(special["eos"])
        val symbols = tokens.takeWhile { it !in ends }.filter { it !in controls }
            .joinToString("") { pieces[it].orEmpty() }
        val bytes = symbols.mapNotNull(BYTES::get).toByteArray()
        return stripped(bytes.decodeToString())
    }
}

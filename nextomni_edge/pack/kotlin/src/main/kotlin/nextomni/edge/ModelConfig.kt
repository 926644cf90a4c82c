package nextomni.edge

import kotlin.math.ceil
import nextomni.edge.flow.CommitRule
import nextomni.edge.formats.Fields

/** What a segment holds, or what an answer or a part of a prompt is of; only text and images move. */
enum class Kind(val key: String) {
    TEXT("text"), IMAGE("image"), AUDIO("audio"), VIDEO("video");

    /** The kind of its tokens: a video's frames are images. */
    val modality: Kind get() = if (this == VIDEO) IMAGE else this

    companion object {
        /** NextOmniException: no kind has this name. */
        fun of(key: String): Kind = entries.firstOrNull { it.key == key }
            ?: throw NextOmniException("modality '${key.take(80)}' is not known")
    }
}

/** A modality's path and its published settings. (config/flow.py) */
class PathSettings(data: Fields) {
    val kind: String = data.string("kind", "metric")
    val source: String = data.string("source", "mask")
    val mask: Int? = data.intOrNull("mask")
    val kappa: String = data.string("kappa", "linear")
    val shift: Double = data.double("shift", 1.0)
    val c: Double = data.double("c", 3.0)
    val a: Double = data.double("a", 0.9)
    val steps: Int = data.int("steps", 32)
    val temperature: Double = data.double("temperature", 1.0)
    val guidance: Double = data.double("guidance", 0.0)
    val commit: CommitRule? = data.fieldsOrNull("commit")?.let(::commitRule)
}

/** A rule with what JSON leaves out where it is the default. */
fun commitRule(data: Fields): CommitRule = CommitRule(
    count = data.string("count", "even"),
    score = data.string("score", "probability"),
    tempered = data.boolean("tempered", false),
    scoreNoise = data.string("score_noise", "none"),
    block = data.int("block", 0),
    threshold = data.double("threshold", 0.0),
    topK = data.int("top_k", 0),
    topP = data.double("top_p", 1.0),
    never = data.ints("never"),
    last = data.ints("last"),
    total = data.string("total", "masked"),
    early = data.boolean("early", false),
    drawTemperature = data.doubleOrNull("draw_temperature"),
    ends = data.ints("ends"),
)

class BackboneConfig(data: Fields) {
    val hiddenSize: Int = data.int("hidden_size")
    val layers: Int = data.int("layers")
    val kvHeads: Int = data.int("kv_heads")
    val headDim: Int = data.intOrNull("head_dim") ?: (hiddenSize / data.int("query_heads"))
    val maxPositions: Int = data.int("max_positions")

    /** Whether the prompt sees nothing of the response. */
    val prefix: Boolean = data.string("attention", "full") == "prefix"
}

class TextConfig(data: Fields) {
    val vocabularySize: Int = data.int("vocabulary_size")
    val blockSize: Int = data.int("block_size")
    val maxBlocks: Int = data.int("max_blocks")
    val template: String = data.string("template", "chatml")
    val canvas: Int? = data.intOrNull("canvas")
    val nullToken: Int? = data.intOrNull("null_token")
}

/** What images and audio share: K sub-codes of C values each, and how the head predicts them. */
class CodedConfig(data: Fields) {
    val codebooks: Int = data.fields("codebook").int("codebooks")
    val entries: Int = data.fields("codebook").int("entries")
    val autoregressive: Boolean = data.fieldsOrNull("head")?.string("kind", "") == "autoregressive"
}

class ImageConfig(data: Fields) {
    val coded = CodedConfig(data)
    val size: Int = data.int("size")
    val maxFrames: Int = data.int("max_frames", 1)
    val fitting: String = data.string("fitting", "white")
    val truncated: Boolean = data.boolean("truncated", false)

    /** Tokens of a picture. */
    val positions: Int = (size / data.int("patch")).let { it * it }
}

class AudioConfig(data: Fields) {
    val coded = CodedConfig(data)
    val sampleRate: Int = data.int("sample_rate")
    val nFft: Int = data.int("n_fft")
    val hop: Int = data.int("hop")
    val mels: Int = data.int("mels")
    val framesPerToken: Int = data.int("frames_per_token")

    /** Tokens of the longest sound. */
    val maxTokens: Int =
        ceil(data.double("max_seconds") * sampleRate / (hop * framesPerToken)).toInt()
}

/** A model's config, with what JSON leaves out where it is the default. (config/, decoding.py) */
class ModelConfig(data: Fields) {
    val modalities: List<Kind> =
        if (data.listOrNull("modalities") == null) listOf(Kind.TEXT, Kind.IMAGE, Kind.AUDIO)
        else data.strings("modalities").map(Kind::of)
    val logitShift: Int = data.int("logit_shift", 0)
    val backbone = BackboneConfig(data.fields("backbone"))
    val text = TextConfig(data.fields("text"))
    private val imageOrNull = data.fieldsOrNull("image")?.let(::ImageConfig)
    private val audioOrNull = data.fieldsOrNull("audio")?.let(::AudioConfig)
    private val paths: Map<Kind, PathSettings> = data.fields("flow").let { flow ->
        modalities.associateWith { PathSettings(flow.fields(it.key)) }
    }

    /** Whether codes are ids of the text's vocabulary, in one table. */
    val sharesVocabulary: Boolean = data.string("network", "native") == "unified"

    val image: ImageConfig get() = imageOrNull ?: lacks(Kind.IMAGE)
    val audio: AudioConfig get() = audioOrNull ?: lacks(Kind.AUDIO)

    /** The path of a kind; a video's frames are images. */
    fun path(kind: Kind): PathSettings = paths[kind.modality] ?: lacks(kind)

    private fun coded(kind: Kind): CodedConfig =
        if (kind == Kind.AUDIO) audio.coded else image.coded

    /** Sub-codes of a token. */
    fun codebooks(kind: Kind): Int = if (kind == Kind.TEXT) 1 else coded(kind).codebooks

    /** The number of values of each sub-code. */
    fun symbols(kind: Kind): Int =
        if (kind == Kind.TEXT) text.vocabularySize else coded(kind).entries

    /** Whether a path reads a metric table. */
    val needsTables: Boolean get() = paths.values.any { it.kind == "metric" }

    /** Codes of a picture; 0 where the model has none. */
    val imageEntries: Int get() = imageOrNull?.coded?.entries ?: 0

    /** The id of a masked token: by default the one behind the symbols. */
    fun mask(kind: Kind): Int = path(kind).mask ?: symbols(kind)

    /** Whether the head predicts a position's sub-codes one after another. */
    fun autoregressive(kind: Kind): Boolean = kind != Kind.TEXT && coded(kind).autoregressive

    /**
     * The longest answer of a kind in its own unit: blocks, tokens, frames; a picture is 1. 0: the
     * model does not answer so.
     */
    fun most(kind: Kind): Int = when {
        kind.modality !in modalities -> 0
        kind == Kind.TEXT -> text.maxBlocks
        kind == Kind.AUDIO -> audio.maxTokens
        kind == Kind.IMAGE -> 1
        else -> image.maxFrames
    }

    private fun lacks(kind: Kind): Nothing = throw NextOmniException(
        "${kind.key}: this model takes ${modalities.joinToString(" and ") { it.key }}",
    )
}

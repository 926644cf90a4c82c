package nextomni.edge.generate

import kotlin.math.sqrt
import nextomni.edge.Kind
import nextomni.edge.ModelConfig
import nextomni.edge.NextOmniException
import nextomni.edge.NonFiniteException
import nextomni.edge.flow.FlowPath
import nextomni.edge.flow.MetricPath
import nextomni.edge.flow.MetricSchedule
import nextomni.edge.flow.MetricTable
import nextomni.edge.flow.MixturePath
import nextomni.edge.flow.MixtureSchedule
import nextomni.edge.tokens.TextTokenizer
import nextomni.edge.tokens.TokenSequence
import nextomni.edge.tokens.maskedUnconditional

/** What is kept of prompts that see none of the response: their length, keys and values. */
class Prompt(val length: Int, val keys: Tensor, val values: Tensor)

/** Hidden states (R·H,) of each branch of a forward, and on request its keys and values. */
class Attended(val hidden: List<FloatArray>, val kept: Prompt?)

/**
 * A model as the loop runs it: components, tokenizer, paths. `table` gives the metric table of a
 * modality, (V, D) of text and (K, C, D) of a coded one. (generate/model.py)
 */
class EdgeModel(
    val config: ModelConfig,
    val tokenizer: TextTokenizer,
    private val components: Components,
    private val table: (Kind) -> FloatArray,
) {
    private val tables = HashMap<Kind, List<MetricTable>>()

    /** One path for each of the K sub-codes of a modality's token, stepped by a rule. */
    fun paths(modality: Kind, rule: String): List<FlowPath> {
        val settings = config.path(modality)
        val codebooks = config.codebooks(modality)
        if (settings.kind == "mixture") {
            val schedule = MixtureSchedule(settings.kappa, settings.shift)
            val mask = if (settings.source == "mask") config.mask(modality) else null
            return List(codebooks) { MixturePath(config.symbols(modality), schedule, mask) }
        }
        val schedule = MetricSchedule(settings.c, settings.a)
        return metricTables(modality).map { MetricPath(it, schedule, rule) }
    }

    private fun metricTables(modality: Kind): List<MetricTable> = tables.getOrPut(modality) {
        val rows = table(modality)
        val (codebooks, entries) = config.codebooks(modality) to config.symbols(modality)
        if (rows.isEmpty() || rows.size % (codebooks * entries) != 0) {
            throw NextOmniException(
                "metric table of ${modality.key}: expected $codebooks tables of $entries rows",
            )
        }
        val size = rows.size / codebooks
        List(codebooks) { MetricTable(rows.copyOfRange(it * size, (it + 1) * size), entries) }
    }

    /** The sequences without a condition that guidance compares with. */
    fun without(sequence: TokenSequence, modality: Kind): List<TokenSequence> {
        val special = tokenizer.special
        if (special.mask < 0) return listOf(sequence.unconditional(special))
        return maskedUnconditional(sequence, modality, special, config.imageEntries)
    }

    /** Outputs of a component. NonFiniteException: one of them holds NaN or infinity. */
    fun outputs(
        component: String, inputs: Map<String, Tensor>, names: List<String>,
    ): Map<String, Tensor> {
        val found = components.run(component, inputs, names)
        for (name in names) {
            val tensor = found[name]
                ?: throw NextOmniException("$component: output $name is missing")
            if (tensor is Tensor.Floats && !tensor.values.all { it.isFinite() }) {
                throw NonFiniteException("$component: $name holds a value that is not finite")
            }
        }
        return found
    }

    private fun floats(component: String, inputs: Map<String, Tensor>, name: String): FloatArray =
        values(component, outputs(component, inputs, listOf(name)), name)

    private fun values(component: String, found: Map<String, Tensor>, name: String): FloatArray =
        (found[name] as? Tensor.Floats)?.values
            ?: throw NextOmniException("$component: expected floats as $name")

    private fun codes(component: String, inputs: Map<String, Tensor>): IntArray =
        (outputs(component, inputs, listOf("codes"))["codes"] as? Tensor.Ints)?.values
            ?: throw NextOmniException("$component: expected whole numbers as codes")

    /** The backbone's input rows (n·H,) of tokens (n·K,). */
    fun embeddings(modality: Kind, tokens: IntArray): FloatArray {
        val codes = config.codebooks(modality)
        val text = modality == Kind.TEXT
        val dims =
            if (text) intArrayOf(1, tokens.size) else intArrayOf(1, tokens.size / codes, codes)
        val inputs = mapOf((if (text) "tokens" else "codes") to Tensor.Ints(tokens, dims))
        return floats("embed_${modality.key}", inputs, "embeddings")
    }

    /** Rows (S·H,) of a whole sequence. */
    fun sequenceEmbeddings(sequence: TokenSequence): FloatArray {
        val width = config.backbone.hiddenSize
        val found = FloatArray(sequence.length * width)
        var place = 0
        for (segment in sequence.segments) {
            if (segment.length == 0) continue
            embeddings(segment.modality, segment.tokens).copyInto(found, place)
            place += segment.length * width
        }
        return found
    }

    /**
     * One forward of B sequences (R·H,) of one length, behind kept prompts where there are any.
     * `keep`: their keys and values are asked for too.
     */
    fun attend(
        branches: List<FloatArray>, prompt: Prompt? = null, keep: Boolean = false,
    ): Attended {
        val width = config.backbone.hiddenSize
        val rows = branches[0].size / width
        val limit = config.backbone.maxPositions
        if (rows + (prompt?.length ?: 0) > limit) {
            throw NextOmniException(
                "sequence of ${rows + (prompt?.length ?: 0)} positions: the model takes at most " +
                    "$limit; give it less or ask for less",
            )
        }
        val asked = if (keep) listOf("hidden", "keys", "values") else listOf("hidden")
        val found = outputs("backbone", backboneInputs(branches, rows, prompt), asked)
        val hidden = values("backbone", found, "hidden")
        val size = rows * width
        return Attended(
            branches.indices.map { hidden.copyOfRange(it * size, (it + 1) * size) },
            if (keep) Prompt(rows, found.getValue("keys"), found.getValue("values")) else null,
        )
    }

    private fun backboneInputs(
        branches: List<FloatArray>, rows: Int, prompt: Prompt?,
    ): Map<String, Tensor> {
        val (batch, past) = branches.size to (prompt?.length ?: 0)
        val backbone = config.backbone
        val embeddings = FloatArray(branches.sumOf { it.size })
        branches.forEachIndexed { at, branch -> branch.copyInto(embeddings, at * branch.size) }
        val empty = Tensor.Floats(
            FloatArray(0),
            intArrayOf(backbone.layers, batch, backbone.kvHeads, 0, backbone.headDim),
        )
        return mapOf(
            "embeddings" to
                Tensor.Floats(embeddings, intArrayOf(batch, rows, backbone.hiddenSize)),
            "positions" to
                Tensor.Ints(IntArray(batch * rows) { past + it % rows }, intArrayOf(batch, rows)),
            "attention_mask" to Tensor.Ints(
                IntArray(batch * (past + rows)) { 1 }, intArrayOf(batch, past + rows),
            ),
            "past_keys" to (prompt?.keys ?: empty),
            "past_values" to (prompt?.values ?: empty),
        )
    }

    /**
     * Logits (B·R·K·C,) of hidden states (B·R·H,); an autoregressive head reads the sub-codes
     * (B·R·K,) before each.
     */
    fun head(modality: Kind, hidden: FloatArray, batch: Int, codes: IntArray): FloatArray {
        val width = config.backbone.hiddenSize
        val rows = hidden.size / (batch * width)
        val inputs = HashMap<String, Tensor>()
        inputs["hidden"] = Tensor.Floats(hidden, intArrayOf(batch, rows, width))
        if (config.autoregressive(modality)) {
            inputs["codes"] =
                Tensor.Ints(codes, intArrayOf(batch, rows, config.codebooks(modality)))
        }
        return floats("${modality.key}_head", inputs, "logits")
    }

    /** Pixels (3,size,size) in [-1,1] → sub-codes (n·K,). */
    fun encodeImage(pixels: FloatArray): IntArray {
        val size = config.image.size
        val given = Tensor.Floats(pixels, intArrayOf(1, 3, size, size))
        return codes("image_encoder", mapOf("pixels" to given))
    }

    /** Log-mel (n,frames_per_token,mels) → sub-codes (n·K,). */
    fun encodeAudio(logMel: FloatArray): IntArray {
        val (frames, mels) = config.audio.framesPerToken to config.audio.mels
        val dims = intArrayOf(1, logMel.size / (frames * mels), frames, mels)
        return codes("audio_encoder", mapOf("log_mel" to Tensor.Floats(logMel, dims)))
    }

    /**
     * Sub-codes (n·K,) → pixels (1,3,height,width) in [-1,1]. A code that is still masked is shown
     * as 0.
     */
    fun decodeImage(codes: IntArray): Tensor.Floats {
        val (width, entries) = config.codebooks(Kind.IMAGE) to config.symbols(Kind.IMAGE)
        val side = sqrt(codes.size.toDouble()).toInt()
        val dims =
            if (config.sharesVocabulary) intArrayOf(1, side, side, 1)
            else intArrayOf(1, codes.size / width, width)
        val shown = IntArray(codes.size) { if (codes[it] < entries) codes[it] else 0 }
        val given = mapOf("codes" to Tensor.Ints(shown, dims))
        return outputs("image_decoder", given, listOf("pixels"))["pixels"] as? Tensor.Floats
            ?: throw NextOmniException("image_decoder: expected floats as pixels")
    }

    /** Sub-codes (n·K,) → a waveform (samples,) in [-1,1]. */
    fun decodeAudio(codes: IntArray): FloatArray {
        val width = config.codebooks(Kind.AUDIO)
        val given = Tensor.Ints(codes, intArrayOf(1, codes.size / width, width))
        return floats("audio_decoder", mapOf("codes" to given), "waveform")
    }
}

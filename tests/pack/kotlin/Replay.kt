package nextomni.edge.tests

import java.io.DataInputStream
import java.io.File
import java.io.OutputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import nextomni.edge.Bundle
import nextomni.edge.Kind
import nextomni.edge.Model
import nextomni.edge.ModelConfig
import nextomni.edge.NextOmniException
import nextomni.edge.formats.Fields
import nextomni.edge.formats.TensorFile
import nextomni.edge.generate.Components
import nextomni.edge.generate.EdgeModel
import nextomni.edge.generate.Options
import nextomni.edge.generate.StepRecord
import nextomni.edge.generate.Tensor
import nextomni.edge.generate.generate
import nextomni.edge.tokens.Segment
import nextomni.edge.tokens.TextTokenizer
import nextomni.edge.tokens.TokenSequence
import nextomni.edge.verify.Report
import kotlin.system.exitProcess

/**
 * Components that another process answers over standard input and output. A message is a length (4
 * bytes, little-endian), a JSON header of that length, and the tensors that the header lists, each 4
 * bytes a value, little-endian: float32 or int32. The other side is tests/pack/replay.py.
 */
class Pipe(input: java.io.InputStream, private val output: OutputStream) : Components {
    private val input = DataInputStream(input)

    override fun run(
        component: String, inputs: Map<String, Tensor>, outputs: List<String>,
    ): Map<String, Tensor> {
        val listed = inputs.toSortedMap().toList()
        val tensors = listed.map { (name, tensor) ->
            val type = if (tensor is Tensor.Ints) "int32" else "float32"
            mapOf("name" to name, "type" to type, "shape" to tensor.dims.toList())
        }
        send(mapOf("component" to component, "outputs" to outputs, "tensors" to tensors))
        for ((_, tensor) in listed) output.write(bytes(tensor))
        output.flush()
        val header = Fields.parse(read(read(4).getInt()).array().decodeToString(), "answer")
        return header.objects("tensors").associate { tensor ->
            val dims = tensor.ints("shape").toIntArray()
            val bytes = read(4 * dims.fold(1) { size, dim -> size * dim })
            val count = bytes.remaining() / 4
            val found =
                if (tensor.string("type") == "int32") {
                    Tensor.Ints(IntArray(count) { bytes.getInt(4 * it) }, dims)
                } else {
                    Tensor.Floats(FloatArray(count) { bytes.getFloat(4 * it) }, dims)
                }
            tensor.string("name") to found
        }
    }

    fun send(header: Map<String, Any?>) {
        val text = json(header).encodeToByteArray()
        val length = ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putInt(text.size)
        output.write(length.array())
        output.write(text)
        output.flush()
    }

    private fun bytes(tensor: Tensor): ByteArray = when (tensor) {
        is Tensor.Floats -> buffer(tensor.values.size).also { bytes ->
            tensor.values.forEach { bytes.putFloat(it) }
        }
        is Tensor.Ints -> buffer(tensor.values.size).also { bytes ->
            tensor.values.forEach { bytes.putInt(it) }
        }
    }.array()

    private fun buffer(values: Int) = ByteBuffer.allocate(4 * values).order(ByteOrder.LITTLE_ENDIAN)

    private fun read(count: Int): ByteBuffer {
        val found = ByteArray(count).also(input::readFully)
        return ByteBuffer.wrap(found).order(ByteOrder.LITTLE_ENDIAN)
    }
}

/** Values as JSON. */
fun json(value: Any?): String = when (value) {
    null, is Number, is Boolean -> value.toString()
    is Map<*, *> -> value.entries.joinToString(",", "{", "}") { "${json(it.key)}:${json(it.value)}" }
    is Collection<*> -> value.joinToString(",", "[", "]", transform = ::json)
    is IntArray -> value.joinToString(",", "[", "]")
    else -> value.toString().map(::escaped).joinToString("", "\"", "\"")
}

private fun escaped(sign: Char): String = when {
    sign == '"' || sign == '\\' -> "\\$sign"
    sign < ' ' -> "\\u%04x".format(sign.code)
    else -> "$sign"
}

/** Numbers in lists of lists, one after another. */
fun flat(value: Any?): List<Number> = when (value) {
    is List<*> -> value.flatMap(::flat)
    is Number -> listOf(value)
    else -> error("no number: $value")
}

/** Rows of K sub-codes. */
fun rows(tokens: IntArray, codes: Int): List<List<Int>> = tokens.toList().chunked(codes)

/** The options of a trace, by the names that pack/ios.py gives them. */
fun optionsOf(task: Fields): Options = Options(
    steps = task.int("optionSteps"),
    stepper = task.string("stepper"),
    temperature = task.double("temperature"),
    topK = task.int("topK"),
    topP = task.double("topP"),
    guidance = task.double("guidance"),
    guidanceUntil = task.double("guidanceUntil", 1.0),
    guidanceImage = task.double("guidanceImage", 0.0),
    block = task.intOrNull("block"),
    threshold = task.doubleOrNull("threshold"),
    seed = task.string("seed").toULong(),
)

/** A folder as a Swift pack's Model folder: config.json, tokenizer.json, the tables, golden.json. */
fun replay(folder: File, pipe: Pipe) {
    val parsed = { name: String -> Fields.parse(File(folder, name).readText(), name) }
    val config = ModelConfig(parsed("config.json"))
    val bytes = File(folder, "metric_tables.safetensors").readBytes()
    val tables by lazy { TensorFile(ByteBuffer.wrap(bytes), "metric_tables.safetensors") }
    val tokenizer = TextTokenizer(parsed("tokenizer.json"), config.text)
    val model = EdgeModel(config, tokenizer, pipe) { tables.floats(it.key) }
    for (task in parsed("golden.json").objects("tasks")) {
        val segments = task.objects("segments").map { segment ->
            val tokens = flat(segment.list("tokens")).map { it.toInt() }.toIntArray()
            val kind = Kind.of(segment.string("modality"))
            Segment(kind, tokens, config.codebooks(kind), segment.boolean("frozen"))
        }
        val records = ArrayList<StepRecord>()
        val sequence = TokenSequence(segments)
        val finished = checkNotNull(generate(model, sequence, optionsOf(task)) { records.add(it) })
        val codes = segments[sequence.generated[0]].codes
        val steps = records.map {
            mapOf(
                "step" to it.step,
                "xt" to rows(it.x_t, codes),
                "x1" to it.x_1?.let { x_1 -> rows(x_1, codes) },
            )
        }
        val tokens = finished.generated.map { rows(finished.segments[it].tokens, codes) }
        pipe.send(mapOf("task" to task.string("name"), "steps" to steps, "tokens" to tokens))
    }
}

/** What `Model.verify` finds in a packed folder. */
fun reported(report: Report): Map<String, Any?> = mapOf(
    "task" to "report",
    "components" to report.components,
    "draws" to report.draws,
    "ties" to report.ties,
    "failures" to report.failures,
)

/** `replay FOLDER` or `verify FOLDER`, the latter of a folder that `pack --for android` wrote. */
fun main(arguments: Array<String>) {
    val pipe = Pipe(System.`in`, System.out.buffered())
    try {
        val folder = File(arguments[1])
        if (arguments[0] == "replay") replay(folder, pipe)
        else pipe.send(reported(Model(Bundle.open(folder), pipe).verify()))
    } catch (error: NextOmniException) {
        System.err.println("error: ${error.message}")
        exitProcess(1)
    }
}

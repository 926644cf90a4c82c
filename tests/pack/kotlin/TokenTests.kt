package nextomni.edge.tests

import nextomni.edge.Kind
import nextomni.edge.ModelConfig
import nextomni.edge.NonFiniteException
import nextomni.edge.formats.Fields
import nextomni.edge.generate.EdgeModel
import nextomni.edge.generate.Options
import nextomni.edge.generate.Tensor
import nextomni.edge.generate.generate
import nextomni.edge.tokens.Part
import nextomni.edge.tokens.Segment
import nextomni.edge.tokens.TextTokenizer
import nextomni.edge.tokens.TokenSequence
import nextomni.edge.tokens.Turn
import nextomni.edge.tokens.conversation
import nextomni.edge.tokens.given
import nextomni.edge.tokens.respond

fun tokenTests(vectors: Vectors): List<Test> = listOf(
    "texts become Python's ids, and ids Python's texts" to { texts(vectors) },
    "a conversation is Python's, and an answer has its length" to { conversations(vectors) },
    "options out of range are refused in the words of Python" to { options(vectors) },
    "an answer takes what the prompt leaves of a canvas" to { canvas(vectors) },
    "a run that is stopped computes nothing more" to { stopped(vectors) },
    "what cannot be meant is told in a sentence" to { faults(vectors) },
)

private fun tokenizer(vectors: Vectors, config: ModelConfig) =
    TextTokenizer(vectors.fields("tokenizer.json"), config.text)

private fun config(vectors: Vectors, changed: Map<String, Any?> = emptyMap()): ModelConfig {
    val data = vectors.json("config.json") as Map<*, *>
    val text = (data["text"] as Map<*, *>) + changed
    return ModelConfig(Fields.parse(json(data + mapOf("text" to text)), "config.json"))
}

private fun texts(vectors: Vectors) {
    val tokenizer = tokenizer(vectors, config(vectors))
    for (vector in vectors.objects("texts.json")) {
        same(tokenizer.encode(vector.string("text")), vector.whole("ids"))
        val answer = vector.whole("answer").toIntArray()
        same(tokenizer.decode(answer), vector.string("decoded"))
    }
}

private fun said(text: String) = listOf(Turn("user", listOf(Part.Text(text))))

private fun conversations(vectors: Vectors) {
    val config = config(vectors)
    val tokenizer = tokenizer(vectors, config)
    for (run in vectors.fields("loop.json").objects("runs")) {
        val kind = Kind.of(run.string("kind"))
        val prompt = conversation(tokenizer, said("draw a red rocket"), kind)
        same(prompt.flatMap { it.tokens.toList() }, run.whole("prompt"))
        val sequence = respond(prompt, kind, config, tokenizer, run.int("count"))
        same(
            sequence.generated.map { sequence.segments[it].length },
            run.list("tokens").map { (it as List<*>).size },
            run.string("name"),
        )
    }
}

private fun options(vectors: Vectors) {
    val path = config(vectors).path(Kind.IMAGE)
    for (vector in vectors.objects("options.json")) {
        val number = { name: String ->
            vector.string(name).replace("inf", "Infinity").replace("nan", "NaN").toDouble()
        }
        val given = Options(
            steps = number("steps").toInt(),
            temperature = number("temperature"),
            topK = number("top_k").toInt(),
            topP = number("top_p"),
            guidance = number("guidance"),
        )
        val expected = if ("refused" in vector.names) vector.stringOrNull("refused") else null
        if (expected == null) given.check(path)
        else same(refused { given.check(path) }, written(expected))
    }
    val until = refused { Options(guidanceUntil = 0.5).check(path) }
    same(until, "guidance_until is for guidance: give a scale, or leave guidance_until out")
    same(
        refused { Options(stepper = "jump").check(path) },
        "stepper is 'jump', expected one of euler, corrected",
    )
}

private fun canvas(vectors: Vectors) {
    val wide = config(vectors, mapOf("canvas" to 40L))
    val tokenizer = tokenizer(vectors, wide)
    val prompt = conversation(tokenizer, said("what is this?"))
    same(respond(prompt, Kind.TEXT, wide, tokenizer, 1).length, 40)
    val length = TokenSequence(prompt).length.toLong()
    val full = config(vectors, mapOf("canvas" to length))
    same(
        refused { respond(prompt, Kind.TEXT, full, tokenizer, 1) },
        "prompt of $length positions: the model's canvas has $length",
    )
}

private fun stopped(vectors: Vectors) {
    val config = config(vectors)
    var calls = 0
    val zeros = { dims: List<Int> ->
        Tensor.Floats(FloatArray(dims.fold(1) { a, b -> a * b }), dims.toIntArray())
    }
    val model = EdgeModel(config, tokenizer(vectors, config), { component, inputs, _ ->
        calls++
        val rows = inputs.values.first().dims[1]
        val width = config.backbone.hiddenSize
        mapOf(
            "embeddings" to zeros(listOf(1, rows, width)),
            "hidden" to zeros(listOf(1, inputs["embeddings"]?.dims?.get(1) ?: 1, width)),
            "logits" to zeros(
                if (component != "text_head") listOf(1)
                else listOf(1, rows, config.symbols(Kind.TEXT)),
            ),
        )
    }) { FloatArray(config.symbols(Kind.TEXT)) { 1f } }
    val segments = listOf(given(1, 2), Segment(Kind.TEXT, IntArray(4), 1, false))
    val options = Options(steps = 8, temperature = 0.0)
    var seen = 0
    val found = generate(model, TokenSequence(segments), options) { ++seen < 2 }
    same(found, null)
    same(seen, 2)
    val before = calls
    generate(model, TokenSequence(segments), options)
    holds(calls - before >= before, "a whole run has no more calls than a stopped one")
}

private fun faults(vectors: Vectors) {
    val config = config(vectors)
    val model = EdgeModel(config, tokenizer(vectors, config), { _, _, _ ->
        mapOf("embeddings" to Tensor.Floats(floatArrayOf(Float.NaN), intArrayOf(1)))
    }) { FloatArray(0) }
    val run = { segments: List<Segment> ->
        generate(model, TokenSequence(segments), Options(steps = 2))
        Unit
    }
    same(
        refused { run(listOf(given(1, 2))) },
        "a run generates one modality: append a response, and one at a time",
    )
    val wrong = Segment(Kind.TEXT, intArrayOf(1, 9999), 1, false)
    holds(
        refused { run(listOf(wrong)) }.startsWith("segment 0: expected 1 numbers from 0 to"),
        "a token that the model does not have",
    )
    try {
        run(listOf(Segment(Kind.TEXT, intArrayOf(1), 1, false)))
        throw Failed("NaN was taken")
    } catch (error: NonFiniteException) {
        same(error.message, "embed_text: embeddings holds a value that is not finite")
    }
}

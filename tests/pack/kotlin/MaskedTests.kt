package nextomni.edge.tests

import nextomni.edge.Kind
import nextomni.edge.ModelConfig
import nextomni.edge.NextOmniException
import nextomni.edge.flow.CommitRule
import nextomni.edge.flow.chosen
import nextomni.edge.flow.noised
import nextomni.edge.flow.propose
import nextomni.edge.flow.scoreTemperature
import nextomni.edge.flow.stepCount
import nextomni.edge.flow.turns
import nextomni.edge.formats.Fields
import nextomni.edge.generate.EdgeModel
import nextomni.edge.tokens.Part
import nextomni.edge.tokens.TextTokenizer
import nextomni.edge.tokens.TokenSequence
import nextomni.edge.tokens.Turn
import nextomni.edge.tokens.conversation
import nextomni.edge.tokens.respond

fun maskedTests(vectors: Vectors): List<Test> = listOf(
    "the commit step is Python's" to { proposals(vectors) },
    "the steps of a run write as many rows as in Python" to { counts(vectors) },
    "numbers that do not divide are refused in the words of Python" to ::undivided,
    "prompts of masked models, and what guidance compares them with" to { prompts(vectors) },
    "a mask in a text is refused" to { maskInText(vectors) },
)

/** A rule by Swift's names. */
private fun rule(data: Fields): CommitRule = CommitRule(
    count = data.string("count", "even"),
    score = data.string("score", "probability"),
    tempered = data.boolean("tempered", false),
    scoreNoise = data.string("scoreNoise", "none"),
    block = data.int("block", 0),
    threshold = data.double("threshold", 0.0),
    topK = data.int("topK", 0),
    topP = data.double("topP", 1.0),
    never = data.ints("never"),
    last = data.ints("last"),
    total = data.string("total", "masked"),
    early = data.boolean("early", false),
    drawTemperature = data.doubleOrNull("drawTemperature"),
    ends = data.ints("ends"),
)

private fun proposals(vectors: Vectors) {
    for (vector in vectors.fields("commit.json").objects("proposals")) {
        val rule = rule(vector.fields("rule"))
        val temperature = vector.double("temperature")
        val symbols = vector.list("symbols").map { row ->
            flat(row).map { it.toDouble() }.toDoubleArray()
        }
        val found = vector.rowsOfFloats("logits").mapIndexed { row, logits ->
            propose(logits, rule, temperature) { symbols[row] }
        }
        same(found.map { it.x_1 }, vector.whole("x1"), "$rule")
        val score = vector.doubles("score")
        found.forEachIndexed { row, proposal -> near(proposal.score, score[row], "$rule") }
        val heat = scoreTemperature(rule, temperature, 1, 5)
        near(heat, vector.double("heat"))
        val uniform = vector.doubles("uniform")
        val ranked = DoubleArray(found.size) { noised(found[it].score, rule, heat, uniform[it]) }
        val expected = vector.doubles("ranked")
        ranked.forEachIndexed { row, each -> near(each, expected[row], "$rule") }
        val eligible = vector.list("eligible").map { it == true }.toBooleanArray()
        val written = chosen(ranked, eligible, 2, rule.threshold).sorted()
        same(written, vector.whole("written"), "$rule")
    }
}

private fun counts(vectors: Vectors) {
    for (vector in vectors.fields("commit.json").objects("counts")) {
        val rule = rule(vector.fields("rule"))
        val rows = vector.int("rows")
        val plan = turns(rule, rows, vector.int("steps"))
        same(plan.flatMap { listOf(it.start, it.stop, it.step, it.steps) }, vector.whole("turns"))
        var left = rows
        val written = plan.map { turn ->
            stepCount(rule, rows, left, turn).also { left -= it }
        }
        same(written, vector.whole("written"), "$rule of $rows")
    }
}

private fun undivided() {
    val rule = CommitRule(block = 32)
    same(
        refused { turns(rule, 100, 4) },
        "an answer of 100 tokens is no whole number of blocks of 32: ask for 96 or 128 tokens, " +
            "or another block",
    )
    same(
        refused { turns(rule, 128, 6) },
        "6 steps are not shared evenly by 4 blocks: ask for 4 or 8 steps, or another block",
    )
}

/** A sequence as tests/pack/masked_vectors.py writes it. */
private fun told(sequence: TokenSequence): List<Any?> = sequence.segments.map {
    listOf(it.modality.key, it.frozen, it.tokens.toList())
}

private fun told(segments: List<Any?>): List<Any?> = segments.map {
    val segment = it as Map<*, *>
    listOf(
        segment["modality"], segment["frozen"], flat(segment["tokens"]).map { id -> id.toInt() },
    )
}

private fun tokenizer(family: Fields, config: ModelConfig) =
    TextTokenizer(Fields.parse(family.string("tokenizer"), "tokenizer.json"), config.text)

private fun prompts(vectors: Vectors) {
    val file = vectors.fields("prompts.json")
    same(file.objects("families").size, 4)
    for (family in file.objects("families")) {
        val config = ModelConfig(family.fields("config"))
        val tokenizer = tokenizer(family, config)
        val model = EdgeModel(config, tokenizer, { _, _, _ -> emptyMap() }) { FloatArray(0) }
        for (case in family.objects("cases")) {
            val answer = Kind.of(case.string("answer"))
            val image = case.whole("image").toIntArray()
            val images =
                if (image.isEmpty()) emptyList() else listOf(Part.Coded(Kind.IMAGE, image, 1))
            val parts = images + Part.Text(" ${file.string("said")} ")
            val prompt = conversation(tokenizer, listOf(Turn("user", parts)), answer)
            val sequence = respond(prompt, answer, config, tokenizer, 1)
            same(told(sequence), told(case.list("sequence")), family.string("family"))
            same(
                model.without(sequence, answer).map(::told),
                case.list("compared").map { told(it as List<Any?>) },
                family.string("family"),
            )
        }
    }
}

private fun maskInText(vectors: Vectors) {
    val family = vectors.fields("prompts.json").objects("families")[0]
    val tokenizer = tokenizer(family, ModelConfig(family.fields("config")))
    same(
        refused { tokenizer.encode("a <|mdm_mask|> b") },
        "the text holds <|mdm_mask|>, the mask that the model fills in; leave it out",
    )
    holds(tokenizer.encode("a b").isNotEmpty(), "no ids")
    holds(runCatching { tokenizer.encode("x".repeat((1 shl 20) + 1)) }.exceptionOrNull()
        is NextOmniException, "a long text was read")
}

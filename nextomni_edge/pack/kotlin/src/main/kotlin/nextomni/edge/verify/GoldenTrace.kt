package nextomni.edge.verify

import kotlin.math.abs
import kotlin.math.max
import nextomni.edge.Kind
import nextomni.edge.NextOmniException
import nextomni.edge.formats.Fields
import nextomni.edge.formats.TensorFile
import nextomni.edge.generate.EdgeModel
import nextomni.edge.generate.Options
import nextomni.edge.generate.StepRecord
import nextomni.edge.generate.Tensor
import nextomni.edge.generate.generate
import nextomni.edge.tokens.Segment
import nextomni.edge.tokens.TokenSequence

private const val NOT_DRAWN = -1 // in place of x_1 where none was drawn
private const val MARGINS = "margins" // of codes, among a component's outputs

/**
 * What a replay found: the largest error of each component relative to its output's scale, the draws
 * of each task that are the same, and what differs at a tie or fails.
 */
class Report {
    val components = LinkedHashMap<String, Double>()
    val draws = LinkedHashMap<String, Int>()
    val ties = ArrayList<String>()
    val failures = ArrayList<String>()
}

/**
 * What the exported model computed, by component and by whole generation: `data` of the manifest's
 * "golden", `file` its tensors, `limits` the largest allowed error of each component. (verify/golden.py,
 * replay.py, comparison.py)
 */
class GoldenTrace(
    private val data: Fields,
    private val file: TensorFile,
    private val limits: Map<String, Double>,
) {
    private val tie = data.double("tie")
    val components: Set<String> get() = data.fields("cases").names
    val tasks: Set<String> get() = data.fields("tasks").names

    /** Run all of it, or the named components and tasks, and compare. */
    fun replay(
        model: EdgeModel,
        names: Collection<String> = components + tasks,
        progress: (String) -> Unit = {},
    ): Report {
        val report = Report()
        for (name in names) {
            progress(name)
            try {
                if (name in components) component(model, name, report)
                else Replay(model, name, report).run()
            } catch (error: NextOmniException) {
                report.failures.add("$name: ${error.message}")
            }
        }
        return report
    }

    private fun component(model: EdgeModel, name: String, report: Report) {
        val limit = limits[name] ?: throw NextOmniException("no such component")
        report.components[name] = 0.0
        data.fields("cases").strings(name).forEachIndexed { index, case ->
            val inputs = tensors("component/$name/$index/input/")
            val recorded = "component/$name/$index/output/"
            val margins = "$recorded$MARGINS".takeIf { it in file.names }?.let(file::doubles)
            val expected = tensors(recorded) - MARGINS
            val outputs = expected.keys.toList()
            val found = model.outputs(name, inputs, outputs)
            for (output in outputs) {
                val (ours, theirs) = found.getValue(output) to expected.getValue(output)
                if (ours is Tensor.Ints && theirs is Tensor.Ints) {
                    codes("$name: $case", ours.values, theirs.values, margins, report)
                } else {
                    val measured = difference(ours, theirs)
                    report.components[name] = max(report.components.getValue(name), measured)
                    if (!(measured <= limit)) {
                        report.failures.add(
                            "$name: $output differs by $measured of its scale, limit $limit ($case)",
                        )
                    }
                }
            }
        }
    }

    private fun codes(
        where: String, ours: IntArray, theirs: IntArray, margins: DoubleArray?, report: Report,
    ) {
        if (ours.size != theirs.size) {
            report.failures.add("$where: ${ours.size} codes, recorded ${theirs.size}")
            return
        }
        for (at in theirs.indices) {
            if (ours[at] == theirs[at]) continue
            val near = (margins?.getOrNull(at) ?: Double.POSITIVE_INFINITY) <= tie
            (if (near) report.ties else report.failures)
                .add("$where: code $at is ${ours[at]}, recorded ${theirs[at]}")
        }
    }

    private fun tensors(prefix: String): Map<String, Tensor> =
        file.names.filter { it.startsWith(prefix) }.associate { name ->
            val dims = file.shape(name)
            val tensor =
                if (file.isFloat(name)) {
                    val values = file.doubles(name)
                    Tensor.Floats(FloatArray(values.size) { values[it].toFloat() }, dims)
                } else {
                    Tensor.Ints(file.ids(name), dims)
                }
            name.removePrefix(prefix) to tensor
        }

    /** A task's sequence and options. */
    fun task(model: EdgeModel, name: String): Pair<TokenSequence, Options> {
        val task = data.fields("tasks").fields(name)
        val segments = task.list("segments").mapIndexed { index, given ->
            val (key, frozen) = given as? List<*> ?: throw NextOmniException("no such segment")
            val modality = Kind.of(key.toString())
            val ids = file.ids("task/$name/segment/$index")
            Segment(modality, ids, model.config.codebooks(modality), frozen == true)
        }
        val sequence = TokenSequence(segments)
        val kind = segments[sequence.generated.first()].modality
        return sequence to options(Options.of(model.config, kind), task.fields("options"))
    }

    private fun options(unset: Options, given: Fields): Options = Options(
        steps = given.int("steps", unset.steps),
        stepper = given.string("stepper", unset.stepper),
        temperature = given.double("temperature", unset.temperature),
        topK = given.int("top_k", unset.topK),
        topP = given.double("top_p", unset.topP),
        guidance = given.double("guidance", unset.guidance),
        guidanceUntil = given.double("guidance_until", unset.guidanceUntil),
        guidanceImage = given.double("guidance_image", unset.guidanceImage),
        block = given.intOrNull("block"),
        threshold = given.doubleOrNull("threshold"),
        seed = given.ulongOrNull("seed") ?: unset.seed,
    )

    /** One task: every token of every step, up to the first draw at a tie. */
    private inner class Replay(
        private val model: EdgeModel, private val name: String, private val report: Report,
    ) {
        private val sequence: TokenSequence
        private val options: Options
        private val count: Int // of the recorded steps
        private val x_t: List<IntArray>
        private val x_1: List<IntArray>
        private val margins: List<DoubleArray>
        private var steps = 0

        init {
            val (sequence, options) = task(model, name)
            this.sequence = sequence
            this.options = options
            count = file.shape(recorded("x_t")[0])[0]
            x_t = recorded("x_t").map(file::ids)
            x_1 = recorded("x_1").map(file::ids)
            margins = recorded("margins").map(file::doubles)
        }

        private fun recorded(kind: String): List<String> =
            sequence.generated.indices.map { "task/$name/$kind/$it" }

        fun run() {
            report.draws[name] = 0
            val finished = generate(model, sequence, options) { step(it) } ?: return
            if (steps != count) {
                report.failures.add("$name: $steps steps were run, $count are recorded")
                return
            }
            val found = finished.generated.flatMap { finished.segments[it].tokens.asList() }
            if (found != recorded("tokens").flatMap { file.ids(it).asList() }) {
                report.failures.add("$name: the tokens at the end differ")
            }
        }

        /** Whether the step is as it was recorded. */
        private fun step(record: StepRecord): Boolean {
            if (steps >= count) {
                report.failures.add("$name: more than the $count steps that were recorded")
                return false
            }
            val drawn = record.x_1 ?: IntArray(record.x_t.size) { NOT_DRAWN }
            val fault = differs("x_t", record.x_t, x_t) || differs("x_1", drawn, x_1)
            report.draws[name] = report.draws.getValue(name) + (record.x_1?.size ?: 0)
            steps++
            return !fault
        }

        /** Whether a row differs, which is reported. */
        private fun differs(kind: String, ours: IntArray, theirs: List<IntArray>): Boolean {
            val expected = theirs.flatMap { of(it.asList()) }
            val at = expected.indices.firstOrNull { ours[it] != expected[it] } ?: return false
            val all = margins.flatMap { of(it.asList()) }
            val margin = if (kind == "x_1") all[at] else Double.POSITIVE_INFINITY
            (if (margin <= tie) report.ties else report.failures)
                .add("$name: $kind differs at step $steps, place $at (margin $margin)")
            return true
        }

        /** This step's numbers, out of those of all steps. */
        private fun <T> of(all: List<T>): List<T> =
            (all.size / count).let { all.subList(steps * it, (steps + 1) * it) }
    }
}

/** Largest absolute difference over the larger of 1 and the largest expected value. */
private fun difference(ours: Tensor, theirs: Tensor): Double {
    if (ours !is Tensor.Floats || theirs !is Tensor.Floats) return Double.NaN
    if (ours.values.size != theirs.values.size) return Double.NaN
    var largest = 0.0
    var scale = 1.0
    for (at in theirs.values.indices) {
        val found = abs(ours.values[at].toDouble() - theirs.values[at])
        if (!(found <= largest)) largest = found
        scale = max(scale, abs(theirs.values[at].toDouble()))
    }
    return largest / scale
}

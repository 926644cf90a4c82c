package nextomni.edge.tests

import nextomni.edge.flow.MetricPath
import nextomni.edge.flow.MetricSchedule
import nextomni.edge.flow.MetricTable
import nextomni.edge.flow.MixturePath
import nextomni.edge.flow.MixtureSchedule
import nextomni.edge.flow.Move
import nextomni.edge.flow.Noise
import nextomni.edge.flow.Sampling
import nextomni.edge.flow.Use
import nextomni.edge.flow.guided
import nextomni.edge.flow.largest
import nextomni.edge.flow.rise
import nextomni.edge.flow.sampleX1
import nextomni.edge.flow.uniformId

fun flowTests(vectors: Vectors): List<Test> = listOf(
    "noise is Python's to the last bit" to { noise(vectors) },
    "more positions and symbols never change a value" to ::positions,
    "schedules and rises" to { schedules(vectors) },
    "distances and steps of the metric path" to { metric(vectors) },
    "a row leaves the mask with the share of κ that is left, and stays" to ::mixture,
    "draws of x_1" to { draws(vectors) },
    "guidance is (1+s)·c − s·u in float32" to ::guidance,
    "the largest values are those of a sort, among equals too" to ::largestValues,
)

private fun noise(vectors: Vectors) {
    for (vector in vectors.objects("noise.json")) {
        val noise = Noise(vector.string("seed").toULong())
        val use = Use.entries.first { it.number.toInt() == vector.int("use") }
        val (positions, codes) = vector.int("positions") to vector.int("codes")
        val segment = vector.int("segment")
        val found = noise.uniform(segment, vector.int("step"), use, positions, codes)
        same(found.toList(), vector.doubles("uniform").toList())
        val start = noise.uniform(segment, 0, Use.START, positions, codes)
        same(start.map { uniformId(it, 1000) }, vector.whole("start"))
    }
}

private fun positions() {
    val noise = Noise(5uL)
    val nine = noise.uniform(1, 2, Use.TARGET, 9).toList()
    same(nine.take(4), noise.uniform(1, 2, Use.TARGET, 4).toList())
    same(
        noise.symbols(1, 2, Use.SYMBOL, 0, 6).toList(),
        noise.uniform(1, 2, Use.SYMBOL, 6).toList(),
    )
}

private fun schedules(vectors: Vectors) {
    for (vector in vectors.objects("schedule.json")) {
        val schedule = MetricSchedule(vector.double("c"), vector.double("a"))
        val t = vector.double("t")
        near(schedule.beta(t), vector.double("beta"))
        near(schedule.derivative(t), vector.double("derivative"))
        for (rule in listOf("euler", "corrected")) {
            val found = rise(rule, schedule, t, vector.double("h"))
            val (beta, rise) = vector.doubles(rule).toList()
            near(found.beta, beta, "$rule at $t")
            near(found.rise, rise, "$rule at $t")
        }
    }
}

private fun metric(vectors: Vectors) {
    val file = vectors.fields("steps.json")
    val table = MetricTable(file.floats("table"), file.list("table").size)
    table.distance(3).zip(file.doubles("distance").toList()).forEach { (found, expected) ->
        val most = 1e-6 * maxOf(1.0, expected)
        holds(kotlin.math.abs(found - expected) <= most, "distance $found, expected $expected")
    }
    var jumps = 0
    for (vector in file.objects("steps")) {
        val path = MetricPath(table, MetricSchedule(3.0, 0.9), vector.string("stepper"))
        val (from, toward) = vector.whole("from") to vector.whole("toward")
        val (jump, target) = vector.doubles("jump") to vector.doubles("target")
        val (t, h) = vector.double("t") to vector.double("h")
        val found = from.indices.map {
            path.step(Move(from[it], toward[it], t, h, jump[it], target[it], false))
        }
        same(found, vector.whole("next"), "${vector.string("stepper")} at $t")
        jumps += found.indices.count { found[it] != from[it] }
    }
    holds(jumps > 20, "only $jumps jumps")
}

private fun mixture() {
    val path = MixturePath(8, MixtureSchedule("linear"), 8)
    val step = { x_t: Int, t: Double, jump: Double, last: Boolean ->
        path.step(Move(x_t, 3, t, 0.25, jump, 0.0, last))
    }
    same(path.start(0.3), 8)
    near(path.probability(0.5, 0.25), 0.5)
    same(step(8, 0.5, 0.49, false), 3)
    same(step(8, 0.5, 0.51, false), 8)
    same(step(2, 0.5, 0.0, true), 2)
    same(step(8, 0.5, 0.99, true), 3)
    near(MixtureSchedule("shifted", 0.5).kappa(0.5), 1.0 / 3)
}

private fun draws(vectors: Vectors) {
    for (vector in vectors.objects("sampling.json")) {
        val options =
            Sampling(vector.double("temperature"), vector.int("topK"), vector.double("topP"))
        val uniform = vector.doubles("uniform")
        val found = vector.rowsOfFloats("logits").mapIndexed { at, logits ->
            sampleX1(logits, uniform[at], options)
        }
        same(found, vector.whole("x1"))
    }
}

private fun guidance() {
    val branches = listOf(floatArrayOf(1.1f, 2f), floatArrayOf(0.3f, -1f))
    val own = { c: Float, u: Float -> 2.5f * c - 1.5f * u }
    same(guided(branches, listOf(1.5, 0.0)).toList(), listOf(own(1.1f, 0.3f), own(2f, -1f)))
}

private fun largestValues() {
    val noise = Noise(9uL)
    for (length in (1 until 60) + listOf(3000)) {
        val values = noise.uniform(0, length, Use.START, length)
            .map { (it * 20).toInt().toFloat() }.toFloatArray()
        for (count in listOf(1, 2, 5, length).map { minOf(it, length) }) {
            same(
                largest(values, count).toList(),
                values.sortedDescending().take(count),
                "$count of $length",
            )
        }
    }
}

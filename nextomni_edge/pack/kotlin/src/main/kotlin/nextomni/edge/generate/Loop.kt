package nextomni.edge.generate

import nextomni.edge.NextOmniException
import nextomni.edge.flow.Move
import nextomni.edge.flow.Noise
import nextomni.edge.flow.Use
import nextomni.edge.tokens.TokenSequence

/** x_t before a step at time t, and the predicted x_1 (null where none was drawn), (R·K,) each. */
class StepRecord(val step: Int, val t: Double, val x_t: IntArray, val x_1: IntArray?)

/** Sees each step; false stops the run. */
fun interface OnStep {
    fun step(record: StepRecord): Boolean
}

/**
 * From noise to tokens: the sequence with its generated segments filled; null where `onStep`
 * stopped the run. Blocks its thread, so call it on one of the app's own. NextOmniException: a
 * setting or a token that the model does not take. (generate/loop.py, stepper.py)
 */
fun generate(
    model: EdgeModel,
    sequence: TokenSequence,
    options: Options,
    onStep: OnStep = OnStep { true },
): TokenSequence? {
    checkTokens(model, sequence)
    val trunk = Trunk(model, sequence, options)
    options.check(model.config.path(trunk.modality))
    if (options.stepper == "commit") return unmask(trunk, options, onStep)
    val run = Run(trunk, options)
    for (step in 0 until options.steps) {
        val x_1 = if (run.idle(step)) null else run.predict(step)
        val record =
            StepRecord(step, step.toDouble() / options.steps, run.x_t.copyOf(), x_1?.copyOf())
        if (!onStep.step(record)) return null
        if (x_1 == null) continue
        if (!trunk.changesLater && run.settled(x_1)) break
        run.advance(x_1, step)
    }
    return sequence.filled(run.x_t)
}

/** NextOmniException: a token that the model does not have. */
private fun checkTokens(model: EdgeModel, sequence: TokenSequence) {
    sequence.segments.forEachIndexed { index, segment ->
        val codes = model.config.codebooks(segment.modality)
        val most = maxOf(
            model.config.symbols(segment.modality), model.config.mask(segment.modality) + 1,
        )
        if (segment.codes != codes || segment.tokens.any { it !in 0 until most }) {
            throw NextOmniException(
                "segment $index: expected $codes numbers from 0 to ${most - 1} for each token of " +
                    segment.modality.key,
            )
        }
    }
}

/**
 * A sequence on its way: `x_t` (R·K,) holds the rows of all generated segments, one after another.
 */
private class Run(private val trunk: Trunk, private val options: Options) {
    private val places = trunk.sequence.places
    private val paths = trunk.model.paths(trunk.modality, options.stepper)
    private val noise = Noise(options.seed)
    private val greedy = options.temperature == 0.0
    val x_t: IntArray =
        uniform(0, Use.START).let { start -> IntArray(start.size) { path(it).start(start[it]) } }
    private val draw = Draw(trunk, options, x_t.size / paths.size)

    /** The path of place `at` in x_t. */
    private fun path(at: Int) = paths[at % paths.size]

    private fun time(step: Int) = step.toDouble() / options.steps

    private fun uniform(step: Int, use: Use): DoubleArray =
        places.fold(DoubleArray(0)) { found, (segment, rows) ->
            found + noise.uniform(segment, step, use, rows, paths.size)
        }

    /** Whether no token changes in this step, whatever x_1 is. */
    fun idle(step: Int): Boolean =
        step < options.steps - 1 && paths.all { it.idle(time(step), 1.0 / options.steps) }

    /** Whether no later step changes a token. */
    fun settled(x_1: IntArray): Boolean =
        x_t.indices.all { path(it).settled(x_t[it], x_1[it], greedy) }

    /** x_1 ~ p(· | x_t). */
    fun predict(step: Int): IntArray {
        trunk.at(time(step))
        val fresh = trunk.refresh(x_t)
        draw.draw(uniform(step, Use.X_1), fresh)
        return draw.x_1
    }

    /** x_{t+h}, each sub-code a step of its own path. */
    fun advance(x_1: IntArray, step: Int) {
        val jump = uniform(step, Use.JUMP)
        val target = uniform(step, Use.TARGET)
        val (t, h) = time(step) to 1.0 / options.steps
        val last = step == options.steps - 1
        for (at in x_t.indices) {
            x_t[at] = path(at).step(Move(x_t[at], x_1[at], t, h, jump[at], target[at], last))
        }
    }
}

package nextomni.edge.generate

import kotlin.math.min
import nextomni.edge.NextOmniException
import nextomni.edge.flow.CommitRule
import nextomni.edge.flow.Noise
import nextomni.edge.flow.Turn
import nextomni.edge.flow.Use
import nextomni.edge.flow.chosen
import nextomni.edge.flow.noised
import nextomni.edge.flow.propose
import nextomni.edge.flow.scoreTemperature
import nextomni.edge.flow.stepCount
import nextomni.edge.flow.turns
import nextomni.edge.tokens.TokenSequence

private val LOGARITHMIC = setOf("entropy", "log_probability") // scores that are no probabilities

/**
 * Decoding by commits: masked rows draw x_1, the best are written and stay. A threshold may take
 * more steps than were asked for. (generate/unmask.py)
 */
internal fun unmask(trunk: Trunk, options: Options, onStep: OnStep): TokenSequence? {
    val run = Unmasking(trunk, options)
    var step = 0
    while (true) {
        val turn = run.turn() ?: break
        if (!run.step(step++, turn, onStep)) return null
    }
    return trunk.sequence.filled(run.x_t)
}

/** The model's rule with what the options say in place of it. */
private fun ruled(rule: CommitRule, options: Options): CommitRule {
    var found = rule.copy(
        block = options.block ?: rule.block, threshold = options.threshold ?: rule.threshold,
    )
    if ((options.threshold ?: 0.0) > 0 && found.score in LOGARITHMIC) {
        found = found.copy(score = "probability", scoreNoise = "none")
    }
    if (options.topK > 0 || options.topP < 1) {
        found = found.copy(topK = options.topK, topP = options.topP)
    }
    return found
}

/**
 * A sequence on its way: `x_t` (R,) begins with what its generated segments hold, where a mask is to
 * be filled.
 */
private class Unmasking(private val trunk: Trunk, private val options: Options) {
    private val rule = ruled(
        trunk.model.config.path(trunk.modality).commit ?: throw NextOmniException(
            "stepper commit: ${trunk.modality.key} of this model has no commit step",
        ),
        options,
    )
    private val mask = trunk.model.config.mask(trunk.modality)
    private val noise = Noise(options.seed)

    /** (segment, row) of each row. */
    private val places = trunk.sequence.places.flatMap { (segment, length) ->
        List(length) { segment to it }
    }
    val x_t: IntArray =
        trunk.sequence.generated.flatMap { trunk.sequence.segments[it].tokens.asList() }.toIntArray()
    private val draw = Draw(trunk, options, x_t.size)
    private val plan = turns(rule, x_t.size, options.steps)
    private var total = if (rule.total == "all") x_t.size else x_t.count { it == mask }
    private var at = 0 // in the plan

    /**
     * The next step; null where nothing is left to write, or where a finished block has ended the
     * answer.
     */
    fun turn(): Turn? {
        val first = x_t.indexOf(mask)
        if (first < 0) return null
        // with a threshold a block goes on until it is full
        if (rule.threshold > 0) at = plan.indexOfFirst { first < it.stop }
        val turn = plan.getOrNull(at) ?: return null
        if (turn.step > 0) return turn
        if (turn.start > 0 && x_t[turn.start - 1] in rule.ends) return null
        if (rule.count == "even" && rule.total != "all") {
            total = (turn.start until turn.stop).count { x_t[it] == mask }
        }
        return turn
    }

    /** One step; false where it was stopped. */
    fun step(step: Int, turn: Turn, onStep: OnStep): Boolean {
        val eligible = BooleanArray(x_t.size) { it < turn.stop && x_t[it] == mask }
        val t = min(1.0, step.toDouble() / options.steps)
        trunk.at(step.toDouble() / options.steps)
        trunk.refresh(x_t)
        val x_1 = x_t.copyOf()
        val score = propose(step, eligible, x_1)
        val temperature = scoreTemperature(rule, options.temperature, turn.step, turn.steps)
        val uniform = scores(step)
        val ranked = DoubleArray(score.size) {
            noised(score[it], rule, temperature, uniform[it])
        }
        val count = stepCount(rule, total, eligible.count { it }, turn)
        if (!onStep.step(StepRecord(step, t, x_t.copyOf(), x_1))) return false
        for (row in chosen(ranked, eligible, count, rule.threshold)) x_t[row] = x_1[row]
        at++
        return true
    }

    /** Puts x_1 of the rows that may be written into `x_1`; their scores, and 0 elsewhere. */
    private fun propose(step: Int, eligible: BooleanArray, x_1: IntArray): DoubleArray {
        val temperature = rule.drawTemperature ?: options.temperature
        val score = DoubleArray(x_t.size)
        val entries = draw.entries
        draw.blocks(eligible.indices.filter { eligible[it] }) { rows, logits ->
            rows.forEachIndexed { at, row ->
                val (segment, place) = places[row]
                val own = logits.copyOfRange(at * entries, (at + 1) * entries)
                val found = propose(own, rule, temperature) {
                    noise.symbols(segment, step, Use.SYMBOL, place, entries)
                }
                x_1[row] = found.x_1
                score[row] = found.score
            }
        }
        return score
    }

    /** A uniform draw for the score of every generated row. */
    private fun scores(step: Int): DoubleArray =
        trunk.sequence.places.fold(DoubleArray(0)) { found, (segment, rows) ->
            found + noise.uniform(segment, step, Use.SCORE, rows)
        }
}

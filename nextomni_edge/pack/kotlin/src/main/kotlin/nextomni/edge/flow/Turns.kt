package nextomni.edge.flow

import kotlin.math.PI
import kotlin.math.cos
import kotlin.math.exp
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min
import nextomni.edge.NextOmniException

private const val FIRST_TIME = 1f // Dream counts time down: t_0 and t_n
private const val LAST_TIME = 1e-3f

/** Step `step` of the `steps` that rows [start, stop) take. */
data class Turn(val start: Int, val stop: Int, val step: Int, val steps: Int)

/**
 * The steps of a run over R rows, block by block. NextOmniException: numbers that do not divide.
 * (flow/commit.py)
 */
fun turns(rule: CommitRule, rows: Int, steps: Int): List<Turn> {
    val block = if (rule.block > 0) rule.block else max(rows, 1)
    val spans = (0 until rows step block).map { it to min(it + block, rows) }
    if (rule.count == "even") checkWhole(rows, block, steps, spans.size)
    val shares = spans.map { (start, stop) ->
        if (rule.count == "even") steps / spans.size
        else ((stop - start).toFloat() / rows * steps).toInt()
    }
    if (shares.any { it < 1 }) {
        throw NextOmniException(
            "$steps steps for ${spans.size} blocks: expected at least one step each",
        )
    }
    return spans.flatMapIndexed { at, (start, stop) ->
        List(shares[at]) { Turn(start, stop, it, shares[at]) }
    }
}

private fun checkWhole(rows: Int, block: Int, steps: Int, blocks: Int) {
    if (rows % block != 0) {
        throw NextOmniException(
            "an answer of $rows tokens is no whole number of blocks of $block: ask for " +
                "${near(rows, block)} tokens, or another block",
        )
    }
    if (blocks > 0 && steps % blocks != 0) {
        throw NextOmniException(
            "$steps steps are not shared evenly by $blocks blocks: ask for " +
                "${near(steps, blocks)} steps, or another block",
        )
    }
}

/** The multiples of a unit on both sides of a value. */
private fun near(value: Int, unit: Int): String =
    sortedSetOf(max(1, value / unit) * unit, (value + unit - 1) / unit * unit).joinToString(" or ")

/** How many rows the turn writes, of `masked` that are left of `total`. */
fun stepCount(rule: CommitRule, total: Int, masked: Int, turn: Turn): Int {
    val (step, steps) = turn.step to turn.steps
    if (rule.count == "even") return total / steps + (if (step < total % steps) 1 else 0)
    if (step == steps - 1) return masked
    if (rule.count == "time") {
        val left = 1f - time(step + 1, steps) / time(step, steps)
        return max(1, (masked * left).toInt())
    }
    val share = maskedShare(((step + 1.0) / steps).toFloat(), rule.count)
    val kept = min(masked - 1, max(1, floor(total * share).toInt()))
    return max(0, masked - (if (rule.early) kept else max(1, kept)))
}

/** The share of the rows that is masked at the share r of the steps, in float32. */
private fun maskedShare(r: Float, count: String): Float = when (count) {
    "linear" -> 1f - r
    "pow2" -> 1f - r * r
    "sigmoid" -> {
        val high = sigmoid(3f)
        (high - sigmoid(6f * r - 3f)) / (high - sigmoid(-3f))
    }
    else -> cos((r * PI.toFloat() * 0.5f).toDouble()).toFloat() // "cosine"
}

/** 1 / (1 + exp(−x)), each operation rounded to float32. */
private fun sigmoid(x: Float): Float = 1f / (1f + exp(-x.toDouble()).toFloat())

/** t_i of Dream's grid: n + 1 even float32 times from 1 to 0.001, counted from the nearer end. */
private fun time(step: Int, steps: Int): Float {
    val spacing = ((LAST_TIME - FIRST_TIME) / steps).toDouble()
    val found =
        if (step < (steps + 1) / 2) FIRST_TIME + step * spacing
        else LAST_TIME - (steps - step) * spacing
    return found.toFloat()
}

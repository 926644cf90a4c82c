package nextomni.edge.flow

import kotlin.math.exp
import kotlin.math.ln
import kotlin.math.max
import kotlin.math.min

private const val SMALLEST = 1e-20 // under which a probability is not told from 0 in a logarithm
private const val ENTROPY_FLOOR = 1e-10 // Dream's: sum p·ln(p + floor)

/** A drawn x_1 and its score. */
class Proposal(val x_1: Int, val score: Double)

/** −ln(−ln u), standard Gumbel noise from u in [0, 1). */
fun gumbel(u: Double): Double = -ln(-ln(max(u, SMALLEST)))

/**
 * The commit step: x_1 = argmax(l + T·G) of a masked row's logits (V,), and its score. `noise`:
 * uniforms (V,), read at a temperature above 0 only. (flow/commit.py)
 */
fun propose(
    logits: FloatArray, rule: CommitRule, temperature: Double, noise: () -> DoubleArray,
): Proposal {
    val plain = without(DoubleArray(logits.size) { logits[it].toDouble() }, rule.never)
    var drawnFrom = plain
    if (temperature > 0) drawnFrom = DoubleArray(plain.size) { plain[it] / temperature }
    if (rule.topK > 0 || rule.topP < 1) drawnFrom = truncated(drawnFrom, rule.topK, rule.topP)
    var noised = drawnFrom
    if (temperature > 0) {
        val uniform = noise()
        noised = DoubleArray(drawnFrom.size) { drawnFrom[it] + gumbel(uniform[it]) }
    }
    val x_1 = argmax(noised)
    val scored = without((if (rule.tempered) drawnFrom else plain).copyOf(), rule.last)
    return Proposal(x_1, confidence(scored, x_1, rule))
}

/** The score of x_1 under logits, without noise; 0 for "random". */
private fun confidence(logits: DoubleArray, x_1: Int, rule: CommitRule): Double {
    if (rule.score == "random") return 0.0
    val highest = logits[argmax(logits)]
    val peak = if (highest.isFinite()) highest else 0.0
    val shares = DoubleArray(logits.size) { exp(logits[it] - peak) }
    val total = shares.sum().let { if (it == 0.0) 1.0 else it } // rule.last may leave none
    for (x in shares.indices) shares[x] /= total
    return when (rule.score) {
        "probability" -> shares[x_1]
        "log_probability" -> ln(max(shares[x_1], SMALLEST))
        "entropy" -> shares.fold(0.0) { found, p -> found + p * ln(p + ENTROPY_FLOOR) }
        else -> { // "margin"
            val best = argmax(shares)
            var next = Double.NEGATIVE_INFINITY
            for (x in shares.indices) if (x != best) next = max(next, shares[x])
            shares[best] - next
        }
    }
}

/** The score that rows are ranked by, at this step's temperature, with the row's uniform. */
fun noised(score: Double, rule: CommitRule, temperature: Double, uniform: Double): Double = when {
    rule.score == "random" -> uniform
    rule.scoreNoise == "none" || temperature == 0.0 -> score
    else -> score + temperature * gumbel(uniform)
}

/**
 * Rows to write: of the eligible ones the `count` with the largest score, the earlier of equals;
 * with a threshold above 0 all whose score is over it, and at least the best one.
 */
fun chosen(
    score: DoubleArray, eligible: BooleanArray, count: Int, threshold: Double,
): List<Int> {
    val order = eligible.indices.filter { eligible[it] }.sortedByDescending { score[it] }
    val over = order.count { score[it] > threshold }
    return order.take(max(0, if (threshold > 0) max(1, over) else count))
}

/** T_i of the score's noise. "compounding": T·Π_{j ≤ i}(1 − (j+1)/S). */
fun scoreTemperature(rule: CommitRule, temperature: Double, step: Int, steps: Int): Double {
    if (rule.scoreNoise == "none") return 0.0
    if (rule.scoreNoise == "constant") return temperature
    return (0..step).fold(temperature) { found, at -> found * (1 - (at + 1.0) / steps) }
}

/**
 * Logits with −inf where Dream removes a symbol: behind a mass of more than topP, then under the
 * k-th largest.
 */
private fun truncated(logits: DoubleArray, topK: Int, topP: Double): DoubleArray {
    val ordered = logits.sortedArrayDescending()
    val weight = DoubleArray(ordered.size) { exp(ordered[it] - ordered[0]) }
    val total = weight.sum()
    var cumulative = 0.0
    val kept = weight.count { each ->
        cumulative += each / total
        cumulative - each / total <= topP
    }
    val least = ordered[max(1, if (topK > 0) min(kept, topK) else kept) - 1]
    return DoubleArray(logits.size) {
        if (logits[it] >= least) logits[it] else Double.NEGATIVE_INFINITY
    }
}

/** `logits` itself, with −inf at these symbols. */
private fun without(logits: DoubleArray, ids: List<Int>): DoubleArray {
    for (id in ids) logits[id] = Double.NEGATIVE_INFINITY
    return logits
}

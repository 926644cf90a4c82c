package nextomni.edge.flow

import kotlin.math.exp
import kotlin.math.expm1
import kotlin.math.min

private const val LARGEST_BETA = 1e30 // stands for beta_1 = inf, whose product with d = 0 is NaN
private const val BOUND_ROUNDING = 1e-5 // a distance may exceed what `between` says by this

/**
 * The metric-induced path p_t(x | x_1) = softmax_x(−beta_t·d(x, x_1)), and a step along it by a
 * rule, "euler" or "corrected". (flow/metric.py, jump.py, velocity.py)
 */
class MetricPath(
    val metric: MetricTable, private val schedule: MetricSchedule, private val rule: String,
) : FlowPath {
    /** x_0, uniform over the symbols. */
    override fun start(uniform: Double): Int = uniformId(uniform, metric.vocabulary)

    /** Whether beta does not rise in this step, as in Euler's at t = 0. */
    override fun idle(t: Double, h: Double): Boolean = rise(rule, schedule, t, h).rise == 0.0

    /** Whether x_t stays: a draw may move any row again. */
    override fun settled(x_t: Int, x_1: Int, greedy: Boolean): Boolean = greedy && x_t == x_1

    /**
     * x_{t+h}: with probability 1 − exp(−rise·Σ weight) a draw from the weights, else x_t; in the
     * last step x_1.
     */
    override fun step(move: Move): Int {
        if (move.last) return move.x_1
        val found = rise(rule, schedule, move.t, move.h)
        if (found.rise == 0.0 || move.x_t == move.x_1) return move.x_t
        val beta = min(found.beta, LARGEST_BETA)
        val rise = min(found.rise, LARGEST_BETA)
        val bound = metric.between(move.x_t, move.x_1) * (1 + BOUND_ROUNDING) +
            BOUND_ROUNDING * BOUND_ROUNDING
        if (!(move.jump < -expm1(-rise * bound))) return move.x_t
        val weight = jumpWeight(metric.distance(move.x_1), move.x_t, beta)
        val jumps = move.jump < -expm1(-rise * weight.sum())
        return if (jumps) inverseCdf(weight, move.target) else move.x_t
    }
}

/**
 * p_t(x | x_1)·max(0, d(x_t, x_1) − d(x, x_1)) from the distances (V,) of x_1: the velocity without
 * its factor beta'_t.
 */
fun jumpWeight(distance: FloatArray, x_t: Int, beta: Double): DoubleArray {
    val here = distance[x_t].toDouble()
    var nearest = Double.POSITIVE_INFINITY
    for (each in distance) if (each < nearest) nearest = each.toDouble()
    var total = 0.0
    val weight = DoubleArray(distance.size) { x ->
        exp(-beta * (distance[x] - nearest)).also { total += it }
    }
    for (x in weight.indices) {
        val gain = here - distance[x]
        weight[x] = if (gain > 0) weight[x] / total * gain else 0.0
    }
    return weight
}

package nextomni.edge.flow

import kotlin.math.min
import kotlin.math.pow

/** beta_t = c·(t/(1−t))^a: 0 at t = 0, infinite at t = 1. (flow/schedule.py) */
class MetricSchedule(private val c: Double, private val a: Double) {
    /** beta_t. */
    fun beta(t: Double): Double =
        if (t == 1.0) Double.POSITIVE_INFINITY else c * (t / (1 - t)).pow(a)

    /** d beta_t/dt, taken as 0 at t = 0. */
    fun derivative(t: Double): Double = when (t) {
        0.0 -> 0.0
        1.0 -> Double.POSITIVE_INFINITY
        else -> c * a * (t / (1 - t)).pow(a - 1) / ((1 - t) * (1 - t))
    }
}

/** At which beta a step sees p, and by how much beta rises in it. */
class Rise(val beta: Double, val rise: Double)

/** The rise of a step from t to t+h by a step rule, "euler" or "corrected". */
fun rise(rule: String, schedule: MetricSchedule, t: Double, h: Double): Rise {
    if (rule != "corrected") return Rise(schedule.beta(t), h * schedule.derivative(t))
    val rise =
        if (t < 1) schedule.beta(min(t + h, 1.0)) - schedule.beta(t) else Double.POSITIVE_INFINITY
    return Rise(schedule.beta(min(t + h / 2, 1.0)), rise)
}

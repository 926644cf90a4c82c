package nextomni.edge.flow

import kotlin.math.PI
import kotlin.math.cos
import kotlin.math.min

/** κ_t, which rises from 0 at t = 0 to 1 at t = 1: "linear", "cosine" or "shifted". */
class MixtureSchedule(private val kind: String = "linear", private val shift: Double = 1.0) {
    /** κ_t. */
    fun kappa(t: Double): Double = when {
        t >= 1 -> 1.0
        kind == "cosine" -> 1 - cos(PI / 2 * t)
        kind == "linear" -> t
        else -> shift * t / (1 + (shift - 1) * t)
    }
}

/**
 * The mixture path p_t(x | x_1) = (1 − κ_t)·p_0(x) + κ_t·δ_{x_1}(x), from the mask, or from a
 * uniform draw where `mask` is null. (flow/mixture.py)
 */
class MixturePath(
    private val vocabulary: Int, private val schedule: MixtureSchedule, private val mask: Int?,
) : FlowPath {
    /** x_0 ~ p_0. */
    override fun start(uniform: Double): Int = mask ?: uniformId(uniform, vocabulary)

    /** The probability that a row off x_1 moves to x_1 in [t, t+h]. */
    fun probability(t: Double, h: Double): Double {
        val now = schedule.kappa(min(t, 1.0))
        val then = schedule.kappa(min(t + h, 1.0))
        return if (then >= 1) 1.0 else (then - now) / (1 - now)
    }

    /** Whether κ does not rise in the step. */
    override fun idle(t: Double, h: Double): Boolean = probability(t, h) == 0.0

    override fun settled(x_t: Int, x_1: Int, greedy: Boolean): Boolean =
        if (mask != null) x_t != mask else greedy && x_t == x_1

    /** A row that may move becomes x_1 with `probability`, in the last step in any case. */
    override fun step(move: Move): Int {
        val moves = if (mask != null) move.x_t == mask else move.x_t != move.x_1
        val now = move.last || move.jump < probability(move.t, move.h)
        return if (moves && now) move.x_1 else move.x_t
    }
}

package nextomni.edge.flow

/** A path of one sub-code from noise to data, and a step along it. (flow/path.py) */
interface FlowPath {
    /** x_0 of a uniform in [0, 1). */
    fun start(uniform: Double): Int

    /** Whether no row moves in the step from t to t+h. */
    fun idle(t: Double, h: Double): Boolean

    /** Whether no later step moves the row. */
    fun settled(x_t: Int, x_1: Int, greedy: Boolean): Boolean

    /** x_{t+h} by the uniforms `jump` and `target`; `last`: of the last step. */
    fun step(move: Move): Int
}

/** One row's step from t to t+h, with its uniforms. */
class Move(
    val x_t: Int, val x_1: Int, val t: Double, val h: Double,
    val jump: Double, val target: Double, val last: Boolean,
)

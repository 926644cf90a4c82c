package nextomni.edge.media

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

// Resampling of 8-bit pictures as Pillow does it: a kernel that widens when it shrinks, fixed-point
// weights, and 8 bits between the two passes, of which the horizontal one is first. So a picture
// gives the same pixels here as in Python. Pillow from 13 takes the vertical pass first of a picture
// that is much higher than wide, which may move a level.

private const val PRECISION = 22 // bits behind the point of a weight
private const val A = -0.5 // of Keys' cubic

/** A weight by the distance from the centre, 0 from `support` on. */
internal class Kernel(val support: Double, val weight: (Double) -> Double)

internal val BILINEAR = Kernel(1.0) { max(0.0, 1 - abs(it)) }
internal val BICUBIC = Kernel(2.0) {
    val d = abs(it)
    if (d < 1) ((A + 2) * d - (A + 3)) * d * d + 1
    else if (d < 2) (((d - 5) * d + 8) * d - 4) * A
    else 0.0
}

/** For an output sample the first input sample that it reads, and the weights from there on. */
private class Taps(val first: Int, val weights: IntArray)

/** The numbers of a line, how far apart lines and samples are, and the same of the output. */
private class Layout(
    val lines: Int, val line: Int, val stride: Int, val outLine: Int, val outStride: Int,
)

/** (height·width·3,) levels from 0 to 255 → (toHeight·toWidth·3,). */
internal fun resized(
    levels: IntArray, width: Int, height: Int, toWidth: Int, toHeight: Int, kernel: Kernel,
): IntArray {
    val across =
        if (toWidth == width) levels
        else pass(levels, Layout(height, 3 * width, 3, 3 * toWidth, 3), width, toWidth, kernel)
    if (toHeight == height) return across
    val down = Layout(toWidth, 3, 3 * toWidth, 3, 3 * toWidth)
    return pass(across, down, height, toHeight, kernel)
}

/** One direction. */
private fun pass(levels: IntArray, layout: Layout, from: Int, to: Int, kernel: Kernel): IntArray {
    val out = IntArray(layout.lines * to * 3)
    taps(from, to, kernel).forEachIndexed { at, taps ->
        for (each in 0 until layout.lines) {
            for (channel in 0 until 3) {
                var total = 1L shl (PRECISION - 1)
                var place = each * layout.line + taps.first * layout.stride + channel
                for (weight in taps.weights) {
                    total += weight.toLong() * levels[place]
                    place += layout.stride
                }
                val level = (total shr PRECISION).toInt()
                out[each * layout.outLine + at * layout.outStride + channel] =
                    level.coerceIn(0, 255)
            }
        }
    }
    return out
}

private fun taps(from: Int, to: Int, kernel: Kernel): List<Taps> {
    val scale = from.toDouble() / to
    val widened = max(scale, 1.0)
    val support = kernel.support * widened
    return List(to) { at ->
        val centre = (at + 0.5) * scale
        val first = max(0, (centre - support + 0.5).toInt())
        val last = min(from, (centre + support + 0.5).toInt())
        val weights = DoubleArray(last - first) {
            kernel.weight((it + first - centre + 0.5) / widened)
        }
        val total = weights.sum().let { if (it == 0.0) 1.0 else it }
        Taps(first, IntArray(weights.size) { rounded(weights[it] / total * (1 shl PRECISION)) })
    }
}

/** To the nearest whole number, halves away from 0. */
private fun rounded(x: Double): Int = (if (x < 0) x - 0.5 else x + 0.5).toInt()

package nextomni.edge.flow

import kotlin.math.sqrt

private const val SAME_ROW = 1e-14 // |e_x − e_y|² below this is the rounding of float32 rows
private const val KEPT_BYTES = 1 shl 26 // of distance rows, by the id of x_1

/**
 * The metric table of one vocabulary and the distances between its symbols. (flow/distance.py,
 * row_cache.py) `rows` (V, D) are L2-normalised here; a zero row stays zero.
 */
class MetricTable(rows: FloatArray, val vocabulary: Int) {
    private val width = rows.size / vocabulary
    private val table = FloatArray(rows.size)
    private val squares = DoubleArray(vocabulary)

    /** The distances to ids asked for last, the oldest first. */
    private val kept = object : LinkedHashMap<Int, FloatArray>(16, 0.75f, true) {
        override fun removeEldestEntry(eldest: MutableMap.MutableEntry<Int, FloatArray>): Boolean =
            size.toLong() * 4 * vocabulary > KEPT_BYTES
    }

    init {
        for (x in 0 until vocabulary) normalise(rows, x)
    }

    private fun normalise(rows: FloatArray, x: Int) {
        val places = x * width until (x + 1) * width
        var square = 0.0
        for (at in places) square += rows[at].toDouble() * rows[at]
        val norm = if (square > 0) sqrt(square) else 1.0
        for (at in places) {
            table[at] = (rows[at] / norm).toFloat()
            squares[x] += table[at].toDouble() * table[at]
        }
    }

    /** d(x, y) of one pair. */
    fun between(x: Int, y: Int): Double {
        var squared = 0.0
        for (at in 0 until width) {
            val difference = table[x * width + at].toDouble() - table[y * width + at]
            squared += difference * difference
        }
        return squared * squared
    }

    /** d(x, x_1) = (|e_x − e_x1|²)² for every symbol x, (V,) in [0, 16]. */
    fun distance(x_1: Int): FloatArray = kept.getOrPut(x_1) { computed(x_1) }

    private fun computed(x_1: Int): FloatArray {
        val own = DoubleArray(width) { table[x_1 * width + it].toDouble() }
        var at = 0
        return FloatArray(vocabulary) { x ->
            var dot = 0.0
            for (d in 0 until width) dot += own[d] * table[at++]
            val squared = -2 * dot + (squares[x_1] + squares[x])
            if (squared > SAME_ROW) (squared * squared).toFloat() else 0f
        }
    }
}

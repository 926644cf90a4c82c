package nextomni.edge.generate

import kotlin.math.max
import nextomni.edge.NonFiniteException
import nextomni.edge.flow.Sampling
import nextomni.edge.flow.guided
import nextomni.edge.flow.sampleX1

private const val LOGITS_AT_ONCE = 1 shl 22 // numbers of a head's output that are looked at together

/**
 * From hidden states to x_1 (R·K,): the head of the generated modality on the rows that need it, and
 * the draw. Keeps the logits of its rows.
 *
 * An autoregressive head reads the sub-codes before each. With the last draw's sub-codes as a guess,
 * one call draws all K. Rows in which an earlier sub-code differs are drawn again, so k calls settle
 * k sub-codes, and the draws are the same. (generate/draw.py)
 */
class Draw(private val trunk: Trunk, private val options: Options, private val rows: Int) {
    private val codebooks = trunk.model.config.codebooks(trunk.modality)
    private val autoregressive = trunk.model.config.autoregressive(trunk.modality)
    private val sampling = Sampling(options.temperature, options.topK, options.topP)
    val entries: Int = trunk.model.config.symbols(trunk.modality)
    val x_1 = IntArray(rows * codebooks)
    private val logits by lazy { FloatArray(x_1.size * entries) }

    /**
     * Draw every row with uniform (R·K,). `fresh`: the hidden states are new since the last call.
     */
    fun draw(uniform: DoubleArray, fresh: Boolean) {
        val every = List(rows) { it }
        var pending = if (fresh) every else emptyList()
        var redrawn = if (options.temperature == 0.0) pending else every
        for (turn in 0 until if (autoregressive) codebooks else 1) {
            val size = codebooks * entries
            blocks(pending) { block, found ->
                block.forEachIndexed { at, row ->
                    found.copyInto(logits, row * size, at * size, (at + 1) * size)
                }
            }
            redrawn = redrawn.filter { drawRow(it, uniform) }
            pending = redrawn
            if (redrawn.isEmpty()) break
        }
    }

    /** Draw the sub-codes of a row; whether one that others read has changed. */
    private fun drawRow(row: Int, uniform: DoubleArray): Boolean {
        var changed = false
        for (k in 0 until codebooks) {
            val at = row * codebooks + k
            val own = logits.copyOfRange(at * entries, (at + 1) * entries)
            val drawn = sampleX1(own, uniform[at], sampling)
            if (drawn != x_1[at] && k < codebooks - 1) changed = true
            x_1[at] = drawn
        }
        return changed
    }

    /** Guided logits (n·K·C,) of some rows, a block at a time. */
    fun blocks(rows: List<Int>, use: (List<Int>, FloatArray) -> Unit) {
        val size = max(1, LOGITS_AT_ONCE / (codebooks * entries))
        for (block in rows.chunked(size)) use(block, computed(block))
    }

    private fun computed(rows: List<Int>): FloatArray {
        val batch = trunk.hidden.size
        val width = trunk.model.config.backbone.hiddenSize
        val hidden = FloatArray(batch * rows.size * width)
        val codes = IntArray(batch * rows.size * codebooks)
        trunk.hidden.forEachIndexed { branch, states ->
            rows.forEachIndexed { at, row ->
                val place = branch * rows.size + at
                states.copyInto(hidden, place * width, row * width, (row + 1) * width)
                x_1.copyInto(codes, place * codebooks, row * codebooks, (row + 1) * codebooks)
            }
        }
        val found = trunk.model.head(trunk.modality, hidden, batch, codes)
        return if (batch > 1) guided(found, batch) else found
    }

    private fun guided(logits: FloatArray, batch: Int): FloatArray {
        val size = logits.size / batch
        val branches = List(batch) { logits.copyOfRange(it * size, (it + 1) * size) }
        val found = guided(branches, listOf(options.guidance, options.guidanceImage))
        if (!found.all { it.isFinite() }) {
            throw NonFiniteException(
                "${trunk.modality.key}_head: a logit under guidance is not finite",
            )
        }
        return found
    }
}

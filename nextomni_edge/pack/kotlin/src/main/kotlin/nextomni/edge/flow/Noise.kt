package nextomni.edge.flow

/** What a uniform decides. The numbers are part of every golden trace. (flow/noise.py) */
enum class Use(val number: Long) { START(0), X_1(1), JUMP(2), TARGET(3), SYMBOL(4), SCORE(5) }

private const val ROUNDS = 10
private const val TO_UNIT = 1.0 / (1L shl 53)
private const val HALF = 0xffffffffL

// the multipliers of Philox4x64 and the steps of its keys
private val FIRST = 0xD2E7470EE14C6C93uL.toLong()
private val SECOND = 0xCA5A826395121157uL.toLong()
private val STEP_0 = 0x9E3779B97F4A7C15uL.toLong()
private val STEP_1 = 0xBB67AE8584CAA73BuL.toLong()

/** The upper half of a product of two unsigned words. Math.multiplyHigh needs Android 12. */
private fun multiplyHigh(a: Long, b: Long): Long {
    val low = (a and HALF) * (b and HALF)
    val cross = (a ushr 32) * (b and HALF) + (low ushr 32)
    val other = (a and HALF) * (b ushr 32) + (cross and HALF)
    return (a ushr 32) * (b ushr 32) + (cross ushr 32) + (other ushr 32)
}

/** Ten rounds of Philox4x64 (Salmon et al., SC 2011) in place, of four words. */
internal fun philox(counter: LongArray, key0: Long, key1: Long) {
    var k0 = key0
    var k1 = key1
    repeat(ROUNDS) {
        val high0 = multiplyHigh(counter[0], FIRST)
        val low0 = counter[0] * FIRST
        val high1 = multiplyHigh(counter[2], SECOND)
        val low1 = counter[2] * SECOND
        counter[0] = high1 xor counter[1] xor k0
        counter[1] = low1
        counter[2] = high0 xor counter[3] xor k1
        counter[3] = low0
        k0 += STEP_0
        k1 += STEP_1
    }
}

/**
 * Uniform values by (seed, segment, step, position, code, use), from Philox4x64-10: a value only
 * depends on its use, so no shortcut, batch or runtime shifts it.
 */
class Noise(seed: ULong) {
    private val seed = seed.toLong()

    /** In [0, 1), multiples of 2^-53: (positions, codes) by rows. */
    fun uniform(segment: Int, step: Int, use: Use, positions: Int, codes: Int = 1): DoubleArray {
        val out = DoubleArray(positions * codes)
        for (code in 0 until codes) fill(out, segment, step, use, code, code, codes)
        return out
    }

    /** In [0, 1), one for each symbol of one row. */
    fun symbols(segment: Int, step: Int, use: Use, row: Int, vocabulary: Int): DoubleArray {
        val out = DoubleArray(vocabulary)
        fill(out, segment, step, use, row, 0, 1)
        return out
    }

    /** Every `stride`th value from `first` on, four of them from each block. */
    private fun fill(
        out: DoubleArray, segment: Int, step: Int, use: Use, code: Int, first: Int, stride: Int,
    ) {
        val words = LongArray(WORDS)
        var block = 1L
        for (start in first until out.size step WORDS * stride) {
            words[0] = block++
            words[1] = code.toLong()
            words[2] = step.toLong()
            words[3] = segment.toLong()
            philox(words, seed, use.number)
            for (word in 0 until WORDS) {
                val at = start + word * stride
                // the upper 53 of 64 bits
                if (at < out.size) out[at] = (words[word] ushr 11) * TO_UNIT
            }
        }
    }

    private companion object {
        const val WORDS = 4
    }
}

package nextomni.edge.flow

/** The place of the largest value, the first of equals. (flow/arrays.py) */
fun argmax(values: FloatArray, from: Int = 0, until: Int = values.size): Int {
    var best = from
    for (at in from + 1 until until) if (values[at] > values[best]) best = at
    return best - from
}

/** The place of the largest value, the first of equals. */
fun argmax(values: DoubleArray): Int {
    var best = 0
    for (at in 1 until values.size) if (values[at] > values[best]) best = at
    return best
}

/** An id uniform over the symbols, of a uniform in [0, 1). */
fun uniformId(uniform: Double, vocabulary: Int): Int = (uniform * vocabulary).toInt()

/** The symbol x with CDF(x−1) ≤ uniform·total < CDF(x), of weights (V,). */
fun inverseCdf(weight: DoubleArray, uniform: Double): Int {
    val border = uniform * weight.sum()
    var cumulative = 0.0
    for (at in weight.indices) {
        cumulative += weight[at]
        if (cumulative > border) return at
    }
    // Rounding put the border on the total: take the last symbol with mass.
    return weight.indexOfLast { it > 0 }
}

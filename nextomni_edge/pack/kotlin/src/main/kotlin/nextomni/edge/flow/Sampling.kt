package nextomni.edge.flow

import kotlin.math.exp
import kotlin.math.min

private const val MOST_IN_HEAP = 1024 // from here on a sort costs less

/** What shapes a draw: top_k 0 and top_p 1 keep every symbol. */
class Sampling(val temperature: Double, val topK: Int, val topP: Double)

/**
 * x_1 ~ softmax(logits / temperature), truncated, of logits (V,); temperature 0 is the argmax, of
 * which the lowest id wins ties. (flow/sampling.py)
 */
fun sampleX1(logits: FloatArray, uniform: Double, options: Sampling): Int =
    if (options.temperature == 0.0) argmax(logits)
    else inverseCdf(truncatedWeight(logits, options), uniform)

/**
 * What `sampleX1` draws from: unnormalised probabilities, 0 where truncated. Among equals the lower
 * id is kept.
 */
fun truncatedWeight(logits: FloatArray, options: Sampling): DoubleArray {
    val peak = logits[argmax(logits)].toDouble()
    val mass = { logit: Float -> exp((logit - peak) / options.temperature) }
    val weight = DoubleArray(logits.size) { mass(logits[it]) }
    val count = if (options.topK > 0) min(options.topK, logits.size) else logits.size
    if (count == logits.size && options.topP == 1.0) return weight
    val ordered = largest(logits, count)
    val kept = shortest(DoubleArray(count) { mass(ordered[it]) }, options.topP)
    val threshold = ordered[kept - 1]
    var room = kept - logits.count { it > threshold }
    for (x in weight.indices) {
        if (logits[x] > threshold || (logits[x] == threshold && room-- > 0)) continue
        weight[x] = 0.0
    }
    return weight
}

/** The length of the shortest run of falling masses that reaches p of the total, at least 1. */
private fun shortest(mass: DoubleArray, p: Double): Int {
    val total = mass.sum()
    var cumulative = 0.0
    return mass.count { each ->
        cumulative += each
        cumulative - each < p * total // the mass before a symbol falls short of p
    }
}

/** The `count` largest values, falling. */
fun largest(values: FloatArray, count: Int): FloatArray {
    if (count > MOST_IN_HEAP) return values.sortedArrayDescending().copyOf(count)
    // a heap whose top is the least value that is kept
    val heap = values.copyOf(count)
    heap.sort()
    for (at in count until values.size) if (values[at] > heap[0]) sink(heap, values[at])
    return heap.sortedArrayDescending()
}

/** Put a value in place of the heap's top. */
private fun sink(heap: FloatArray, value: Float) {
    var place = 0
    while (true) {
        var next = 2 * place + 1
        if (next >= heap.size) break
        if (next + 1 < heap.size && heap[next + 1] < heap[next]) next++
        if (heap[next] >= value) break
        heap[place] = heap[next]
        place = next
    }
    heap[place] = value
}

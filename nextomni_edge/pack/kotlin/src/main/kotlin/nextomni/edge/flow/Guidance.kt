package nextomni.edge.flow

/**
 * Classifier-free guidance: (1+s)·conditional − s·unconditional, and s_j·(conditional −
 * unconditional_j) of each further branch, in float32 as the logits are. `branches`: the conditional
 * one first; `scales`: one for each other branch. (flow/guidance.py)
 */
fun guided(branches: List<FloatArray>, scales: List<Double>): FloatArray {
    val (conditional, unconditional) = branches
    val own = (1 + scales[0]).toFloat()
    val other = scales[0].toFloat()
    val found = FloatArray(conditional.size) { own * conditional[it] - other * unconditional[it] }
    for (branch in 2 until branches.size) {
        val more = branches[branch]
        val scale = scales[branch - 1].toFloat()
        for (at in found.indices) found[at] += scale * (conditional[at] - more[at])
    }
    return found
}

/// (1+s)·conditional − s·unconditional, and s_j·(conditional − unconditional_j) of each further branch, in float32 as the logits are.
/// `logits` holds the branches one after another, `count` numbers each; the result takes the first one's place. (flow/guidance.py)
func guide(_ logits: inout [Float], count: Int, scales: [Double]) {
    let branches = logits.count / max(1, count)
    guard branches > 1, let first = scales.first else { return }
    logits.withUnsafeMutableBufferPointer { logits in
        for place in 0..<count {
            let conditional = logits[place]
            var found = Float(1 + first) * conditional - Float(first) * logits[count + place]
            for branch in 2..<max(2, branches) {
                found += Float(scales[branch - 1]) * (conditional - logits[branch * count + place])
            }
            logits[place] = found
        }
    }
}

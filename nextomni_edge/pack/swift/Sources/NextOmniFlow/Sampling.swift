import Foundation

/// (1+s)·conditional − s·unconditional, and s_j·(conditional − unconditional_j) of each further one, in float32 as the logits are.
/// (flow/guidance.py)
public func guided(_ conditional: [Float], _ others: [(logits: [Float], scale: Double)]) -> [Float] {
    guard let (unconditional, scale) = others.first else { return conditional }
    var found = zip(conditional, unconditional).map { Float(1 + scale) * $0 - Float(scale) * $1 }
    for (other, scale) in others.dropFirst() {
        for place in found.indices { found[place] += Float(scale) * (conditional[place] - other[place]) }
    }
    return found
}

/// x_1 ~ softmax(logits / temperature), truncated; temperature 0 is the argmax, of which the lowest id wins ties.
public func sampleX1(_ logits: [Float], uniform: Double, temperature: Double, topK: Int = 0, topP: Double = 1) -> Int {
    let peak = logits.max()!
    if temperature == 0 { return logits.firstIndex(of: peak)! }
    var weight = logits.map { exp((Double($0) - Double(peak)) / temperature) }
    let count = topK > 0 ? min(topK, logits.count) : logits.count
    if count < logits.count || topP < 1 {
        let kept = likeliest(logits, count: count, peak: peak, temperature: temperature, topP: topP)
        for symbol in 0..<weight.count where !kept.contains(symbol) { weight[symbol] = 0 }
    }
    return inverseCDF(weight, uniform)
}

/// The `count` likeliest symbols, and of these the shortest run whose mass reaches topP; among equals the lower id is kept.
private func likeliest(_ logits: [Float], count: Int, peak: Float, temperature: Double, topP: Double) -> Set<Int> {
    let order = logits.indices.sorted { logits[$0] != logits[$1] ? logits[$0] > logits[$1] : $0 < $1 }.prefix(count)
    let mass = order.map { exp((Double(logits[$0]) - Double(peak)) / temperature) }
    var cumulative = mass
    for place in 1..<max(1, mass.count) { cumulative[place] += cumulative[place - 1] }
    let short = zip(cumulative, mass).filter { $0 - $1 < topP * cumulative.last! }.count
    return Set(order.prefix(short))
}

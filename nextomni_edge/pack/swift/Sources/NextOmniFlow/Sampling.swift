import Foundation

/// How x_1 is drawn from logits.
struct Sampling: Sendable {
    let temperature: Double
    let topK: Int
    let topP: Double
}

/// A symbol that may be drawn.
private struct Candidate {
    let symbol: Int
    let logit: Float
    let mass: Double  // exp((logit − peak) / temperature)

    /// The likelier, or of equals the lower id, comes first.
    func precedes(_ other: Candidate) -> Bool { logit != other.logit ? logit > other.logit : symbol < other.symbol }
}

extension Sampling {
    /// x_1 ~ softmax(logits / temperature), truncated; temperature 0 is the argmax, of which the lowest id wins ties. `sums` is room that
    /// is used again. (flow/sampling.py)
    func draw(_ logits: UnsafeBufferPointer<Float>, uniform: Double, _ sums: inout [Double]) -> Int {
        if temperature == 0 { return argmax(logits) }
        let most = Double(peak(of: logits)), count = topK > 0 ? min(topK, logits.count) : logits.count
        if count == logits.count {
            let total = running(logits, most, &sums)
            return topP == 1 ? inverseCDF(sums, uniform) : drawn(nucleus(outside(logits, most, total), total), uniform)
        }
        let kept = largest(logits, count).map { Candidate(symbol: $0, logit: logits[$0], mass: mass(logits[$0], most)) }
        return drawn(topP == 1 ? kept : nucleus(kept, kept.reduce(0) { $0 + $1.mass }), uniform)
    }

    private func mass(_ logit: Float, _ most: Double) -> Double { weight(of: (Double(logit) - most) / temperature) }

    /// The running sums of all masses, and the whole sum.
    private func running(_ logits: UnsafeBufferPointer<Float>, _ most: Double, _ sums: inout [Double]) -> Double {
        if sums.count != logits.count { sums = [Double](repeating: 0, count: logits.count) }
        var total = 0.0
        for symbol in logits.indices {
            total += mass(logits[symbol], most)
            sums[symbol] = total
        }
        return total
    }

    /// All but symbols so unlikely that together they have less than 1 − topP of the mass.
    private func outside(_ logits: UnsafeBufferPointer<Float>, _ most: Double, _ total: Double) -> [Candidate] {
        let least = (1 - topP) * total / Double(logits.count) * 0.999
        let floor = least > 0 ? Float(most + log(least) * temperature).nextDown : -.infinity  // rounded
        return logits.indices.compactMap { symbol in
            logits[symbol] >= floor ? Candidate(symbol: symbol, logit: logits[symbol], mass: mass(logits[symbol], most)) : nil
        }
    }

    /// The shortest run of the likeliest whose mass reaches topP of the total, in order of symbols. A search that halves, not a sort.
    private func nucleus(_ candidates: [Candidate], _ total: Double) -> [Candidate] {
        let wanted = topP * total
        var (kept, left, before, random) = ([Candidate](), candidates, 0.0, UInt64(1))
        while left.count > 32 {
            random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407  // no order of logits makes it slow
            let pivot = left[Int(random >> 33) % left.count]
            let ahead = left.filter { $0.precedes(pivot) }
            let mass = ahead.reduce(0) { $0 + $1.mass }
            if before + mass >= wanted {
                left = ahead
            } else {
                kept += ahead
                before += mass
                left = left.filter { !$0.precedes(pivot) }
                if ahead.isEmpty {  // the pivot is first of what is left
                    kept.append(pivot)
                    before += pivot.mass
                    left.removeAll { $0.symbol == pivot.symbol }
                    if before >= wanted { left = [] }
                }
            }
        }
        for candidate in left.sorted(by: { $0.precedes($1) }) where before < wanted {
            kept.append(candidate)
            before += candidate.mass
        }
        return kept.sorted { $0.symbol < $1.symbol }
    }

    private func drawn(_ candidates: [Candidate], _ uniform: Double) -> Int {
        var total = 0.0
        let sums = candidates.map { candidate in
            total += candidate.mass
            return total
        }
        return candidates[inverseCDF(sums, uniform)].symbol
    }
}

/// The places of the `count` largest values, in order; among equals the lower one is kept.
func largest(_ values: UnsafeBufferPointer<Float>, _ count: Int) -> [Int] {
    var heap = Array(values.prefix(count))  // the smallest of the largest first
    for place in stride(from: count / 2 - 1, through: 0, by: -1) { sink(&heap, place) }
    for value in values.dropFirst(count) where value > heap[0] {
        heap[0] = value
        sink(&heap, 0)
    }
    let least = heap[0]
    var room = heap.reduce(0) { $0 + ($1 == least ? 1 : 0) }
    return values.indices.filter { place in
        if values[place] != least { return values[place] > least }
        room -= 1
        return room >= 0
    }
}

/// Let a value go down a heap until none below it is smaller.
private func sink(_ heap: inout [Float], _ start: Int) {
    var place = start
    while true {
        var child = 2 * place + 1
        if child >= heap.count { return }
        if child + 1 < heap.count && heap[child + 1] < heap[child] { child += 1 }
        if heap[place] <= heap[child] { return }
        heap.swapAt(place, child)
        place = child
    }
}

import Foundation

let largestBeta = 1e30  // stands for beta_1 = inf, whose product with d = 0 would be NaN
let sameRow = 1e-14  // |e_x − e_y|² under this is 0: the rounding of float32 rows, not a distance
let boundRounding = 1e-5  // by how much a distance may be over what `between` says

/// p_t(x | x_1) = softmax_x(−beta_t·d(x, x_1)) over one vocabulary, and a step along it. (flow/path.py, velocity.py, step.py)
public final class MetricPath {
    public let schedule: MetricSchedule
    public let vocabulary: Int
    private let table: [[Float]]  // rows of length 1; a zero row stays zero
    private let squares: [Double]

    public init(table rows: [[Float]], schedule: MetricSchedule) {
        self.schedule = schedule
        vocabulary = rows.count
        table = rows.map { row in
            let norm = row.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
            return row.map { Float(Double($0) / (norm > 0 ? norm : 1)) }
        }
        squares = table.map { row in row.reduce(0.0) { $0 + Double($1) * Double($1) } }
    }

    /// d(x, x_1) = (|e_x − e_x1|²)² for every symbol x, in [0, 16].
    public func distance(_ x1: Int) -> [Float] {
        (0..<vocabulary).map { x in
            let dot = zip(table[x], table[x1]).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
            let squared = -2 * dot + squares[x1] + squares[x]
            return Float(squared > sameRow ? squared * squared : 0)
        }
    }

    /// d(x, y) of one pair.
    func between(_ x: Int, _ y: Int) -> Double {
        let squared = zip(table[x], table[y]).reduce(0.0) { sum, pair in
            let difference = Double(pair.0) - Double(pair.1)
            return sum + difference * difference
        }
        return squared * squared
    }

    /// p_t(x | x_1)·max(0, d(x_t, x_1) − d(x, x_1)): the velocity without its factor beta'_t.
    public func jumpWeight(_ distance: [Float], from xt: Int, beta: Double) -> [Double] {
        let nearest = Double(distance.min()!)
        var weight = distance.map { exp(-beta * (Double($0) - nearest)) }
        let total = weight.reduce(0, +)
        for x in 0..<weight.count {
            let gain = Double(distance[xt]) - Double(distance[x])
            weight[x] = gain > 0 ? weight[x] / total * gain : 0
        }
        return weight
    }

    /// x_{t+h} of one symbol: jump with probability 1 − exp(−rise·Σ weight), to a target drawn from weight.
    public func step(
        from xt: Int, toward x1: Int, t: Double, h: Double, jump: Double, target: Double, rule: Stepper, last: Bool
    ) -> Int {
        if last { return x1 }
        var (beta, rise) = rule.rise(schedule, t: t, h: h)
        if rise == 0 || xt == x1 { return xt }
        (beta, rise) = (min(beta, largestBeta), min(rise, largestBeta))
        let bound = between(xt, x1) * (1 + boundRounding) + boundRounding * boundRounding
        guard jump < -expm1(-rise * bound) else { return xt }
        let weight = jumpWeight(distance(x1), from: xt, beta: beta)
        guard jump < -expm1(-rise * weight.reduce(0, +)) else { return xt }
        return inverseCDF(weight, target)
    }
}

/// The symbol x with CDF(x−1) ≤ uniform·total < CDF(x).
public func inverseCDF(_ weight: [Double], _ uniform: Double) -> Int {
    var cumulative = weight
    for x in 1..<max(1, weight.count) { cumulative[x] += cumulative[x - 1] }
    let total = cumulative.last!
    let found = cumulative.filter { $0 <= uniform * total }.count
    return found < weight.count ? found : min(found, cumulative.filter { $0 < total }.count)
}

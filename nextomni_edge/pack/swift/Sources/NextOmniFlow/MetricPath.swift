import Foundation

let largestBeta = 1e30  // stands for beta_1 = inf, whose product with d = 0 would be NaN
let boundRounding = 1e-5  // by how much a distance may be over what `between` says

/// The uniform draws of a step, one for each row: whether it jumps, and where to.
struct JumpDraws {
    let jump, target: [Double]
}

/// p_t(x | x_1) = softmax_x(−beta_t·d(x, x_1)) over one vocabulary, and steps along it. (flow/metric.py, jump.py, velocity.py)
public final class MetricPath: Sendable {
    public let schedule: MetricSchedule
    let table: MetricTable
    private let rows: RowCache

    public init(table: MetricTable, schedule: MetricSchedule) {
        (self.table, self.schedule, rows) = (table, schedule, RowCache(table))
    }

    /// x_{t+h} of rows: jump with probability 1 − exp(−rise·Σ weight) to a target drawn from weight,
    /// weight = p_t(x | x_1)·max(0, d(x_t, x_1) − d(x, x_1)); in the last step x_1.
    func step(from xt: [Int], toward x1: [Int], t: Double, h: Double, _ draws: JumpDraws, rule: Stepper, last: Bool) -> [Int] {
        if last { return x1 }
        var (beta, rise) = rule.rise(schedule, t: t, h: h)
        if rise == 0 { return xt }
        (beta, rise) = (min(beta, largestBeta), min(rise, largestBeta))
        let moving = xt.indices.filter { xt[$0] != x1[$0] && mayJump(xt[$0], x1[$0], rise, draws.jump[$0]) }
        let rowsOf = Dictionary(grouping: moving) { x1[$0] }
        let symbols = rowsOf.keys.sorted()
        var (next, weights, sums) = (xt, [Double](), [Double]())
        for (symbol, distance) in zip(symbols, rows.rows(symbols)) {
            boltzmann(distance, beta, &weights)
            for row in rowsOf[symbol] ?? [] {
                let total = Self.jumpWeights(distance, from: xt[row], weights, &sums)
                if draws.jump[row] < -expm1(-rise * total) { next[row] = inverseCDF(sums, draws.target[row]) }
            }
        }
        return next
    }

    /// Whether the draw allows a jump by a bound that costs no pass over the vocabulary.
    private func mayJump(_ xt: Int, _ x1: Int, _ rise: Double, _ jump: Double) -> Bool {
        let bound = table.between(xt, x1) * (1 + boundRounding) + boundRounding * boundRounding
        return jump < -expm1(-rise * bound)
    }

    /// exp(−beta·(d − min d)) over its sum, for every symbol.
    private func boltzmann(_ distance: [Float], _ beta: Double, _ weights: inout [Double]) {
        let nearest = Double(distance.min() ?? 0)
        var total = 0.0
        if weights.count != distance.count { weights = [Double](repeating: 0, count: distance.count) }
        for x in distance.indices {
            weights[x] = weight(of: -beta * (Double(distance[x]) - nearest))
            total += weights[x]
        }
        for x in distance.indices { weights[x] /= total }
    }

    /// The running sums of p·max(0, d(x_t) − d) over the symbols, and the whole sum.
    private static func jumpWeights(_ distance: [Float], from xt: Int, _ weights: [Double], _ sums: inout [Double]) -> Double {
        let here = Double(distance[xt])
        var total = 0.0
        if sums.count != distance.count { sums = [Double](repeating: 0, count: distance.count) }
        for x in distance.indices {
            let gain = here - Double(distance[x])
            total += gain > 0 ? weights[x] * gain : 0
            sums[x] = total
        }
        return total
    }
}

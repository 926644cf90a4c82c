import Foundation

/// The choices of the commit step, as config.json names them. (decoding.py)
public struct CommitRule: Decodable, Equatable, Sendable {
    public enum Count: String, Decodable, Sendable { case even, cosine, linear, pow2, sigmoid, time }
    public enum Score: String, Decodable, Sendable {
        case probability, margin, entropy, random
        case logProbability = "log_probability"
    }
    public enum ScoreNoise: String, Decodable, Sendable { case none, constant, compounding }
    public enum Total: String, Decodable, Sendable { case masked, all }

    public var count = Count.even
    public var score = Score.probability
    public var tempered = false
    public var scoreNoise = ScoreNoise.none
    public var block = 0
    public var threshold = 0.0
    public var topK = 0
    public var topP = 1.0
    public var never: [Int] = []
    public var last: [Int] = []
    public var total = Total.masked
    public var early = false
    public var drawTemperature: Double?
    public var ends: [Int] = []

    enum CodingKeys: String, CodingKey {
        case count, score, tempered, scoreNoise, block, threshold, topK, topP, never, last, total, early, drawTemperature, ends
    }

    public init() {}

    /// config.json leaves a choice out where it is the default.
    public init(from decoder: Decoder) throws {
        let found = try decoder.container(keyedBy: CodingKeys.self)
        func choice<Value: Decodable>(_ key: CodingKeys, _ own: Value) throws -> Value {
            try found.decodeIfPresent(Value.self, forKey: key) ?? own
        }
        (count, score, tempered) = try (choice(.count, count), choice(.score, score), choice(.tempered, tempered))
        (scoreNoise, block, threshold) = try (choice(.scoreNoise, scoreNoise), choice(.block, block), choice(.threshold, threshold))
        (topK, topP, never, last) = try (choice(.topK, topK), choice(.topP, topP), choice(.never, never), choice(.last, last))
        (total, early, ends) = try (choice(.total, total), choice(.early, early), choice(.ends, ends))
        drawTemperature = try found.decodeIfPresent(Double.self, forKey: .drawTemperature)
    }

    /// The model's rule with what the options say in place of it. (generate/unmask.py)
    func ruled(_ options: Options) -> CommitRule {
        var rule = self
        if let block = options.block { rule.block = block }
        if let threshold = options.threshold {
            rule.threshold = threshold
            if threshold > 0 && (score == .entropy || score == .logProbability) {
                (rule.score, rule.scoreNoise) = (.probability, .none)
            }
        }
        if let temperature = options.drawTemperature { rule.drawTemperature = temperature }
        if options.topK > 0 || options.topP < 1 { (rule.topK, rule.topP) = (options.topK, options.topP) }
        return rule
    }
}

let smallest = 1e-20  // under which a probability or a uniform is not told from 0 in a logarithm
let entropyFloor = 1e-10  // Dream's: sum p·ln(p + floor)

/// −ln(−ln u), standard Gumbel noise from u in [0, 1). (flow/commit.py)
func gumbel(_ uniform: Double) -> Double { -log(-log(max(uniform, smallest))) }

/// x_1 = argmax(l + T·G) of one row, and its score before noise. `noise`, uniform values, is read at a temperature over 0.
func propose<Logits: Sequence<Float>>(
    _ logits: Logits, _ rule: CommitRule, temperature: Double, noise: () -> [Double]
) -> (x1: Int, score: Double) {
    var plain = logits.map(Double.init)
    for id in rule.never where plain.indices.contains(id) { plain[id] = -.infinity }
    var drawn = plain
    if temperature > 0 { for place in drawn.indices { drawn[place] /= temperature } }
    if rule.topK > 0 || rule.topP < 1 { drawn = truncated(drawn, topK: rule.topK, topP: rule.topP) }
    let x1 = temperature > 0 ? noisedArgmax(drawn, noise()) : argmax(drawn)
    if rule.tempered { plain = drawn }
    for id in rule.last where plain.indices.contains(id) { plain[id] = -.infinity }
    return (x1, confidence(&plain, x1, rule.score))
}

private func noisedArgmax(_ logits: [Double], _ uniform: [Double]) -> Int {
    var (best, most) = (0, -Double.infinity)
    for (place, logit) in logits.enumerated() where logit > -.infinity {
        let value = logit + gumbel(uniform[place])
        if value > most { (best, most) = (place, value) }
    }
    return best
}

/// The first place of the largest value.
private func argmax(_ values: [Double]) -> Int {
    var best = 0
    for place in values.indices where values[place] > values[best] { best = place }
    return best
}

/// The score of x_1 under its row's logits, without noise. The logits' room is used up.
func confidence(_ logits: inout [Double], _ x1: Int, _ score: CommitRule.Score) -> Double {
    if score == .random { return 0 }
    let peak = logits.max() ?? 0
    var total = 0.0
    for place in logits.indices {
        logits[place] = weight(of: logits[place] - (peak.isFinite ? peak : 0))
        total += logits[place]
    }
    let whole = total > 0 ? total : 1
    switch score {
    case .probability: return logits[x1] / whole
    case .logProbability: return log(max(logits[x1] / whole, smallest))
    case .entropy: return logits.reduce(0) { $0 + $1 / whole * log($1 / whole + entropyFloor) }
    case .margin:
        let best = argmax(logits)
        var second = -Double.infinity
        for place in logits.indices where place != best { second = max(second, logits[place]) }
        return logits[best] / whole - second / whole
    case .random: return 0
    }
}

/// Logits with −inf where Dream removes a symbol: behind a mass of more than topP, then under the k-th largest.
func truncated(_ logits: [Double], topK: Int, topP: Double) -> [Double] {
    let ordered = logits.sorted(by: >)
    var weights = ordered.map { weight(of: $0 - ordered[0]) }
    let total = weights.reduce(0, +)
    for place in weights.indices { weights[place] /= total }
    var before = 0.0, kept = 0
    for each in weights {
        before += each
        if before - each <= topP { kept += 1 }
    }
    if topK > 0 { kept = min(kept, topK) }
    let least = ordered[max(kept, 1) - 1]
    return logits.map { $0 >= least ? $0 : -.infinity }
}

/// The score that a row is ranked by, at this step's temperature.
func noised(_ score: Double, _ rule: CommitRule, temperature: Double, uniform: Double) -> Double {
    if rule.score == .random { return uniform }
    return rule.scoreNoise == .none || temperature == 0 ? score : score + temperature * gumbel(uniform)
}

/// Rows to write: of the eligible ones the `count` with the largest score, the earlier of equals; with a threshold over 0 all whose
/// score is over it, and at least the best one.
func chosen(_ score: [Double], _ eligible: [Bool], count: Int, threshold: Double) -> Set<Int> {
    let order = score.indices.filter { eligible[$0] }.sorted { score[$0] != score[$1] ? score[$0] > score[$1] : $0 < $1 }
    let wanted = threshold > 0 ? max(1, order.filter { score[$0] > threshold }.count) : count
    return Set(order.prefix(max(0, wanted)))
}

/// One step of a block: rows start ..< stop of the generated ones, step `step` of `steps`.
struct CommitTurn: Equatable {
    let start, stop, step, steps: Int
}

extension CommitRule {
    /// The steps of a run over so many rows, block by block. Throws a sentence about numbers that do not divide.
    func turns(rows: Int, steps: Int) throws -> [CommitTurn] {
        let size = block > 0 ? block : rows
        let spans = stride(from: 0, to: rows, by: max(1, size)).map { ($0, min($0 + size, rows)) }
        if count == .even { try checkWhole(rows, size, steps, spans.count) }
        let shares = spans.map { start, stop in
            count == .even ? steps / spans.count : Int(Float(Double(stop - start) / Double(rows)) * Float(steps))
        }
        guard shares.min() ?? 1 >= 1 else {
            throw NextOmniError("\(steps) steps for \(spans.count) blocks: expected at least one step each")
        }
        return zip(spans, shares).flatMap { span, share in
            (0..<share).map { CommitTurn(start: span.0, stop: span.1, step: $0, steps: share) }
        }
    }

    private func checkWhole(_ rows: Int, _ size: Int, _ steps: Int, _ blocks: Int) throws {
        /// The whole multiples of `unit` next to `value`.
        func near(_ value: Int, _ unit: Int) -> String {
            Set([max(1, value / unit) * unit, (value + unit - 1) / unit * unit]).sorted().map(String.init).joined(separator: " or ")
        }
        guard rows % size == 0 else {
            throw NextOmniError(
                "an answer of \(rows) tokens is no whole number of blocks of \(size): ask for \(near(rows, size)) tokens, or another block")
        }
        guard steps % blocks == 0 else {
            throw NextOmniError(
                "\(steps) steps are not shared evenly by \(blocks) blocks: ask for \(near(steps, blocks)) steps, or another block")
        }
    }

    /// How many rows a step writes, of `masked` that are left of `all`.
    func written(of all: Int, masked: Int, step: Int, steps: Int) -> Int {
        if count == .even { return all / steps + (step < all % steps ? 1 : 0) }
        if step == steps - 1 { return masked }
        if count == .time {
            let ratio = Float(1) - time(step + 1, steps) / time(step, steps)
            return max(1, Int(Float(masked) * ratio))
        }
        let share = maskedShare(Float(Double(step + 1) / Double(steps)))
        let kept = min(masked - 1, max(1, Int((Float(all) * share).rounded(.down))))
        return max(0, masked - (early ? kept : max(1, kept)))
    }

    /// The share of the rows that is masked at the share r of the steps, in float32.
    private func maskedShare(_ r: Float) -> Float {
        switch count {
        case .linear: return 1 - r
        case .pow2: return 1 - r * r
        case .sigmoid:
            let (high, low, now) = (sigmoid(3), sigmoid(-3), sigmoid(6 * r - 3))
            return (high - now) / (high - low)
        default: return cos(r * Float(Double.pi) * 0.5)
        }
    }

    private func sigmoid(_ x: Float) -> Float { 1 / (1 + exp(-x)) }

    /// t_i of Dream's grid, float32 from 1 down to 0.001, counted from the nearer end.
    private func time(_ step: Int, _ steps: Int) -> Float {
        let (first, last) = (Float(1), Float(1e-3))
        let spacing = Double((last - first) / Float(steps))
        return step < (steps + 1) / 2
            ? Float(Double(first) + Double(step) * spacing) : Float(Double(last) - Double(steps - step) * spacing)
    }

    /// The temperature of a score's noise in a step. "compounding" is MMaDA's: T·Π(1 − (j+1)/S).
    func scoreTemperature(_ temperature: Double, step: Int, steps: Int) -> Double {
        switch scoreNoise {
        case .none: return 0
        case .constant: return temperature
        case .compounding: return (0...step).reduce(temperature) { $0 * (1 - Double($1 + 1) / Double(steps)) }
        }
    }
}

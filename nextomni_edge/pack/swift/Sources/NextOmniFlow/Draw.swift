/// From hidden states to x_1: the head on the rows that need it, and the draw. (generate/draw.py)
struct Draw {
    static let logitsAtOnce = 1 << 24  // rows of a head's output that are looked at together: 64 MiB

    private let generator: Generator
    private let modality: Modality
    private let options: Options
    private let codebooks, entries: Int
    private let inTurn: Bool  // each sub-code is predicted from those before it
    private(set) var x1: [[Int]]
    private var kept: [Float] = []  // logits (rows,K,C) of the last forward, where they can serve again
    private var sums: [Double] = []

    init(_ generator: Generator, _ modality: Modality, _ options: Options, rows: Int) {
        (self.generator, self.modality, self.options) = (generator, modality, options)
        (codebooks, entries) = generator.configuration.symbols(modality)
        inTurn = generator.configuration.autoregressive(modality)
        x1 = [[Int]](repeating: [Int](repeating: 0, count: codebooks), count: rows)
        if modality != .text { kept = [Float](repeating: 0, count: rows * codebooks * entries) }
    }

    /// Draw x_1 from `trunk`'s states. The rows `fresh` have new ones. An autoregressive head draws all sub-codes of a row with the last
    /// draw's as a guess, and those rows again in which an earlier sub-code differs: the same draws, in fewer calls.
    mutating func predict(_ trunk: Trunk, fresh: [Int], uniform: [[Double]]) throws {
        var redrawn = options.temperature == 0 ? fresh : Array(x1.indices)  // a greedy draw reads no noise
        var pending = kept.isEmpty ? redrawn : fresh
        for _ in 0..<(inTurn ? codebooks : 1) where !redrawn.isEmpty {
            let before = redrawn.map { x1[$0].dropLast() }
            try draw(trunk, pending, redrawn, uniform)
            redrawn = zip(redrawn, before).filter { x1[$0].dropLast() != $1 }.map(\.0)
            pending = redrawn
        }
    }

    private mutating func draw(_ trunk: Trunk, _ pending: [Int], _ wanted: [Int], _ uniform: [[Double]]) throws {
        let sampling = options.sampling, size = codebooks * entries
        for rows in blocks(trunk, pending) {
            let found = try logits(trunk, rows)
            for (place, row) in rows.enumerated() {
                if kept.isEmpty {
                    sample(row, found[place * size..<(place + 1) * size], uniform[row], sampling)
                } else {
                    kept.replaceSubrange(row * size..<(row + 1) * size, with: found[place * size..<(place + 1) * size])
                }
            }
        }
        guard !kept.isEmpty else { return }
        for row in wanted { sample(row, kept[row * size..<(row + 1) * size], uniform[row], sampling) }
    }

    private mutating func sample(_ row: Int, _ logits: ArraySlice<Float>, _ uniform: [Double], _ sampling: Sampling) {
        logits.withUnsafeBufferPointer { logits in
            for k in 0..<codebooks {
                x1[row][k] = sampling.draw(.init(rebasing: logits[k * entries..<(k + 1) * entries]), uniform: uniform[k], &sums)
            }
        }
    }

    /// The probability of a symbol of text in each row.
    func confidence(_ trunk: Trunk, _ symbol: Int) throws -> [Double] {
        try blocks(trunk, Array(x1.indices)).flatMap { rows in
            try logits(trunk, rows).withUnsafeBufferPointer { logits in
                rows.indices.map { place in
                    let own = UnsafeBufferPointer(rebasing: logits[place * entries..<(place + 1) * entries])
                    let most = Double(peak(of: own))
                    return weight(of: Double(own[symbol]) - most) / own.reduce(0.0) { $0 + weight(of: Double($1) - most) }
                }
            }
        }
    }

    /// Rows in parts whose logits are not too many.
    func blocks(_ trunk: Trunk, _ rows: [Int]) -> [[Int]] {
        let most = max(1, Self.logitsAtOnce / (codebooks * entries * trunk.hidden.count))
        return stride(from: 0, to: rows.count, by: most).map { Array(rows[$0..<min($0 + most, rows.count)]) }
    }

    /// Guided logits (rows,K,C) of some rows.
    func logits(_ trunk: Trunk, _ rows: [Int]) throws -> [Float] {
        let codes = inTurn ? rows.map { x1[$0] } : nil
        var found = try generator.head(modality, trunk.states(of: rows), count: rows.count, codes: codes)
        let count = rows.count * codebooks * entries
        if found.count > count {
            guide(&found, count: count, scales: [options.guidance, options.guidanceImage])
            found.removeLast(found.count - count)
            try checkGuided(found, rows)
        }
        return found
    }

    private func checkGuided(_ logits: [Float], _ rows: [Int]) throws {
        guard !allFinite(logits), let bad = logits.firstIndex(where: { !$0.isFinite }) else { return }
        let (row, k) = (rows[bad / (codebooks * entries)], bad / entries % codebooks)
        throw NextOmniError("\(modality.rawValue)_head: a logit under guidance is not finite at sub-code \(k) of row \(row)")
    }
}

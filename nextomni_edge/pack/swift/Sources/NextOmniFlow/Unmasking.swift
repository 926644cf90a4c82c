/// Decoding by commits: masked rows draw x_1, the best are written and stay. (generate/unmask.py)
struct Unmasking {
    let options: Options
    let rule: CommitRule
    let mask: Int
    let noise: Noise
    let places: [(segment: Int, row: Int)]  // of each generated row, which place its noise
    let plan: [CommitTurn]
    var total: Int  // of the rows that a step's share is counted of
    var at = 0  // in the plan
    var trunk: Trunk
    var draw: Draw
    var xt: [[Int]]

    init(_ generator: Generator, _ sequence: TokenSequence, _ options: Options, _ modality: Modality, _ own: CommitRule) throws {
        trunk = try Trunk(generator, sequence, options)
        (self.options, mask, noise) = (options, generator.configuration.mask(modality), Noise(seed: options.seed))
        rule = own.ruled(options)
        places = sequence.places.flatMap { segment, count in (0..<count).map { (segment, $0) } }
        xt = sequence.generated.flatMap { sequence.segments[$0].tokens }
        draw = Draw(generator, modality, options, rows: xt.count)
        plan = try rule.turns(rows: xt.count, steps: options.steps)
        total = 0
        total = rule.total == .all ? xt.count : masked.filter { $0 }.count
    }

    /// Rows that are still to be written.
    var masked: [Bool] { xt.map { $0[0] == mask } }

    /// The next step; nil where nothing is left to write, or where a finished block has ended the answer.
    private mutating func turn() -> CommitTurn? {
        let masked = masked
        guard let first = masked.firstIndex(of: true) else { return nil }
        if rule.threshold > 0 { at = plan.firstIndex { first < $0.stop } ?? plan.count }  // a block goes on until it is full
        guard at < plan.count else { return nil }
        let turn = plan[at]
        if turn.step == 0 && turn.start > 0 && rule.ends.contains(xt[turn.start - 1][0]) { return nil }
        if turn.step == 0 && rule.count == .even && rule.total == .masked {
            total = masked[turn.start..<turn.stop].filter { $0 }.count
        }
        return turn
    }

    /// One step; false where nothing is left to do.
    mutating func step(_ step: Int, _ observe: (StepRecord) -> Void) throws -> Bool {
        guard let turn = turn() else { return false }
        let eligible = masked.indices.map { masked[$0] && $0 < turn.stop }
        trunk.at(Double(step) / Double(options.steps))
        _ = try trunk.refresh(xt)
        let (x1, score) = try proposals(step, eligible)
        let temperature = rule.scoreTemperature(options.temperature, step: turn.step, steps: turn.steps)
        let uniform = scoreNoise(step)
        let ranked = score.indices.map { noised(score[$0], rule, temperature: temperature, uniform: uniform[$0]) }
        let left = eligible.filter { $0 }.count
        let count = rule.written(of: total, masked: left, step: turn.step, steps: turn.steps)
        observe(StepRecord(step: step, xt: xt, x1: x1))
        for row in chosen(ranked, eligible, count: count, threshold: rule.threshold) { xt[row] = x1[row] }
        at += 1
        return true
    }

    /// x_1 and its score of the rows that may be written; elsewhere x_t stands, and 0.
    private func proposals(_ step: Int, _ eligible: [Bool]) throws -> (x1: [[Int]], score: [Double]) {
        let temperature = rule.drawTemperature ?? options.temperature
        var (x1, score) = (xt, [Double](repeating: 0, count: xt.count))
        for rows in draw.blocks(trunk, xt.indices.filter { eligible[$0] }) {
            let logits = try draw.logits(trunk, rows), size = logits.count / rows.count
            for (at, row) in rows.enumerated() {
                let (segment, place) = places[row]
                let found = propose(logits[at * size..<(at + 1) * size], rule, temperature: temperature) {
                    noise.symbols(segment: segment, step: step, use: .symbol, row: place, vocabulary: size)
                }
                (x1[row], score[row]) = ([found.x1], found.score)
            }
        }
        return (x1, score)
    }

    /// A uniform draw for the score of every generated row.
    private func scoreNoise(_ step: Int) -> [Double] {
        let segments = Dictionary(grouping: places, by: \.segment).sorted { $0.key < $1.key }
        return segments.flatMap { segment, rows in
            noise.uniform(segment: segment, step: step, use: .score, positions: rows.count, codes: 1).map { $0[0] }
        }
    }
}

extension Generator {
    /// The loop of a masked model. A threshold may take more steps than were asked for.
    func unmask(
        _ sequence: TokenSequence, _ options: Options, _ modality: Modality, _ rule: CommitRule, _ observe: (StepRecord) -> Void
    ) throws -> TokenSequence {
        var run = try Unmasking(self, sequence, options, modality, rule)
        var step = 0
        while try naming(step, of: options, { try run.step(step, observe) }) { step += 1 }
        return sequence.filled(run.xt)
    }
}

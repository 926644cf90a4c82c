/// One step: x_t before it, and x_1 predicted (nil where it was not asked for), rows of all generated segments.
public struct StepRecord: Codable, Sendable {
    public let step: Int
    public let xt: [[Int]]
    public let x1: [[Int]]?
}

/// The sampling loop over one sequence. (generate/loop.py, trunk.py, draw.py, stepper.py)
public final class Generator {
    let components: Components
    let configuration: Configuration
    let special: SpecialTokens
    let paths: [Modality: [MetricPath]]

    /// `tables`: of a modality the K metric tables, rows of numbers.
    public init(_ components: Components, _ configuration: Configuration, _ special: SpecialTokens, tables: [Modality: [[[Float]]]]) {
        (self.components, self.configuration, self.special) = (components, configuration, special)
        paths = Dictionary(uniqueKeysWithValues: tables.map { modality, own in
            let settings = configuration.path(modality)
            return (modality, own.map { MetricPath(table: $0, schedule: MetricSchedule(c: settings.c, a: settings.a)) })
        })
    }

    /// The sequence with its generated segments filled.
    public func generate(
        _ sequence: TokenSequence, _ options: Options, observe: (StepRecord) -> Void = { _ in }
    ) throws -> TokenSequence {
        var run = try Run(self, sequence, options)
        for step in 0..<options.steps {
            let x1 = run.idle(step) ? nil : try run.predict(step)
            observe(StepRecord(step: step, xt: run.xt, x1: x1))
            guard let x1 else { continue }
            if options.temperature == 0 && x1 == run.xt { break }  // nothing can jump any more
            run.advance(toward: x1, step)
        }
        return run.filled()
    }
}

/// A sequence on its way: `xt` holds the rows of all generated segments, one after another.
struct Run {
    let generator: Generator
    let sequence: TokenSequence
    let options: Options
    let noise: Noise
    let modality: Modality
    let rows: [Int]  // the position of each generated row
    let paths: [MetricPath]
    var branches: [[[Float]]]  // embeddings of the whole sequence: conditional, and with guidance unconditional
    var hidden: [[[Float]]] = []  // of each branch, the states that the rows are predicted from
    var prompt: Prompt?  // where it sees nothing of the response, it is computed once
    var computed: [[Int]]?  // xt of the last forward
    var xt: [[Int]] = []

    init(_ generator: Generator, _ sequence: TokenSequence, _ options: Options) throws {
        try options.check()
        try sequence.check(generator.configuration)
        let generated = sequence.generated
        guard let first = generated.first, Set(generated.map { sequence.segments[$0].modality }).count == 1 else {
            throw NextOmniError("a run generates one modality: append a response, and one at a time")
        }
        modality = sequence.segments[first].modality
        guard let own = generator.paths[modality] else { throw NextOmniError("the model has no metric table of \(modality.rawValue)") }
        let limit = generator.configuration.backbone.maxPositions
        guard sequence.length <= limit else {
            throw NextOmniError("sequence of \(sequence.length) positions: the model takes at most \(limit)")
        }
        guard sequence.promptLength >= generator.configuration.logitShift else {
            throw NextOmniError("the first row has none before it to be predicted from: give a prompt before the response")
        }
        (self.generator, self.sequence, self.options, paths) = (generator, sequence, options, own)
        noise = Noise(seed: options.seed)
        let starts = sequence.starts
        rows = generated.flatMap { index in (0..<sequence.segments[index].tokens.count).map { starts[index] + $0 } }
        branches = [try generator.embeddings(sequence)]
        if options.guidance > 0 { branches.append(try generator.embeddings(sequence.unconditional(generator.special))) }
        let symbols = generator.configuration.symbols(modality)
        xt = places { noise.start(segment: $0, positions: $1, codes: symbols.codebooks, vocabulary: symbols.entries) }
    }

    /// What `of` gives for each generated segment (index, positions), one after another.
    func places<Value>(_ of: (Int, Int) -> [Value]) -> [Value] {
        sequence.generated.flatMap { of($0, sequence.segments[$0].tokens.count) }
    }

    func uniform(_ step: Int, _ use: Use) -> [[Double]] {
        places { noise.uniform(segment: $0, step: step, use: use, positions: $1, codes: paths.count) }
    }

    /// (t, h, whether it is the last) of a step.
    func time(_ step: Int) -> (t: Double, h: Double, last: Bool) {
        (Double(step) / Double(options.steps), 1 / Double(options.steps), step == options.steps - 1)
    }

    /// Whether no token can change in this step, whatever x_1 is.
    func idle(_ step: Int) -> Bool {
        let (t, h, last) = time(step)
        return !last && options.stepper.rise(paths[0].schedule, t: t, h: h).rise == 0
    }

    /// x_1 ~ p(· | x_t): a forward where a token changed, and the draw.
    mutating func predict(_ step: Int) throws -> [[Int]] {
        if computed != xt {
            let fresh = try generator.embeddings(modality, xt)
            for branch in branches.indices {
                for (place, row) in rows.enumerated() { branches[branch][row] = fresh[place] }
            }
            let states = try states()
            hidden = states.map { branch in rows.map { branch[$0 - generator.configuration.logitShift] } }
            computed = xt
        }
        return try draw(uniform(step, .x1))
    }

    /// Hidden states of each branch. With prefix attention, only the response's rows are computed again.
    private mutating func states() throws -> [[[Float]]] {
        let length = generator.configuration.backbone.prefix ? sequence.promptLength : 0
        guard length > 0 else { return try generator.backbone(branches) }
        let kept = try prompt ?? generator.prompt(branches.map { Array($0[..<length]) })
        prompt = kept
        let response = try generator.backbone(branches.map { Array($0[length...]) }, behind: kept)
        return zip(kept.hidden, response).map { $0 + $1 }
    }

    /// An autoregressive head reads the sub-codes before each: one call for each of them.
    private func draw(_ uniform: [[Double]]) throws -> [[Int]] {
        var x1 = xt.map { $0.map { _ in 0 } }
        let inTurn = generator.configuration.autoregressive(modality)
        for turn in 0..<(inTurn ? paths.count : 1) {
            let logits = try generator.head(modality, hidden, codes: inTurn ? x1 : nil)
            for row in x1.indices {
                for k in inTurn ? turn..<turn + 1 : 0..<paths.count {
                    let own = options.guidance > 0
                        ? guided(logits[0][row][k], logits[1][row][k], scale: Float(options.guidance)) : logits[0][row][k]
                    guard own.allSatisfy(\.isFinite) else {
                        throw NextOmniError("\(modality.rawValue)_head: a logit under guidance is not finite at sub-code \(k) of row \(row)")
                    }
                    x1[row][k] = sampleX1(
                        own, uniform: uniform[row][k], temperature: options.temperature, topK: options.topK, topP: options.topP)
                }
            }
        }
        return x1
    }

    /// x_{t+h}.
    mutating func advance(toward x1: [[Int]], _ step: Int) {
        let (t, h, last) = time(step)
        let (jump, target) = (uniform(step, .jump), uniform(step, .target))
        for row in xt.indices {
            for k in paths.indices {
                xt[row][k] = paths[k].step(
                    from: xt[row][k], toward: x1[row][k], t: t, h: h, jump: jump[row][k], target: target[row][k],
                    rule: options.stepper, last: last)
            }
        }
    }

    func filled() -> TokenSequence {
        var (found, place) = (sequence, 0)
        for index in sequence.generated {
            let count = sequence.segments[index].tokens.count
            found.segments[index].tokens = Array(xt[place..<place + count])
            place += count
        }
        return found
    }
}

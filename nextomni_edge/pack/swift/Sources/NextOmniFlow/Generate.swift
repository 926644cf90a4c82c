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
        try options.check()
        if let modality = sequence.generatedModality, let rule = configuration.path(modality).commit {
            return try unmask(sequence, options, modality, rule, observe)
        }
        guard options.stepper != .commit else { throw NextOmniError("stepper commit: this model has no commit step") }
        var run = try Run(self, sequence, options)
        for step in 0..<options.steps {
            let x1 = run.idle(step) ? nil : try run.predict(step)
            observe(StepRecord(step: step, xt: run.xt, x1: x1))
            guard let x1 else { continue }
            if options.temperature == 0 && x1 == run.xt { break }  // nothing can jump any more
            run.advance(toward: x1, step)
        }
        return sequence.filled(run.xt)
    }
}

/// A sequence on its way: `xt` holds the rows of all generated segments, one after another.
struct Run {
    let sequence: TokenSequence
    let options: Options
    let noise: Noise
    let paths: [MetricPath]
    var trunk: Trunk
    var xt: [[Int]] = []

    init(_ generator: Generator, _ sequence: TokenSequence, _ options: Options) throws {
        trunk = try Trunk(generator, sequence, options)
        let modality = trunk.modality
        guard let own = generator.paths[modality] else { throw NextOmniError("the model has no metric table of \(modality.rawValue)") }
        (self.sequence, self.options, paths, noise) = (sequence, options, own, Noise(seed: options.seed))
        let symbols = generator.configuration.symbols(modality)
        xt = places { noise.start(segment: $0, positions: $1, codes: symbols.codebooks, vocabulary: symbols.entries) }
    }

    /// What `of` gives for each generated segment (index, positions), one after another.
    func places<Value>(_ of: (Int, Int) -> [Value]) -> [Value] { sequence.places.flatMap(of) }

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

    /// x_1 ~ p(· | x_t): a forward where a token changed, and the draw. An autoregressive head takes a call for each sub-code.
    mutating func predict(_ step: Int) throws -> [[Int]] {
        try trunk.refresh(xt)
        let uniform = uniform(step, .x1)
        var x1 = xt.map { $0.map { _ in 0 } }
        let inTurn = trunk.generator.configuration.autoregressive(trunk.modality)
        for turn in 0..<(inTurn ? paths.count : 1) {
            let logits = try trunk.logits(options, codes: inTurn ? x1 : nil)
            for row in x1.indices {
                for k in inTurn ? turn..<turn + 1 : 0..<paths.count {
                    x1[row][k] = sampleX1(
                        logits[row][k], uniform: uniform[row][k], temperature: options.temperature, topK: options.topK, topP: options.topP)
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
}

/// A sequence on its way: `xt` holds the rows of all generated segments, one after another. (generate/loop.py, stepper.py)
struct Run {
    private(set) var sequence: TokenSequence
    let options: Options
    private let generator: Generator
    private let noise: Noise
    private let paths: [MetricPath]
    private var trunk: Trunk
    private var draw: Draw
    private var undrawn: Set<Int> = []  // rows computed since the last draw
    private(set) var xt: [[Int]]

    init(_ generator: Generator, _ sequence: TokenSequence, _ options: Options) throws {
        trunk = try Trunk(generator, sequence, options)
        guard let own = generator.paths[trunk.modality] else {
            throw NextOmniError("the model has no metric table of \(trunk.modality.rawValue)")
        }
        let (codebooks, entries) = generator.configuration.symbols(trunk.modality)
        guard own.count == codebooks, own.allSatisfy({ $0.table.vocabulary == entries }) else {
            let found = own.map { String($0.table.vocabulary) }.joined(separator: ", ")
            throw NextOmniError("metric tables of \(found) rows, expected \(codebooks) of \(entries)")
        }
        (self.generator, self.sequence, self.options) = (generator, sequence, options)
        (paths, noise) = (own, Noise(seed: options.seed))
        draw = Draw(generator, trunk.modality, options, rows: sequence.generatedRows.count)
        xt = []
        xt = start(sequence)
    }

    /// x_0 of all generated rows.
    private func start(_ sequence: TokenSequence) -> [[Int]] {
        let symbols = generator.configuration.symbols(trunk.modality)
        return sequence.places.flatMap {
            noise.start(segment: $0, positions: $1, codes: symbols.codebooks, vocabulary: symbols.entries)
        }
    }

    private func uniform(_ step: Int, _ use: Use) -> [[Double]] {
        sequence.places.flatMap { noise.uniform(segment: $0, step: step, use: use, positions: $1, codes: paths.count) }
    }

    /// One step; false where nothing can move any more.
    mutating func step(_ step: Int, _ observe: (StepRecord) -> Void) throws -> Bool {
        let (t, h, last) = options.time(step)
        if !last && options.stepper.rise(paths[0].schedule, t: t, h: h).rise == 0 {  // no token can change, whatever x_1 is
            observe(StepRecord(step: step, xt: xt, x1: nil))
            return true
        }
        let x1 = try predict(step, t)
        observe(StepRecord(step: step, xt: xt, x1: x1))
        if options.temperature == 0 && !trunk.changesLater && x1 == xt { return false }
        advance(toward: x1, step)
        return true
    }

    /// x_1 ~ p(· | x_t): a forward where a token changed, and the draw.
    private mutating func predict(_ step: Int, _ t: Double) throws -> [[Int]] {
        if options.extend == .interleaved && t <= options.extendUntil { try extend() }
        trunk.at(t)
        let fresh = undrawn.union(try trunk.refresh(xt))
        undrawn = []
        try draw.predict(trunk, fresh: fresh.sorted(), uniform: uniform(step, .x1))
        return draw.x1
    }

    /// x_{t+h}.
    private mutating func advance(toward x1: [[Int]], _ step: Int) {
        let (t, h, last) = options.time(step)
        let (jump, target) = (uniform(step, .jump), uniform(step, .target))
        for k in paths.indices {
            let draws = JumpDraws(jump: jump.map { $0[k] }, target: target.map { $0[k] })
            let next = paths[k].step(
                from: xt.map { $0[k] }, toward: x1.map { $0[k] }, t: t, h: h, draws, rule: options.stepper, last: last)
            for row in next.indices { xt[row][k] = next[row] }
        }
    }

    /// The largest probability of the end in any row of x_t.
    mutating func confidence() throws -> Double {
        undrawn.formUnion(try trunk.refresh(xt))
        return try draw.confidence(trunk, generator.special.eos).max() ?? 0
    }

    /// One more block, where no row is confident of the end. Its rows start from the same noise as at t = 0.
    private mutating func extend() throws {
        guard try confidence() < options.eosThreshold, let longer = generator.longer(sequence, options) else { return }
        var run = try Run(generator, longer, options)
        run.xt.replaceSubrange(..<xt.count, with: xt)
        self = run
    }
}

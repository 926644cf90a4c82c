/// One step: x_t before it, and x_1 predicted (nil where it was not asked for), rows of all generated segments.
public struct StepRecord: Codable, Sendable {
    public let step: Int
    public let xt: [[Int]]
    public let x1: [[Int]]?
}

/// The sampling loop over one sequence. (generate/loop.py)
public final class Generator: Sendable {
    let components: any Components
    let configuration: Configuration
    let special: SpecialTokens
    let paths: [Modality: [MetricPath]]

    /// `tables`: of a modality the K metric tables.
    public init(
        _ components: any Components, _ configuration: Configuration, _ special: SpecialTokens, tables: [Modality: [MetricTable]]
    ) {
        (self.components, self.configuration, self.special) = (components, configuration, special)
        var paths: [Modality: [MetricPath]] = [:]
        for (modality, own) in tables {
            let settings = configuration.path(modality)
            paths[modality] = own.map { MetricPath(table: $0, schedule: MetricSchedule(c: settings.c, a: settings.a)) }
        }
        self.paths = paths
    }

    /// The sequence with its generated segments filled. `observe` gets every step. Throws a `NextOmniError` about what cannot be meant
    /// or computed, and `CancellationError` before the next step of a task that was cancelled.
    public func generate(
        _ sequence: TokenSequence, _ options: Options, observe: (StepRecord) -> Void = { _ in }
    ) throws -> TokenSequence {
        try options.check()
        guard let modality = sequence.generatedModality else {
            throw NextOmniError("a run generates one modality: append a response, and one at a time")
        }
        try options.check(configuration, modality)
        return try options.leadTokens > 0 ? inParts(sequence, options, observe) : together(sequence, options, observe)
    }

    /// All generated rows at once.
    func together(_ sequence: TokenSequence, _ options: Options, _ observe: (StepRecord) -> Void) throws -> TokenSequence {
        if let modality = sequence.generatedModality, let rule = configuration.path(modality).commit {
            return try unmask(sequence, options, modality, rule, observe)
        }
        var run = try Run(self, grown(sequence, options), options)
        for step in 0..<options.steps {
            let moves = try naming(step, of: options) { try run.step(step, observe) }
            if !moves { break }
        }
        return run.sequence.filled(run.xt)
    }

    /// One step of a run, unless its task was cancelled. An error names the step.
    func naming<Value>(_ step: Int, of options: Options, _ run: () throws -> Value) throws -> Value {
        try Task.checkCancellation()
        do { return try run() } catch let error as NextOmniError {
            throw NextOmniError("step \(step) of \(options.steps): \(error)")
        }
    }
}

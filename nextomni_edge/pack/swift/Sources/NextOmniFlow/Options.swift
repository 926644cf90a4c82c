/// The options of a run; those of Python's that only save time, and the caches, are not here. (generate/options.py)
public struct Options: Sendable {
    public var steps: Int
    public var stepper: Stepper
    public var temperature: Double
    public var topK: Int
    public var topP: Double
    public var guidance: Double
    /// The second scale, of a picture that is edited: how much of it is kept.
    public var guidanceImage = 0.0
    /// Of the commit step, in place of the model's own: tokens of a block that is finished before the next begins (0: one block).
    public var block: Int?
    /// Of the commit step, in place of the model's own: every row whose probability is over it is written (0: off).
    public var threshold: Double?
    public var seed: UInt64

    public init(
        steps: Int, stepper: Stepper = .euler, temperature: Double = 1, topK: Int = 0, topP: Double = 1, guidance: Double = 0,
        seed: UInt64 = 0
    ) {
        (self.steps, self.stepper, self.temperature, self.topK) = (steps, stepper, temperature, topK)
        (self.topP, self.guidance, self.seed) = (topP, guidance, seed)
    }

    /// A modality's published settings.
    public init(_ path: Configuration.Path, seed: UInt64) {
        self.init(
            steps: path.steps, stepper: path.commit == nil ? .euler : .commit, temperature: path.temperature, guidance: path.guidance,
            seed: seed)
    }

    /// Whether logits are compared with those of a prompt without its condition.
    var guided: Bool { guidance > 0 || guidanceImage > 0 }

    /// Throws one sentence that names every value that is out of its range, in Python's words.
    public func check() throws {
        let greedy = temperature == 0
        func noDraw(_ name: String) -> String {
            "\(name) means nothing at temperature 0: raise the temperature or leave \(name) out"
        }
        var faults: [String] = []
        func refuse(_ wrong: Bool, _ sentence: String) { if wrong { faults.append(sentence) } }
        refuse(steps < 1, "steps is \(steps), expected at least 1")
        // a comparison with NaN is false
        refuse(!(temperature >= 0 && temperature < .infinity), "temperature is \(temperature), expected a finite number from 0")
        refuse(topK < 0, "top_k is \(topK), expected at least 0")
        refuse(!(topP > 0 && topP <= 1), "top_p is \(topP), expected over 0 and at most 1")
        refuse(!(guidance >= 0 && guidance < .infinity), "guidance is \(guidance), expected a finite number from 0")
        refuse(
            !(guidanceImage >= 0 && guidanceImage < .infinity), "guidance_image is \(guidanceImage), expected a finite number from 0")
        if let block { refuse(block < 0, "block is \(block), expected at least 0") }
        if let threshold { refuse(!(threshold >= 0 && threshold <= 1), "threshold is \(threshold), expected 0 to 1") }
        refuse(greedy && topK > 0, noDraw("top_k"))
        refuse(greedy && topP < 1, noDraw("top_p"))
        guard faults.isEmpty else { throw NextOmniError(faults.joined(separator: "; ")) }
    }
}

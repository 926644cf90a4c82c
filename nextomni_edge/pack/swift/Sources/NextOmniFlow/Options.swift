/// When blocks are added to a text: all before the denoising, or one before each step up to `extendUntil`. (generate/blocks.py)
public enum Extension: String, Codable, Sendable { case first, interleaved }

/// The options of a run; those of Python's that only save time, and the caches, are not here. (generate/options.py)
public struct Options: Sendable {
    public var steps: Int
    /// In place of the even grid: steps + 1 rising times from 0 to 1.
    public var grid: [Double] = []
    public var stepper: Stepper
    /// Of the draw x_1 ~ p(· | x_t); 0 takes the likeliest symbol.
    public var temperature: Double
    /// Draw only among so many of the likeliest symbols; 0: among all.
    public var topK: Int
    /// Draw among the fewest symbols whose probabilities sum to this share; 1: among all.
    public var topP: Double
    /// s in (1+s)·conditional − s·unconditional; 0 costs no second branch.
    public var guidance: Double
    /// Guide at times up to this one only.
    public var guidanceUntil = 1.0
    /// The second scale, of a picture that is edited: how much of it is kept.
    public var guidanceImage = 0.0
    /// Of the commit step, in place of the model's own: tokens of a block that is finished before the next begins (0: one block).
    public var block: Int?
    /// Of the commit step, in place of the model's own: every row whose probability is over it is written (0: off).
    public var threshold: Double?
    /// Of the commit step: the temperature of x_1, where `temperature` is that of the score.
    public var drawTemperature: Double?
    /// Every draw is a pure function of the seed and of the draw's place.
    public var seed: UInt64
    /// Text only: add blocks up to this number while no row is confident of the end; nil keeps the length.
    public var maxBlocks: Int?
    /// The probability of the end at which a text is long enough.
    public var eosThreshold = 0.5
    public var extend = Extension.first
    /// The time up to which an interleaved text may grow.
    public var extendUntil = 0.5
    /// Text only: so many first tokens are denoised before the rest, which sees them as given; 0: all together.
    public var leadTokens = 0

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

    var sampling: Sampling { Sampling(temperature: temperature, topK: topK, topP: topP) }

    /// (t, h, whether it is the last) of a step.
    func time(_ step: Int) -> (t: Double, h: Double, last: Bool) {
        let last = step == steps - 1
        if !grid.isEmpty { return (grid[step], grid[step + 1] - grid[step], last) }
        return (Double(step) / Double(steps), 1 / Double(steps), last)
    }
}

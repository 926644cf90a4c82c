/// Sound: samples in [-1, 1] of each channel, and how many a second.
public struct Sound: Equatable, Sendable {
    public let channels: [[Float]]
    public let rate: Int

    static let maxRate = 384_000
    static let maxChannels = 16
    private static let cancelled = 0.01  // of the channels' power: less is left where they are of opposite phase

    /// Throws a sentence about a sound that is none.
    public init(channels: [[Float]], rate: Int) throws {
        guard (1...Self.maxRate).contains(rate), (1...Self.maxChannels).contains(channels.count) else {
            throw NextOmniError("a sound of \(channels.count) channels at \(rate) Hz, refused")
        }
        guard let count = channels.first?.count, count > 0, channels.allSatisfy({ $0.count == count }) else {
            throw NextOmniError("a sound without samples, or with channels of different lengths")
        }
        guard channels.allSatisfy({ allFinite($0) }) else { throw NextOmniError("a sound with samples that are not finite numbers") }
        (self.channels, self.rate) = (channels, rate)
    }

    /// One channel at another rate, the beginning of so many samples where it is longer. (media/audio.py)
    func waveform(rate wanted: Int, most: Int) -> [Float] {
        Array(resampled(mono, from: rate, to: wanted).prefix(most))
    }

    /// The mean of the channels, or the loudest where they cancel each other.
    private var mono: [Float] {
        guard channels.count > 1 else { return channels[0] }
        let mean = channels[0].indices.map { place in
            channels.reduce(Float(0)) { $0 + $1[place] } / Float(channels.count)
        }
        func power(_ samples: [Float]) -> Double { samples.reduce(0) { $0 + Double($1) * Double($1) } / Double(samples.count) }
        let powers = channels.map(power)
        let whole = powers.reduce(0, +) / Double(powers.count)
        guard power(mean) < Self.cancelled * whole, let loudest = powers.indices.max(by: { powers[$0] < powers[$1] }) else { return mean }
        return channels[loudest]
    }
}

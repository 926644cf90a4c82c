/// What a uniform decides. The numbers are part of every golden trace. (flow/noise.py)
public enum Use: UInt64, Sendable {
    case start = 0, x1 = 1, jump = 2, target = 3, symbol = 4, score = 5
}

/// Uniform values by (seed, segment, step, position, code, use), from Philox4x64-10. (flow/noise.py)
public struct Noise: Sendable {
    public let seed: UInt64

    public init(seed: UInt64) { self.seed = seed }

    /// In [0, 1), multiples of 2^-53: one row of `codes` for each position.
    public func uniform(segment: Int, step: Int, use: Use, positions: Int, codes: Int) -> [[Double]] {
        var out = [[Double]](repeating: [Double](repeating: 0, count: codes), count: positions)
        for code in 0..<codes {
            fill(positions, counter: [0, UInt64(code), UInt64(step), UInt64(segment)], use) { out[$0][code] = $1 }
        }
        return out
    }

    /// In [0, 1), one for each symbol of one row.
    public func symbols(segment: Int, step: Int, use: Use, row: Int, vocabulary: Int) -> [Double] {
        var out = [Double](repeating: 0, count: vocabulary)
        fill(vocabulary, counter: [0, UInt64(row), UInt64(step), UInt64(segment)], use) { out[$0] = $1 }
        return out
    }

    /// Uniform values of blocks of four that the counter's first word counts from 1.
    private func fill(_ count: Int, counter: SIMD4<UInt64>, _ use: Use, _ put: (Int, Double) -> Void) {
        var counter = counter
        for first in stride(from: 0, to: count, by: 4) {
            counter[0] += 1
            let words = philox(counter: counter, key: [seed, use.rawValue])
            for word in 0..<min(4, count - first) { put(first + word, Double(words[word] >> 11) * 0x1p-53) }
        }
    }

    /// x_0, uniform over the symbols.
    public func start(segment: Int, positions: Int, codes: Int, vocabulary: Int) -> [[Int]] {
        uniform(segment: segment, step: 0, use: .start, positions: positions, codes: codes)
            .map { row in row.map { Int($0 * Double(vocabulary)) } }
    }
}

/// Ten rounds of Philox4x64 (Salmon et al., SC 2011): four words from a counter and a key.
@inline(__always)
public func philox(counter: SIMD4<UInt64>, key: SIMD2<UInt64>) -> SIMD4<UInt64> {
    var (c0, c1, c2, c3) = (counter[0], counter[1], counter[2], counter[3])
    var (k0, k1) = (key[0], key[1])
    for _ in 0..<10 {
        let first = c0.multipliedFullWidth(by: 0xD2E7_470E_E14C_6C93)
        let second = c2.multipliedFullWidth(by: 0xCA5A_8263_9512_1157)
        (c0, c1, c2, c3) = (second.high ^ c1 ^ k0, second.low, first.high ^ c3 ^ k1, first.low)
        k0 &+= 0x9E37_79B9_7F4A_7C15
        k1 &+= 0xBB67_AE85_84CA_A73B
    }
    return [c0, c1, c2, c3]
}

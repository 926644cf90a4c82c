public enum Modality: String, Codable, Sendable {
    case text, image, audio
}

/// Tokens of one modality, a row of K sub-codes each (K = 1 for text); frozen segments are given. (tokens/sequence.py)
public struct Segment: Equatable, Sendable {
    public let modality: Modality
    public var tokens: [[Int]]
    public let frozen: Bool

    public init(_ modality: Modality, _ tokens: [[Int]], frozen: Bool = true) {
        (self.modality, self.tokens, self.frozen) = (modality, tokens, frozen)
    }

    public static func text(_ ids: [Int], frozen: Bool = true) -> Segment { Segment(.text, ids.map { [$0] }, frozen: frozen) }
}

/// Segments in order; positions count through all of them.
public struct TokenSequence: Equatable, Sendable {
    public var segments: [Segment]

    public init(_ segments: [Segment]) { self.segments = segments }

    public var length: Int { segments.reduce(0) { $0 + $1.tokens.count } }

    /// Positions before the first generated row.
    public var promptLength: Int { segments.prefix { $0.frozen }.reduce(0) { $0 + $1.tokens.count } }

    /// Throws a sentence about tokens that the model does not have, or that have another number of sub-codes.
    func check(_ configuration: Configuration) throws {
        for (index, segment) in segments.enumerated() {
            let (codebooks, symbols) = configuration.symbols(segment.modality)
            let mask = configuration.path(segment.modality).commit == nil ? nil : configuration.mask(segment.modality)
            let entries = max(symbols, (mask ?? 0) + 1)
            for row in segment.tokens {
                guard row.count == codebooks, row.allSatisfy({ $0 >= 0 && $0 < entries }) else {
                    throw NextOmniError(
                        "segment \(index): \(segment.modality.rawValue) token \(row), expected \(codebooks) numbers from 0 to \(entries - 1)")
                }
            }
        }
    }

    /// Indices of the segments to generate.
    public var generated: [Int] { segments.indices.filter { !segments[$0].frozen } }

    /// The position at which each segment starts.
    public var starts: [Int] {
        var position = 0
        return segments.map { segment in
            defer { position += segment.tokens.count }
            return position
        }
    }

    /// What the generated segments are of; nil where nothing is generated.
    var generatedModality: Modality? { generated.first.map { segments[$0].modality } }

    /// (segment, tokens) of each generated segment, which place its noise.
    var places: [(Int, Int)] { generated.map { ($0, segments[$0].tokens.count) } }

    /// The position of each generated row.
    var generatedRows: [Int] {
        let starts = starts
        return places.flatMap { index, count in starts[index]..<starts[index] + count }
    }

    /// The sequence with its generated segments holding the rows `xt`, one segment after another.
    func filled(_ xt: [[Int]]) -> TokenSequence {
        var (found, place) = (self, 0)
        for (index, count) in places {
            found.segments[index].tokens = Array(xt[place..<place + count])
            place += count
        }
        return found
    }

    /// The guidance branch without its condition: given text becomes the null id, markers of media stay.
    public func unconditional(_ special: SpecialTokens) -> TokenSequence {
        TokenSequence(segments.map { segment in
            guard segment.frozen && segment.modality == .text else { return segment }
            return Segment(.text, segment.tokens.map { special.markers.contains($0[0]) ? $0 : [special.null] })
        })
    }
}

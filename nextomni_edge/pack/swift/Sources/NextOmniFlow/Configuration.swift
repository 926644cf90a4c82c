import Foundation

/// What the loop reads of config.json (see nextomni_edge/config.py); the rest of the file is ignored.
public struct Configuration: Decodable, Sendable {
    public struct Backbone: Decodable, Sendable {
        public let hiddenSize, layers, kvHeads, maxPositions, queryHeads: Int
        var attention: String?  // config.json leaves "full" out
        public var headDim: Int { hiddenSize / queryHeads }
        /// Whether the prompt sees nothing of the response.
        public var prefix: Bool { attention == "prefix" }
    }
    public struct Text: Decodable, Sendable {
        public let vocabularySize, blockSize, maxBlocks: Int
        var template: String?  // config.json leaves "chatml" out
        public internal(set) var canvas: Int?  // positions of a whole sequence, which an answer fills
    }
    public struct Codebook: Decodable, Sendable { public let codebooks, entries: Int }
    public struct Head: Decodable, Sendable { public let kind: String }
    public struct Image: Decodable, Sendable {
        public let size, patch, maxFrames: Int
        let fitting: String?  // config.json leaves "white" out
        let truncated: Bool?
        let given: String?  // what the backbone sees of a given picture; config.json leaves "codes" out
        public let codebook: Codebook
        public let head: Head
        public var positions: Int { (size / patch) * (size / patch) }
    }
    public struct Audio: Decodable, Sendable {
        public let sampleRate, nFft, hop, mels, framesPerToken: Int
        public let maxSeconds: Double
        /// Tokens of the longest clip.
        public var maxPositions: Int { Int((maxSeconds * Double(sampleRate) / Double(hop * framesPerToken)).rounded(.up)) }
        public let codebook: Codebook
        public let head: Head
    }
    public struct Path: Decodable, Sendable {
        public let c, a, temperature, guidance: Double
        public let steps: Int
        let kind: String?  // config.json leaves "metric" out
        public let commit: CommitRule?  // how a masked model writes its rows
        let mask: Int?

        /// Of a modality that the model does not have. (config/sections.py)
        static let absent = Path(c: 3, a: 0.9, temperature: 1, guidance: 0, steps: 32, kind: nil, commit: nil, mask: nil)
    }
    public struct Flow: Decodable, Sendable {
        public let text: Path
        public let image, audio: Path?
    }

    public internal(set) var backbone: Backbone
    public internal(set) var text: Text
    public let image: Image?
    public let audio: Audio?
    public let flow: Flow
    public let logitShift: Int

    /// Throws one sentence about a file that is no configuration, or has a number out of its range.
    public static func read(_ url: URL) throws -> Configuration {
        let found = try StrictJSON.read(Configuration.self, url, snakeCase: true)
        try found.check()
        return found
    }

    /// The chat format. Throws a sentence about one that this package does not know.
    public func template() throws -> Template {
        let name = text.template ?? Template.chatml.rawValue
        guard let found = Template(rawValue: name) else { throw NextOmniError("chat template '\(name)': not supported") }
        return found
    }

    /// The modalities of which the model has a metric table.
    public var metric: [Modality] {
        [Modality.text, .image, .audio].filter { symbols($0).codebooks > 0 && path($0).kind ?? "metric" == "metric" }
    }

    public func path(_ modality: Modality) -> Path {
        switch modality {
        case .text: return flow.text
        case .image: return flow.image ?? .absent
        case .audio: return flow.audio ?? .absent
        }
    }

    /// The id that stands for a masked token: by default the one behind the symbols.
    public func mask(_ modality: Modality) -> Int { path(modality).mask ?? symbols(modality).entries }

    /// (K, C): sub-codes of a token, and the number of values of each.
    public func symbols(_ modality: Modality) -> (codebooks: Int, entries: Int) {
        switch modality {
        case .text: return (1, text.vocabularySize)
        case .image: return image.map { ($0.codebook.codebooks, $0.codebook.entries) } ?? (0, 0)
        case .audio: return audio.map { ($0.codebook.codebooks, $0.codebook.entries) } ?? (0, 0)
        }
    }

    /// Whether the head predicts a position's sub-codes one after another.
    public func autoregressive(_ modality: Modality) -> Bool {
        switch modality {
        case .text: return false
        case .image: return image?.head.kind == "autoregressive"
        case .audio: return audio?.head.kind == "autoregressive"
        }
    }
}

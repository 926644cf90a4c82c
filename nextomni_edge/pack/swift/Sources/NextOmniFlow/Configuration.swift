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
        public internal(set) var canvas: Int?  // positions of a whole sequence, which an answer fills
    }
    public struct Codebook: Decodable, Sendable { public let codebooks, entries: Int }
    public struct Head: Decodable, Sendable { public let kind: String }
    public struct Image: Decodable, Sendable {
        public let size, patch, maxFrames: Int
        public let codebook: Codebook
        public let head: Head
        public var positions: Int { (size / patch) * (size / patch) }
    }
    public struct Audio: Decodable, Sendable {
        public let sampleRate, hop, framesPerToken: Int
        public let maxSeconds: Double
        /// Tokens of the longest clip.
        public var maxPositions: Int { Int((maxSeconds * Double(sampleRate) / Double(hop * framesPerToken)).rounded(.up)) }
        public let codebook: Codebook
        public let head: Head
    }
    public struct Path: Decodable, Sendable {
        public let c, a, temperature, guidance: Double
        public let steps: Int
    }
    public struct Flow: Decodable, Sendable { public let text, image, audio: Path }

    public internal(set) var backbone: Backbone
    public internal(set) var text: Text
    public let image: Image?
    public let audio: Audio?
    public let flow: Flow
    public let logitShift: Int

    public static func read(_ url: URL) throws -> Configuration {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try decoder.decode(Configuration.self, from: Data(contentsOf: url))
    }

    public func path(_ modality: Modality) -> Path {
        switch modality {
        case .text: return flow.text
        case .image: return flow.image
        case .audio: return flow.audio
        }
    }

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

import Foundation

/// Ids of the tokens that the chat format itself uses. (tokens/text.py)
public struct SpecialTokens: Sendable {
    public let pad, eos, null, imStart, imEnd, imageStart, imageEnd, audioStart, audioEnd, videoStart, videoEnd: Int

    /// Tokens around media: the unconditional branch keeps them.
    public var markers: [Int] { [imageStart, imageEnd, audioStart, audioEnd, videoStart, videoEnd] }
}

/// Byte-level BPE from a tokenizer.json, in the ChatML template.
public final class Tokenizer {
    public let special: SpecialTokens
    private let ids: [String: Int]
    private let pieces: [Int: String]
    private let specialIds: Set<Int>
    private let ranks: [String: Int]  // of "left right"
    private let pattern: NSRegularExpression
    private let composes: Bool  // Unicode's form C, before all else

    private struct File: Decodable {
        struct Added: Decodable {
            let id: Int
            let content: String
            let special: Bool
        }
        struct Model: Decodable {
            let type: String
            let vocab: [String: Int]
            let merges: [Merge]
        }
        struct Step: Decodable {
            struct Pattern: Decodable {
                let Regex: String?
            }
            let type: String
            let pattern: Pattern?
            let pretokenizers: [Step]?
        }
        let addedTokens: [Added]
        let model: Model
        let normalizer: Step?
        let preTokenizer: Step

        enum CodingKeys: String, CodingKey {
            case addedTokens = "added_tokens", model, normalizer, preTokenizer = "pre_tokenizer"
        }
    }

    /// A merge is written as a pair, or as one text with a blank between.
    private struct Merge: Decodable {
        let key: String

        init(from decoder: Decoder) throws {
            let value = try decoder.singleValueContainer()
            key = try (try? value.decode(String.self)) ?? value.decode([String].self).joined(separator: " ")
        }
    }

    public init(_ url: URL) throws {
        let file = try JSONDecoder().decode(File.self, from: Data(contentsOf: url))
        let steps = file.preTokenizer.pretokenizers ?? [file.preTokenizer]
        guard file.model.type == "BPE", steps.last?.type == "ByteLevel", [nil, "NFC"].contains(file.normalizer?.type),
            let regex = steps.first?.pattern?.Regex
        else { throw NextOmniError("\(url.lastPathComponent): expected byte-level BPE behind a split by a pattern") }
        composes = file.normalizer != nil
        pattern = try NSRegularExpression(pattern: regex)
        var vocabulary = file.model.vocab
        for added in file.addedTokens { vocabulary[added.content] = added.id }
        ids = vocabulary
        pieces = Dictionary(vocabulary.map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
        specialIds = Set(file.addedTokens.filter(\.special).map(\.id))
        ranks = Dictionary(uniqueKeysWithValues: file.model.merges.enumerated().map { ($1.key, $0) })
        special = try Tokenizer.specialTokens(vocabulary)
    }

    private static func specialTokens(_ ids: [String: Int]) throws -> SpecialTokens {
        func id(_ name: String) throws -> Int {
            guard let found = ids["<|\(name)|>"] else { throw NextOmniError("the tokenizer has no <|\(name)|>") }
            return found
        }
        return try SpecialTokens(
            pad: id("pad"), eos: id("eos"), null: id("null"), imStart: id("im_start"), imEnd: id("im_end"),
            imageStart: id("image_start"), imageEnd: id("image_end"), audioStart: id("audio_start"), audioEnd: id("audio_end"),
            videoStart: id("video_start"), videoEnd: id("video_end"))
    }

    /// Ids of a text, special spellings split up so that they are ordinary characters.
    public func encode(_ text: String) -> [Int] {
        var plain = text.replacingOccurrences(of: "<|", with: "< |")
        if composes { plain = plain.precomposedStringWithCanonicalMapping }
        return words(plain).flatMap(merged)
    }

    /// The text up to <EOS>, special tokens left out.
    public func decode(_ tokens: [Int]) -> String {
        let content = tokens.prefix { $0 != special.eos }.filter { !specialIds.contains($0) }
        let symbols = content.compactMap { pieces[$0] }.joined().unicodeScalars
        let bytes = symbols.compactMap { byteOf[$0] }
        return String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// What the pattern finds, and what stands between, each by itself.
    private func words(_ text: String) -> [String] {
        let whole = text as NSString
        var found: [String] = []
        var place = 0
        func add(_ range: NSRange) {
            if range.length > 0 { found.append(whole.substring(with: range)) }
        }
        for match in pattern.matches(in: text, range: NSRange(location: 0, length: whole.length)) {
            add(NSRange(location: place, length: match.range.location - place))
            add(match.range)
            place = match.range.location + match.range.length
        }
        add(NSRange(location: place, length: whole.length - place))
        return found
    }

    /// One word: its bytes as symbols, the pair that was learnt first merged first.
    private func merged(_ word: String) -> [Int] {
        var parts = word.utf8.map { String(scalarOf[Int($0)]) }
        while parts.count > 1 {
            let pairs = (0..<parts.count - 1).compactMap { place in ranks["\(parts[place]) \(parts[place + 1])"].map { ($0, place) } }
            guard let best = pairs.min(by: { $0.0 < $1.0 }) else { break }
            parts.replaceSubrange(best.1...best.1 + 1, with: [parts[best.1] + parts[best.1 + 1]])
        }
        return parts.compactMap { ids[$0] }
    }
}

/// GPT-2's printable stand-in for each byte: itself where it is printable, else a letter from 256 on.
private let scalarOf: [Unicode.Scalar] = {
    let printable = Set(33...126).union(161...172).union(174...255)
    var next: UInt32 = 256
    return (0..<256).map { byte in
        if printable.contains(byte) { return Unicode.Scalar(UInt8(byte)) }
        defer { next += 1 }
        return Unicode.Scalar(next)!
    }
}()
private let byteOf = Dictionary(uniqueKeysWithValues: scalarOf.enumerated().map { ($1, UInt8($0)) })

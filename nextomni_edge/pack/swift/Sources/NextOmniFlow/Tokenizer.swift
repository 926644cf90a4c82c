import Foundation

/// Ids of the tokens that a chat format itself uses; `absent` where it has none. (tokens/text.py)
public struct SpecialTokens: Sendable {
    public static let absent = -1

    public var pad = absent, eos = absent, null = absent, imStart = absent, imEnd = absent
    public var imageStart = absent, imageEnd = absent, audioStart = absent, audioEnd = absent, videoStart = absent, videoEnd = absent
    var bos = absent, mask = absent, headEnd = absent, taskImage = absent, taskSeen = absent
    var system = absent, systemEnd = absent, user = absent, userEnd = absent, answer = absent, answerEnd = absent
    var dropped = absent, newline = absent

    /// Tokens around media: the unconditional branch keeps them.
    public var markers: [Int] { [imageStart, imageEnd, audioStart, audioEnd, videoStart, videoEnd].filter { $0 != Self.absent } }

    /// Tokens at which a masked model's answer is over.
    var ends: [Int] { [eos, imEnd, answerEnd].filter { $0 != Self.absent } }
}

/// A chat format, and how tokenizer.json spells its tokens.
public enum Template: String, Sendable {
    case chatml, llada, mmada, lumina, dream

    var spellings: [(WritableKeyPath<SpecialTokens, Int>, String)] {
        switch self {
        case .chatml:
            return [
                (\.pad, "<|pad|>"), (\.eos, "<|eos|>"), (\.null, "<|null|>"), (\.imStart, "<|im_start|>"), (\.imEnd, "<|im_end|>"),
                (\.imageStart, "<|image_start|>"), (\.imageEnd, "<|image_end|>"), (\.audioStart, "<|audio_start|>"),
                (\.audioEnd, "<|audio_end|>"), (\.videoStart, "<|video_start|>"), (\.videoEnd, "<|video_end|>"),
            ]
        case .llada:
            return [
                (\.pad, "<|endoftext|>"), (\.eos, "<|endoftext|>"), (\.bos, "<|startoftext|>"), (\.mask, "<|mdm_mask|>"),
                (\.null, "<|mdm_mask|>"), (\.imStart, "<|start_header_id|>"), (\.headEnd, "<|end_header_id|>"),
                (\.imEnd, "<|eot_id|>"),
            ]
        case .mmada:  // LLaDA's reserved tokens
            return Template.llada.spellings + [
                (\.imageStart, "<|reserved_token_0|>"), (\.imageEnd, "<|reserved_token_1|>"), (\.taskImage, "<|reserved_token_4|>"),
                (\.taskSeen, "<|reserved_token_5|>"),
            ]
        case .lumina:
            return [
                (\.pad, "<|endoftext|>"), (\.eos, "<|endoftext|>"), (\.mask, "<|mdm_mask|>"), (\.null, "<|mdm_mask|>"),
                (\.imageStart, "<Image>"), (\.imageEnd, "</Image>"), (\.system, "<system>"), (\.systemEnd, "</system>"),
                (\.user, "<user>"), (\.userEnd, "</user>"), (\.answer, "<answer>"), (\.answerEnd, "</answer>"),
                (\.dropped, "<uncondition>"), (\.newline, "<|reserved_token_0|>"),
            ]
        case .dream:
            return [
                (\.pad, "<|endoftext|>"), (\.eos, "<|endoftext|>"), (\.mask, "<|mask|>"), (\.null, "<|mask|>"),
                (\.imStart, "<|im_start|>"), (\.imEnd, "<|im_end|>"),
            ]
        }
    }

    /// How it spells its mask; nil where it has none.
    var mask: String? { spellings.first { $0.0 == \.mask }?.1 }
}

/// GPT-2's words, for a tokenizer.json that names no pattern of its own.
private let wordsOfGPT2 = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

/// Byte-level BPE from a tokenizer.json, in one of the chat templates.
public final class Tokenizer {
    public let special: SpecialTokens
    public let template: Template
    private let controls: [String]  // spellings that a user's text must not make
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
            let useRegex: Bool?

            enum CodingKeys: String, CodingKey {
                case type, pattern, pretokenizers, useRegex = "use_regex"
            }
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

    public init(_ url: URL, template: Template = .chatml) throws {
        let file = try JSONDecoder().decode(File.self, from: Data(contentsOf: url))
        let steps = file.preTokenizer.pretokenizers ?? [file.preTokenizer]
        let own = steps.first?.pattern?.Regex ?? (steps.first?.useRegex == true ? wordsOfGPT2 : nil)
        guard file.model.type == "BPE", steps.last?.type == "ByteLevel", [nil, "NFC"].contains(file.normalizer?.type), let regex = own
        else { throw NextOmniError("\(url.lastPathComponent): expected byte-level BPE behind a split by a pattern") }
        composes = file.normalizer != nil
        pattern = try NSRegularExpression(pattern: regex)
        var vocabulary = file.model.vocab
        for added in file.addedTokens { vocabulary[added.content] = added.id }
        ids = vocabulary
        pieces = Dictionary(vocabulary.map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
        specialIds = Set(file.addedTokens.filter(\.special).map(\.id))
        ranks = Dictionary(uniqueKeysWithValues: file.model.merges.enumerated().map { ($1.key, $0) })
        self.template = template
        controls = template == .chatml ? ["<|"] : file.addedTokens.map(\.content).filter { $0.unicodeScalars.count > 1 }.sorted()
        special = try Tokenizer.specialTokens(vocabulary, template)
    }

    private static func specialTokens(_ ids: [String: Int], _ template: Template) throws -> SpecialTokens {
        var found = SpecialTokens()
        for (name, spelling) in template.spellings {
            guard let id = ids[spelling] else { throw NextOmniError("the tokenizer has no \(spelling)") }
            found[keyPath: name] = id
        }
        return found
    }

    /// Ids of a text, special spellings split up so that they are ordinary characters. Throws a sentence about a text that holds the
    /// mask of a masked model.
    public func encode(_ text: String) throws -> [Int] {
        if let mask = template.mask, text.contains(mask) {
            throw NextOmniError("the text holds \(mask), the mask that the model fills in; leave it out")
        }
        var plain = text
        for spelling in controls {
            plain = plain.replacingOccurrences(of: spelling, with: "\(spelling.first!) \(spelling.dropFirst())", options: .literal)
        }
        if composes { plain = plain.precomposedStringWithCanonicalMapping }
        return words(plain).flatMap(merged)
    }

    /// The text up to <EOS>, or another end of a masked model's answer, special tokens left out.
    public func decode(_ tokens: [Int]) -> String {
        let ends = template == .chatml ? [special.eos] : special.ends
        let content = tokens.prefix { !ends.contains($0) }.filter { !specialIds.contains($0) }
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

import Foundation

/// GPT-2's words, for a tokenizer.json that names no pattern of its own.
private let wordsOfGPT2 = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

/// Byte-level BPE from a tokenizer.json, in one of the chat templates.
public final class Tokenizer: Sendable {
    public let special: SpecialTokens
    public let template: Template
    private let controls: [String]  // spellings that a user's text must not make
    private let merges: Merges
    private let pieces: [Int: String]
    private let specialIds: Set<Int>
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
        let left, right: String

        init(from decoder: Decoder) throws {
            let value = try decoder.singleValueContainer()
            let parts = try (try? value.decode([String].self)) ?? value.decode(String.self).split(separator: " ").map(String.init)
            guard parts.count == 2 else { throw NextOmniError("a merge is of \(parts.count) pieces, expected 2") }
            (left, right) = (parts[0], parts[1])
        }
    }

    /// Throws one sentence about a file that is no such tokenizer.
    public init(_ url: URL, template: Template = .chatml) throws {
        let name = url.lastPathComponent, file = try StrictJSON.read(File.self, url)
        let steps = file.preTokenizer.pretokenizers ?? [file.preTokenizer]
        let own = steps.first?.pattern?.Regex ?? (steps.first?.useRegex == true ? wordsOfGPT2 : nil)
        guard file.model.type == "BPE", steps.last?.type == "ByteLevel", [nil, "NFC"].contains(file.normalizer?.type), let regex = own
        else { throw NextOmniError("\(name): expected byte-level BPE behind a split by a pattern") }
        composes = file.normalizer != nil
        guard let words = try? NSRegularExpression(pattern: regex) else { throw NextOmniError("\(name): the pattern of its words is wrong") }
        pattern = words
        let known = file.model.vocab
        guard (Array(known.values) + file.addedTokens.map(\.id)).allSatisfy({ 0..<1 << 30 ~= $0 }) else {
            throw NextOmniError("\(name): an id is not from 0 to 2**30")
        }
        let added = Dictionary(file.addedTokens.map { ($0.content, $0.id) }) { $1 }
        let vocabulary = known.merging(added) { $1 }
        pieces = Dictionary(vocabulary.map { ($1, $0) }) { first, _ in first }
        specialIds = Set(file.addedTokens.filter(\.special).map(\.id))
        merges = try Merges(file.model.merges.map { ($0.left, $0.right) }, known, alphabet: scalarOf)
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
            plain = plain.replacingOccurrences(of: spelling, with: "\(spelling.prefix(1)) \(spelling.dropFirst())", options: .literal)
        }
        if composes { plain = plain.precomposedStringWithCanonicalMapping }
        return words(plain).flatMap(merges.pieces)
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
}

/// GPT-2's printable stand-in for each byte: itself where it is printable, else a letter from 256 on.
private let scalarOf: [Unicode.Scalar] = {
    let printable = Set(33...126).union(161...172).union(174...255)
    var next = 256
    return (0..<256).compactMap { byte in
        if printable.contains(byte) { return Unicode.Scalar(UInt8(byte)) }
        defer { next += 1 }
        return Unicode.Scalar(UInt32(next))
    }
}()
private let byteOf = Dictionary(uniqueKeysWithValues: scalarOf.enumerated().map { ($1, UInt8($0)) })

import Foundation

/// The prompts of published masked models. (tokens/masked.py)
private let generateImage = "Generate an image according to the text prompt."
private let editImage =
    "Generate an image applying the following editing instruction based on the original image."
private let answerText =
    "You are a multimodal model that can process both text and images. Answer the following question based on the provided images."
    + " Analyze each image and combine relevant details to answer."
private let textLimit = 512  // ids of a text that MMaDA draws a picture of, its end included

extension Tokenizer {
    /// Everything said so far, and the opening of the answer, as the model's authors write it. Throws a sentence about a prompt that
    /// the model was not made for.
    func maskedConversation(_ turns: [Turn], for answer: Answer) throws -> [Segment] {
        if case .lumina = template { return try lumina(turns, answer) }
        if case .mmada = template, case .image = answer { return try mmadaImage(turns) }
        return try chat(turns)
    }

    private func words(_ parts: [Part]) -> String {
        parts.map { part in if case .text(let text) = part { return text } else { return "" } }.joined()
    }

    /// <bos>, then each message between its header and its end. MMaDA's images stand before the conversation. Dream: ChatML.
    private func chat(_ turns: [Turn]) throws -> [Segment] {
        let dream = template == .dream
        var (images, ids): ([Segment], [Int]) = ([], dream ? [] : [special.bos])
        for turn in turns {
            for part in turn.parts { images += try shown(part) }
            ids += try headed(turn.role.rawValue, words(turn.parts).trimmingCharacters(in: .whitespacesAndNewlines)) + [special.imEnd]
            if dream { ids += try encode("\n") }
        }
        ids += try headed("assistant", "")
        return (images.isEmpty ? [] : [.text([special.taskSeen])]) + images + [.text(ids)]
    }

    /// A message's ids behind its header, without its end.
    private func headed(_ role: String, _ words: String) throws -> [Int] {
        if template == .dream { return try [special.imStart] + encode("\(role)\n\(words)") }
        let between = template == .mmada ? "\n" : "\n\n"
        return try [special.imStart] + encode(role) + [special.headEnd] + encode(between + words)
    }

    /// An image between its markers; where rows have a newline, each is a segment of its own. Text has none.
    func shown(_ part: Part, frozen: Bool = true) throws -> [Segment] {
        let codes: [[Int]]
        switch part {
        case .text: return []
        case .image(let given) where special.imageStart != SpecialTokens.absent: codes = given
        default: throw NextOmniError("this model's conversations hold text, and of a model that draws images")
        }
        guard special.newline != SpecialTokens.absent else {
            return [.text([special.imageStart]), Segment(.image, codes, frozen: frozen), .text([special.imageEnd])]
        }
        let side = Int(Double(codes.count).squareRoot())
        guard side > 0 && side * side == codes.count else { throw NextOmniError("an image of \(codes.count) codes: expected a square") }
        let rows = stride(from: 0, to: codes.count, by: side).flatMap { first in
            [Segment(.image, Array(codes[first..<first + side]), frozen: frozen), .text([special.newline])]
        }
        return [.text([special.imageStart])] + rows + [.text([special.imageEnd])]
    }

    /// <|t2i|> <bos> text <eos>. The text is a segment of its own, which guidance leaves out.
    private func mmadaImage(_ turns: [Turn]) throws -> [Segment] {
        guard turns.count == 1, turns[0].parts.allSatisfy({ if case .text = $0 { return true } else { return false } }) else {
            throw NextOmniError("MMaDA draws a picture of one text: give that only")
        }
        let ids = try encode(words(turns[0].parts))
        return [.text([special.taskImage, special.bos]), .text(Array(ids.prefix(textLimit - 2))), .text([special.eos])]
    }

    /// <system> words </system> <user> text, images </user> <answer>.
    private func lumina(_ turns: [Turn], _ answer: Answer) throws -> [Segment] {
        guard turns.count == 1 else { throw NextOmniError("Lumina-DiMOO answers one turn: start again for another question") }
        let images = try turns[0].parts.flatMap { try shown($0) }
        var role = images.isEmpty ? generateImage : editImage
        if case .text = answer { role = answerText }
        let system = try [special.system] + encode(role) + [special.systemEnd, special.user]
        let asked = try Segment.text(encode(words(turns[0].parts)))
        return [.text(system), asked] + images + [.text([special.userEnd]), .text([special.answer])]
    }

    /// Append what is to be generated, all masked: as many tokens as the blocks have, or a square image.
    func maskedResponse(to segments: [Segment], with answer: Answer, _ configuration: Configuration) throws -> TokenSequence {
        let closing: [Segment] = template == .lumina ? [.text([special.answerEnd])] : []
        switch answer {
        case .text(let blocks):
            let masks = [Int](repeating: special.mask, count: blocks * configuration.text.blockSize)
            return TokenSequence(segments + [.text(masks, frozen: false)] + closing)
        case .image:
            let codes = [[Int]](repeating: [configuration.mask(.image)], count: configuration.image?.positions ?? 0)
            return TokenSequence(segments + (try shown(.image(codes), frozen: false)) + closing)
        default: throw NextOmniError("this model answers in text or an image")
        }
    }
}

extension Generator {
    /// The sequences without a condition that guidance compares with, one for each of its scales.
    func unconditional(_ sequence: TokenSequence, _ modality: Modality) -> [TokenSequence] {
        let segments = sequence.segments
        guard special.mask != SpecialTokens.absent else { return [sequence.unconditional(special)] }
        if modality == .text {
            return [TokenSequence(segments.map { segment in
                guard segment.frozen else { return segment }
                let mask = configuration.mask(segment.modality)
                return Segment(segment.modality, segment.tokens.map { $0.map { _ in mask } })
            })]
        }
        let words = 1  // where both templates have the text
        let (before, behind) = (Array(segments[..<words]), Array(segments[(words + 1)...]))
        guard special.dropped != SpecialTokens.absent else { return [TokenSequence(before + behind)] }
        let dropped = TokenSequence(before + [.text([special.dropped])] + behind)
        let end = segments.firstIndex { $0.modality == .text && $0.tokens == [[special.userEnd]] } ?? words + 1
        if end == words + 1 { return [dropped] }
        return [dropped, TokenSequence(Array(segments[...words]) + segments[end...])]
    }
}

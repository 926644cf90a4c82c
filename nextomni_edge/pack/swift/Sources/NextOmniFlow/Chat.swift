/// One piece of a turn. (tokens/chat.py)
public enum Part: Sendable {
    case text(String)
    case image([[Int]])
    case audio([[Int]])
    case video([[[Int]]])
}

/// What is to be answered, and how much of it.
public enum Answer: Sendable {
    case text(blocks: Int)
    case image
    case audio(tokens: Int)
    case video(frames: Int)
}

public struct Turn: Sendable {
    public enum Role: String, Sendable { case user, assistant }
    public let role: Role
    public let parts: [Part]

    public init(_ role: Role, _ parts: [Part]) { (self.role, self.parts) = (role, parts) }
}

extension Tokenizer {
    /// Everything said so far, and the opening of the answer, in the model's template. Throws a sentence about a prompt that the model
    /// was not made for.
    public func conversation(_ turns: [Turn], for answer: Answer = .text(blocks: 1)) throws -> [Segment] {
        guard template == .chatml else { return try maskedConversation(turns, for: answer) }
        let newline = try encode("\n")
        func opening(_ role: String) throws -> Segment { try .text([special.imStart] + encode(role) + newline) }
        var segments: [Segment] = []
        for turn in turns {
            segments.append(try opening(turn.role.rawValue))
            for part in turn.parts { segments += try self.segments(part) }
            segments.append(.text([special.imEnd] + newline))
        }
        return segments + [try opening("assistant")]
    }

    /// A part between its markers; text has none.
    func segments(_ part: Part, frozen: Bool = true) throws -> [Segment] {
        switch part {
        case .text(let text):
            return [.text(try encode(text), frozen: frozen)]
        case .image(let codes):
            return [.text([special.imageStart]), Segment(.image, codes, frozen: frozen), .text([special.imageEnd])]
        case .audio(let codes):
            return [.text([special.audioStart]), Segment(.audio, codes, frozen: frozen), .text([special.audioEnd])]
        case .video(let frames):
            let inside = try frames.flatMap { try segments(.image($0), frozen: frozen) }
            return [.text([special.videoStart])] + inside + [.text([special.videoEnd])]
        }
    }

    /// Append what is to be generated, all zero for now, or masked. With a text canvas, an answer in text takes what the prompt leaves.
    public func respond(to segments: [Segment], with answer: Answer, _ configuration: Configuration) throws -> TokenSequence {
        func empty(_ modality: Modality, _ count: Int) -> [[Int]] {
            [[Int]](repeating: [Int](repeating: 0, count: configuration.symbols(modality).codebooks), count: count)
        }
        try answer.check(configuration)
        guard template == .chatml else { return try maskedResponse(to: segments, with: answer, configuration) }
        let positions = configuration.image?.positions ?? 0
        switch answer {
        case .text(let blocks):
            let length = try configuration.text.canvas.map { try left(of: $0, behind: TokenSequence(segments).length) }
                ?? blocks * configuration.text.blockSize
            return TokenSequence(segments + [Segment(.text, empty(.text, length), frozen: false)])
        case .image:
            return TokenSequence(segments + (try self.segments(.image(empty(.image, positions)), frozen: false)))
        case .audio(let tokens):
            return TokenSequence(segments + (try self.segments(.audio(empty(.audio, tokens)), frozen: false)))
        case .video(let frames):
            let codes = [[[Int]]](repeating: empty(.image, positions), count: frames)
            return TokenSequence(segments + (try self.segments(.video(codes), frozen: false)))
        }
    }

    private func left(of canvas: Int, behind prompt: Int) throws -> Int {
        guard prompt < canvas else { throw NextOmniError("prompt of \(prompt) positions: the model's canvas has \(canvas)") }
        return canvas - prompt
    }
}

extension Configuration {
    /// Whether the model answers so.
    public func answers(in answer: Answer) -> Bool { (try? answer.check(self)) != nil }
}

extension Answer {
    /// Throws a sentence about a kind that the model does not answer in, or a count that it does not support.
    func check(_ configuration: Configuration) throws {
        let found: (kind: String, count: Int, most: Int?)
        switch self {
        case .text(let blocks): found = ("text", blocks, configuration.text.maxBlocks)
        case .image: found = ("image", 1, configuration.image.map { _ in 1 })
        case .audio(let tokens): found = ("audio", tokens, configuration.audio?.maxPositions)
        case .video(let frames): found = ("video", frames, configuration.image?.maxFrames)
        }
        guard let most = found.most else { throw NextOmniError("modality '\(found.kind)': the model does not answer in \(found.kind)") }
        guard found.count >= 1 && found.count <= most else {
            throw NextOmniError("\(found.kind) response of \(found.count): the model takes 1 to \(most)")
        }
    }
}

/// Ids of the tokens that a chat format itself uses; `absent` for those that the format lacks. (tokens/text.py)
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

    /// The spelling of its mask; nil for a format without a mask.
    var mask: String? { spellings.first { $0.0 == \.mask }?.1 }
}

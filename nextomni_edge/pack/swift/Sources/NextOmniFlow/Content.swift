/// What is said: the parts of a prompt, and an answer.
public enum Content: Equatable, Sendable {
    case text(String)
    case image(Picture)
    case audio(Sound)
    /// Pictures in order, of equal shares of the time.
    case video([Picture])

    var kind: String {
        switch self {
        case .text: return "text"
        case .image: return "image"
        case .audio: return "audio"
        case .video: return "video"
        }
    }
}

/// Media into tokens and back. (generate/model.py, api/media.py)
extension Model {
    /// A prompt's part as the model sees it. Throws a sentence about media that the model does not take.
    public func part(_ content: Content) throws -> Part {
        switch content {
        case .text(let text): return .text(text)
        case .image(let picture): return .image(try codes(of: picture))
        case .audio(let sound): return .audio(try codes(of: sound))
        case .video(let frames):
            guard !frames.isEmpty else { throw NextOmniError("a video without frames") }
            return .video(try sampled(frames).map(codes))
        }
    }

    /// As many frames as the model takes, each from the middle of an equal share of the time.
    private func sampled(_ frames: [Picture]) -> [Picture] {
        let most = min(frames.count, configuration.image?.maxFrames ?? 0)
        return (0..<most).map { frames[(2 * $0 + 1) * frames.count / (2 * most)] }
    }

    private func codes(of picture: Picture) throws -> [[Int]] {
        guard let image = configuration.image else { throw NextOmniError("image: this model takes no pictures") }
        guard image.given ?? "codes" == "codes" else {
            throw NextOmniError("a picture as the prompt of this model, which sees features, is not supported here")
        }
        let pixels = try picture.pixels(size: image.size, fitting: image.fitting ?? "white")
        return try codes("image_encoder", ["pixels": .floats(pixels, shape: [1, 3, image.size, image.size])], .image)
    }

    private func codes(of sound: Sound) throws -> [[Int]] {
        guard let audio = configuration.audio else { throw NextOmniError("audio: this model takes no sounds") }
        let waveform = sound.waveform(rate: audio.sampleRate, most: audio.maxPositions * audio.hop * audio.framesPerToken)
        let mel = audio.logMel(waveform)
        let shape = [1, mel.count / (audio.framesPerToken * audio.mels), audio.framesPerToken, audio.mels]
        return try codes("audio_encoder", ["log_mel": .floats(mel, shape: shape)], .audio)
    }

    private func codes(_ component: String, _ inputs: [String: Tensor], _ modality: Modality) throws -> [[Int]] {
        let (codebooks, entries) = configuration.symbols(modality)
        let found = try generator.output("codes", of: component, inputs)
        guard found.count % max(1, codebooks) == 0, found.allSatisfy({ $0 >= 0 && $0 < Float(entries) }) else {
            throw NextOmniError("\(component): codes that are no rows of \(codebooks) numbers from 0 to \(entries - 1)")
        }
        return stride(from: 0, to: found.count, by: codebooks).map { first in (first..<first + codebooks).map { Int(found[$0]) } }
    }

    /// What a sequence has generated, also before its last step. Throws what a decoder throws.
    public func content(of sequence: TokenSequence, for answer: Answer) throws -> Content {
        let parts = sequence.generated.map { sequence.segments[$0].tokens }
        switch answer {
        case .text: return .text(tokenizer.decode(parts.flatMap { $0.map { $0[0] } }))
        case .image: return .image(try picture(parts.flatMap { $0 }))
        case .audio: return .audio(try sound(parts.flatMap { $0 }))
        case .video: return .video(try parts.map(picture))
        }
    }

    /// The picture of an image's codes. A code that is still masked is shown as 0.
    public func picture(_ codes: [[Int]]) throws -> Picture {
        let (codebooks, entries) = configuration.symbols(.image)
        let side = Int(Double(codes.count).squareRoot())
        let masked = configuration.path(.image).commit != nil  // such a model's decoder sees a grid
        guard !masked || side * side == codes.count else { throw NextOmniError("an image of \(codes.count) codes: expected a square") }
        let shape = masked ? [1, side, side, codebooks] : [1, codes.count, codebooks]
        let shown = codes.flatMap { $0.map { $0 < entries ? $0 : 0 } }
        let (values, sides) = try generator.shaped("pixels", of: "image_decoder", ["codes": .ints(shown, shape: shape)])
        return try Picture(pixels: values, width: sides.last ?? 0, truncated: configuration.image?.truncated ?? false)
    }

    /// The sound of a clip's codes.
    public func sound(_ codes: [[Int]]) throws -> Sound {
        let shape = [1, codes.count, configuration.symbols(.audio).codebooks]
        let samples = try generator.output("waveform", of: "audio_decoder", ["codes": .ints(codes.flatMap { $0 }, shape: shape)])
        return try Sound(channels: [samples], rate: configuration.audio?.sampleRate ?? 0)
    }

    /// A part's embedding, of length 1: near those of parts that mean the same, whatever their kind. (METHOD 4)
    public func embedding(of content: Content) throws -> [Float] {
        let segments = try tokenizer.segments(part(content)) + [.text([tokenizer.special.eos])]
        let sequence = TokenSequence(segments)
        try sequence.check(configuration)
        let states = try generator.backbone([generator.embeddings(sequence)])[0].suffix(configuration.backbone.hiddenSize)
        let length = states.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
        return states.map { Float(Double($0) / (length > 0 ? length : 1)) }
    }
}

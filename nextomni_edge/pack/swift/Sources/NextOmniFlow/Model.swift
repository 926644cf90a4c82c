import Foundation

/// A model that answers: what a pack's folder says of it, and what runs its components. It may be shared between tasks.
///
/// ```swift
/// let model = try Model(folder, components)
/// let chat = Conversation(model)
/// for try await progress in chat.stream([.text("draw a red cat")], for: .image) { ... }
/// ```
public struct Model: Sendable {
    public let configuration: Configuration
    public let tokenizer: Tokenizer
    public let generator: Generator

    /// `folder` holds config.json, tokenizer.json and metric_tables.safetensors. Throws one sentence about a file that is wrong.
    public init(_ folder: URL, _ components: any Components) throws {
        configuration = try Configuration.read(folder.appendingPathComponent("config.json"))
        tokenizer = try Tokenizer(folder.appendingPathComponent("tokenizer.json"), template: configuration.template())
        generator = try Generator(components, configuration, tokenizer.special, tables: configuration.metricTables(in: folder))
    }

    init(_ generator: Generator, _ tokenizer: Tokenizer) {
        (configuration, self.tokenizer, self.generator) = (generator.configuration, tokenizer, generator)
    }

    /// The modality's published settings of an answer, with a seed.
    public func options(for answer: Answer, seed: UInt64 = 0) -> Options { Options(configuration.path(answer.modality), seed: seed) }

    /// Load and warm up what an answer to such a prompt needs, so that its first step is not the slowest one.
    public func prepare(for answer: Answer, to prompt: [Content] = []) async throws {
        try await generator.components.load(components(for: answer, to: prompt))
    }

    /// Give the components' memory back. The next answer loads them again.
    public func unload() async { await generator.components.unload() }

    /// The components that an answer to such a prompt runs.
    public func components(for answer: Answer, to prompt: [Content]) -> [String] {
        let own = answer.modality.rawValue
        var found: Set = ["embed_text", "embed_\(own)", "backbone", "\(own)_head"]
        if answer.modality != .text { found.insert("\(own)_decoder") }
        for content in prompt {
            let name = content.kind == "video" ? "image" : content.kind
            found.insert("embed_\(name)")
            if name != "text" { found.insert("\(name)_encoder") }
        }
        return found.sorted()
    }
}

extension Answer {
    /// What the generated segments are of.
    var modality: Modality {
        switch self {
        case .text: return .text
        case .image, .video: return .image
        case .audio: return .audio
        }
    }
}

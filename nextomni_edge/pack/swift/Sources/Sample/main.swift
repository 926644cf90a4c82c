import Foundation
import NextOmniFlow
import NextOmniPipe

#if canImport(CoreML)
    import NextOmniCoreML
#endif

/// Answers one prompt on the command line. On a Mac the packages run in Core ML; elsewhere another process runs the components.
func loaded(_ arguments: Arguments) async throws -> Model {
    if let pipe = arguments.pipe { return try Model(arguments.folder, PipedComponents(from: pipe.from, to: pipe.to)) }
    #if canImport(CoreML)
        return try Model(arguments.folder, CoreMLComponents(arguments.folder))
    #else
        throw NextOmniError("this system has no Core ML: name the pipes of a process that runs the components (--pipe)")
    #endif
}

func write(_ content: Content, _ output: URL?) throws {
    if case .text(let text) = content { return print(text) }
    guard let output else { throw NextOmniError("name a file for the answer: -o FILE") }
    switch content {
    case .text: break
    case .image(let picture): try picture.ppm.write(to: output)
    case .audio(let sound): try sound.wav.write(to: output)
    case .video(let frames):
        for (place, frame) in frames.enumerated() {
            let name = "\(output.deletingPathExtension().lastPathComponent)-\(place).ppm"
            try frame.ppm.write(to: output.deletingLastPathComponent().appendingPathComponent(name))
        }
    }
}

func answer(_ arguments: Arguments) async throws {
    let model = try await loaded(arguments)
    let answer = try arguments.answer(model.configuration)
    var options = model.options(for: answer, seed: arguments.seed)
    if let steps = arguments.steps { options.steps = steps }
    if let temperature = arguments.temperature { options.temperature = temperature }
    for try await progress in Conversation(model).stream(arguments.prompt, for: answer, options) {
        switch progress {
        case .step(let moment): FileHandle.standardError.write(Data("step \(moment.step + 1) of \(moment.steps)\n".utf8))
        case .done(let content): try write(content, arguments.output)
        }
    }
}

do { try await answer(Arguments(Array(CommandLine.arguments.dropFirst()))) } catch {
    FileHandle.standardError.write(Data("error: \(error)\n".utf8))
    exit(1)
}

import Synchronization
import XCTest

@testable import NextOmniFlow

/// What an app sees: streams of answers, memory of what was said, and cancellation.
final class ConversationTests: XCTestCase {
    private func model(_ components: ((Configuration) -> any Components)? = nil) throws -> Model {
        let (_, tokenizer, configuration) = try integerModel()
        let all = try vectors("loop.json", as: GenerateTests.Vectors.self)
        let tables = Dictionary(uniqueKeysWithValues: all.tables.map { (Modality(rawValue: $0)!, $1.map(table)) })
        let own = components?(configuration) ?? IntegerComponents(configuration: configuration)
        return Model(Generator(own, configuration, tokenizer.special, tables: tables), tokenizer)
    }

    func testAnAnswerFormsStepByStepAndIsRemembered() async throws {
        let model = try model(), chat = Conversation(model)
        var steps: [Int] = [], contents: [Content] = [], done: Content?
        let options = Options(steps: 5, seed: 3)
        for try await progress in chat.stream([.text("draw a red rocket")], for: .text(blocks: 2), options) {
            switch progress {
            case .step(let moment):
                steps.append(moment.step)
                contents.append(try model.content(of: moment.predicted ?? moment.sequence, for: .text(blocks: 2)))
            case .done(let content): done = content
            }
        }
        XCTAssertEqual(steps, [0, 1, 2, 3, 4])
        XCTAssertEqual(contents.last, done)  // the last step takes x_1
        let turns = await chat.turns
        XCTAssertEqual(turns.map(\.role), [.user, .assistant])
        let prompt = try model.tokenizer.conversation([Turn(.user, [.text("draw a red rocket")])])
        let sequence = try model.tokenizer.respond(to: prompt, with: .text(blocks: 2), model.configuration)
        XCTAssertEqual(try model.content(of: model.generator.generate(sequence, options), for: .text(blocks: 2)), done)
    }

    func testTheNextAnswerSeesWhatWasSaid() async throws {
        let model = try model(), chat = Conversation(model), options = Options(steps: 2, seed: 3)
        let first = try await chat.answer([.text("what is this?")], options)
        let second = try await chat.answer([.text("say a cat")], options)
        let turns = await chat.turns
        XCTAssertEqual(turns.count, 4)
        guard case .text(let said) = first else { return XCTFail("\(first)") }
        let before = [Turn(.user, [.text("what is this?")]), Turn(.assistant, [.text(said)]), Turn(.user, [.text("say a cat")])]
        let sequence = try model.tokenizer.respond(
            to: model.tokenizer.conversation(before), with: .text(blocks: 1), model.configuration)
        XCTAssertEqual(try model.content(of: model.generator.generate(sequence, options), for: .text(blocks: 1)), second)
        await chat.reset()
        let left = await chat.turns
        XCTAssertTrue(left.isEmpty)
    }

    func testAPictureOfAPromptAndOfAnAnswerGoThroughTheirComponents() async throws {
        let model = try model { Codecs(whole: IntegerComponents(configuration: $0), configuration: $0) }
        let photo = try Picture(width: 4, height: 2, levels: [UInt8](repeating: 200, count: 32))
        let chat = Conversation(model)
        let found = try await chat.answer([.image(photo), .text("draw a red rocket")], for: .image, Options(steps: 2))
        guard case .image(let picture) = found else { return XCTFail("\(found)") }
        XCTAssertEqual([picture.width, picture.height], [16, 16])
        let sound = try await chat.answer([.text("say a cat")], for: .audio(tokens: 2), Options(steps: 2))
        guard case .audio(let heard) = sound else { return XCTFail("\(sound)") }
        XCTAssertEqual(heard.rate, 16_000)
        let clip = try Sound(channels: [[Float](repeating: 0.25, count: 3000)], rate: 16_000)
        let text = try await Conversation(model).answer([.audio(clip), .video([photo, photo])], Options(steps: 2))
        guard case .text = text else { return XCTFail("\(text)") }
        let film = try await Conversation(model).answer([.text("say")], for: .video(frames: 2), Options(steps: 2))
        guard case .video(let frames) = film else { return XCTFail("\(film)") }
        XCTAssertEqual(frames.count, 2)
    }

    func testDroppingAStreamStopsTheComputation() async throws {
        let counter = Counter()
        let model = try model { Counted(whole: IntegerComponents(configuration: $0), counter: counter) }
        let chat = Conversation(model)
        for try await progress in chat.stream([.text("say")], for: .image, Options(steps: 2_000)) {
            if case .step(let moment) = progress, moment.step == 3 { break }
        }
        while await chat.busy { try await Task.sleep(for: .milliseconds(5)) }
        let calls = counter.value
        XCTAssertLessThan(calls, 4_000)  // three calls a step, had it gone on
        try await Task.sleep(for: .milliseconds(50))
        XCTAssertEqual(counter.value, calls)
        let turns = await chat.turns
        XCTAssertTrue(turns.isEmpty)
    }

    func testACancelledTaskThrowsAndLeavesTheConversation() async throws {
        let model = try model(), chat = Conversation(model)
        let task = Task { try await chat.answer([.text("say")], for: .image, Options(steps: 100_000)) }
        try await Task.sleep(for: .milliseconds(30))
        task.cancel()
        let found = await task.result
        XCTAssertThrowsError(try found.get()) { XCTAssertTrue($0 is CancellationError, "\($0)") }
    }

    func testFaultsReachTheReaderInASentence() async throws {
        let model = try model(), chat = Conversation(model)
        for (answer, options, sentence) in [
            (Answer.image, Options(steps: 0), "steps is 0, expected at least 1"),
            (.text(blocks: 99), Options(steps: 1), "text response of 99: the model takes 1 to 3"),
        ] {
            do {
                _ = try await chat.answer([.text("say")], for: answer, options)
                XCTFail(sentence)
            } catch { XCTAssertEqual("\(error)", sentence) }
        }
        let turns = await chat.turns
        XCTAssertTrue(turns.isEmpty)
    }

    func testEmbeddingsHaveLengthOneAndDependOnTheText() throws {
        let model = try model()
        let (one, other) = (try model.embedding(of: .text("say a cat")), try model.embedding(of: .text("what is this?")))
        XCTAssertEqual(one.count, 48)
        XCTAssertEqual(one.reduce(0) { $0 + $1 * $1 }, 1, accuracy: 1e-5)
        XCTAssertNotEqual(one, other)
        XCTAssertEqual(one, try model.embedding(of: .text("say a cat")))
    }

    func testAModelIsPreparedWithWhatItsAnswerNeeds() async throws {
        let counter = Counter()
        let model = try model { Counted(whole: IntegerComponents(configuration: $0), counter: counter) }
        try await model.prepare(for: .image, to: [.text("a")])
        XCTAssertEqual(counter.loaded, ["backbone", "embed_image", "embed_text", "image_decoder", "image_head"])
        await model.unload()
        XCTAssertEqual(counter.loaded, [])
    }
}

/// Encoders and decoders of round numbers next to the model of whole numbers.
private struct Codecs: Components {
    let whole: IntegerComponents
    let configuration: Configuration

    func run(_ component: String, _ inputs: [String: Tensor], outputs: [String]) throws -> [String: Tensor] {
        switch component {
        case "image_encoder":
            let mean = inputs["pixels"]?.values.reduce(0, +) ?? 0
            return ["codes": .ints((0..<12).map { ($0 + Int(abs(mean))) % 16 }, shape: [1, 4, 3])]
        case "audio_encoder":
            let tokens = inputs["log_mel"]?.shape[1] ?? 0
            return ["codes": .ints([Int](repeating: 3, count: 2 * tokens), shape: [1, tokens, 2])]
        case "image_decoder": return ["pixels": .floats([Float](repeating: 0.5, count: 3 * 256), shape: [1, 3, 16, 16])]
        case "audio_decoder": return ["waveform": .floats([Float](repeating: 0.5, count: 1280), shape: [1, 1280])]
        default: return try whole.run(component, inputs, outputs: outputs)
        }
    }
}

private final class Counter: Sendable {
    private let state = Mutex((calls: 0, names: [String]()))
    var value: Int { state.withLock { $0.calls } }
    var loaded: [String] { state.withLock { $0.names } }
    func count() { state.withLock { $0.calls += 1 } }
    func set(_ names: [String]) { state.withLock { $0.names = names } }
}

private struct Counted: Components {
    let whole: IntegerComponents
    let counter: Counter

    func run(_ component: String, _ inputs: [String: Tensor], outputs: [String]) throws -> [String: Tensor] {
        counter.count()
        return try whole.run(component, inputs, outputs: outputs)
    }

    func load(_ components: [String]) async throws { counter.set(components) }
    func unload() async { counter.set([]) }
}

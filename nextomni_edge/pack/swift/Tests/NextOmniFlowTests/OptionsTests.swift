import XCTest

@testable import NextOmniFlow

final class OptionsTests: XCTestCase {
    struct Vector: Decodable {
        let modality: String
        let settings: [String: [String]]
        let refused: String?

        func options() throws -> Options {
            func text(_ name: String) -> String? { settings[name]?.first }
            func whole(_ name: String) throws -> Int? { try text(name).map { try XCTUnwrap(Int($0)) } }
            func number(_ name: String) throws -> Double? { try text(name).map { try XCTUnwrap(Double($0)) } }
            var found = Options(
                steps: try whole("steps") ?? 32, stepper: try XCTUnwrap(Stepper(rawValue: text("stepper") ?? "euler")),
                temperature: try number("temperature") ?? 1, topK: try whole("top_k") ?? 0, topP: try number("top_p") ?? 1,
                guidance: try number("guidance") ?? 0)
            (found.guidanceImage, found.guidanceUntil) = (try number("guidance_image") ?? 0, try number("guidance_until") ?? 1)
            (found.block, found.threshold) = (try whole("block"), try number("threshold"))
            (found.drawTemperature, found.maxBlocks) = (try number("draw_temperature"), try whole("max_blocks"))
            (found.leadTokens, found.eosThreshold) = (try whole("lead_tokens") ?? 0, try number("eos_threshold") ?? 0.5)
            (found.extendUntil, found.grid) = (try number("extend_until") ?? 0.5, settings["grid"]?.compactMap(Double.init) ?? [])
            found.extend = try XCTUnwrap(Extension(rawValue: text("extend") ?? "first"))
            return found
        }
    }

    func testOptionsAreRefusedInTheWordsOfPython() throws {
        let configuration = try Configuration.read(url("config.json"))
        for vector in try vectors("settings.json", as: [Vector].self) {
            var found: String?
            do {
                let options = try vector.options()
                if let modality = Modality(rawValue: vector.modality) {
                    try options.check(configuration, modality)
                } else {
                    try options.check()
                }
            } catch let error as NextOmniError { found = "\(error)" }
            XCTAssertEqual(found, vector.refused)
        }
    }

    func testARunChecksItsOptions() throws {
        let (generator, tokenizer, configuration) = try integerModel()
        let sequence = try tokenizer.respond(to: [], with: .image, configuration)
        assertRefused("steps is -1, expected at least 1") { _ = try generator.generate(sequence, Options(steps: -1)) }
        assertRefused("steps is 0, expected at least 1") { _ = try generator.generate(sequence, Options(steps: 0)) }
        assertRefused("temperature is nan, expected a finite number from 0") {
            _ = try generator.generate(sequence, Options(steps: 2, temperature: .nan))
        }
    }

    func testACountThatTheModelDoesNotSupportIsRefused() throws {
        let (_, tokenizer, configuration) = try integerModel()
        for (answer, sentence) in [
            (Answer.text(blocks: 0), "text response of 0: the model takes 1 to 3"),
            (.text(blocks: -1), "text response of -1: the model takes 1 to 3"),
            (.text(blocks: .max), "text response of \(Int.max): the model takes 1 to 3"),
            (.audio(tokens: -5), "audio response of -5: the model takes 1 to 4"),
            (.video(frames: 0), "video response of 0: the model takes 1 to 4"),
        ] {
            assertRefused(sentence) { _ = try tokenizer.respond(to: [], with: answer, configuration) }
        }
    }

    func testTokensThatTheModelDoesNotHaveAreRefused() throws {
        let (generator, tokenizer, configuration) = try integerModel()
        for (given, sentence) in [
            (Segment.text([-1]), "segment 0: text token [-1], expected 1 numbers from 0 to 319"),
            (.text([320]), "segment 0: text token [320], expected 1 numbers from 0 to 319"),
            (Segment(.image, [[1, 2]]), "segment 0: image token [1, 2], expected 3 numbers from 0 to 15"),
            (Segment(.image, [[]]), "segment 0: image token [], expected 3 numbers from 0 to 15"),
        ] {
            let sequence = try tokenizer.respond(to: [given], with: .image, configuration)
            assertRefused(sentence) { _ = try generator.generate(sequence, Options(steps: 2)) }
        }
    }
}

/// A generator over the model of whole numbers, with its tables.
func integerModel(attention: String = "full") throws -> (Generator, Tokenizer, Configuration) {
    var configuration = try Configuration.read(url("config.json"))
    configuration.backbone.attention = attention
    let tokenizer = try Tokenizer(url("tokenizer.json"))
    let all = try vectors("loop.json", as: GenerateTests.Vectors.self)
    let tables = Dictionary(uniqueKeysWithValues: all.tables.map { (Modality(rawValue: $0)!, $1.map(table)) })
    let generator = Generator(IntegerComponents(configuration: configuration), configuration, tokenizer.special, tables: tables)
    return (generator, tokenizer, configuration)
}

func assertRefused(_ sentence: String, _ run: () throws -> Void) {
    XCTAssertThrowsError(try run()) { XCTAssertEqual("\($0)", sentence) }
}

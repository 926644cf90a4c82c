import XCTest

@testable import NextOmniFlow

final class OptionsTests: XCTestCase {
    struct Vector: Decodable {
        let steps, temperature, top_k, top_p, guidance: String
        let refused: String?

        var options: Options {
            Options(
                steps: Int(steps)!, temperature: Double(temperature)!, topK: Int(top_k)!, topP: Double(top_p)!,
                guidance: Double(guidance)!)
        }
    }

    func testOptionsAreRefusedInTheWordsOfPython() throws {
        for vector in try vectors("options.json", as: [Vector].self) {
            var found: String?
            do { try vector.options.check() } catch { found = "\(error)" }
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

    func testNoOptionTrapsTheProcess() throws {
        let (generator, tokenizer, configuration) = try integerModel()
        let sequence = try tokenizer.respond(to: [], with: .audio(tokens: 2), configuration)
        var random = SystemRandomNumberGenerator()
        let doubles: [Double] = [.nan, .infinity, -.infinity, -1, -0.0, 0, .leastNonzeroMagnitude, 1e-9, 0.5, 1, 1.5, 1e300]
        var refused = 0
        for _ in 0..<2000 {
            let options = Options(
                steps: [-1, 0, 1, 2, .min][Int.random(in: 0..<5, using: &random)], temperature: doubles.randomElement(using: &random)!,
                topK: [.min, -1, 0, 1, 3, .max].randomElement(using: &random)!, topP: doubles.randomElement(using: &random)!,
                guidance: doubles.randomElement(using: &random)!, seed: .random(in: 0 ... .max, using: &random))
            do { _ = try generator.generate(sequence, options) } catch { refused += 1 }
        }
        XCTAssertTrue(refused > 1000 && refused < 2000, "\(refused) of 2000 were refused")
    }
}

/// A generator over the model of whole numbers, with its tables.
func integerModel(attention: String = "full") throws -> (Generator, Tokenizer, Configuration) {
    var configuration = try Configuration.read(url("config.json"))
    configuration.backbone.attention = attention
    let tokenizer = try Tokenizer(url("tokenizer.json"))
    let all = try vectors("loop.json", as: GenerateTests.Vectors.self)
    let tables = Dictionary(uniqueKeysWithValues: all.tables.map { (Modality(rawValue: $0)!, $1) })
    let generator = Generator(IntegerComponents(configuration: configuration), configuration, tokenizer.special, tables: tables)
    return (generator, tokenizer, configuration)
}

func assertRefused(_ sentence: String, _ run: () throws -> Void) {
    XCTAssertThrowsError(try run()) { XCTAssertEqual("\($0)", sentence) }
}

import XCTest

@testable import NextOmniFlow

final class GenerateTests: XCTestCase {
    struct Vectors: Decodable {
        struct Step: Decodable {
            let step: Int
            let xt: [[Int]]
            let x1: [[Int]]?
        }
        struct Run: Decodable {
            let name, attention, kind, seed: String
            let count, optionSteps, topK: Int
            let stepper: Stepper
            let temperature, topP, guidance: Double
            let prompt: [Int]
            let steps: [Step]
            let tokens: [[[Int]]]
        }
        let tables: [String: [[[Float]]]]
        let runs: [Run]
    }

    func testWholeRunsHaveTheTokensOfPythonAtEveryStep() throws {
        let all = try vectors("loop.json", as: Vectors.self)
        for run in all.runs {
            let (generator, tokenizer, configuration) = try integerModel(attention: run.attention)
            let prompt = try tokenizer.conversation([Turn(.user, [.text("draw a red rocket")])])
            let ids: [Int] = prompt.flatMap { (segment: Segment) -> [Int] in segment.tokens.map { $0[0] } }
            XCTAssertEqual(ids, run.prompt)
            let options = Options(
                steps: run.optionSteps, stepper: run.stepper, temperature: run.temperature, topK: run.topK, topP: run.topP,
                guidance: run.guidance, seed: UInt64(run.seed)!)
            var records: [StepRecord] = []
            let sequence = try tokenizer.respond(to: prompt, with: answer(run), configuration)
            let finished = try generator.generate(sequence, options) { records.append($0) }
            XCTAssertEqual(records.map(\.step), run.steps.map(\.step), run.name)
            for (found, expected) in zip(records, run.steps) {
                XCTAssertEqual(found.xt, expected.xt, "\(run.name): x_t at step \(expected.step)")
                XCTAssertEqual(found.x1, expected.x1, "\(run.name): x_1 at step \(expected.step)")
            }
            XCTAssertEqual(finished.generated.map { finished.segments[$0].tokens }, run.tokens, run.name)
        }
        XCTAssertEqual(all.runs.map(\.attention).filter { $0 == "prefix" }.count, 2)
    }

    private func answer(_ run: Vectors.Run) -> Answer {
        switch run.kind {
        case "text": return .text(blocks: run.count)
        case "image": return .image
        case "audio": return .audio(tokens: run.count)
        default: return .video(frames: run.count)
        }
    }

    func testAnAnswerTakesWhatThePromptLeavesOfACanvas() throws {
        var (_, tokenizer, configuration) = try integerModel()
        configuration.text.canvas = 40
        let prompt = try tokenizer.conversation([Turn(.user, [.text("what is this?")])])
        XCTAssertEqual(try tokenizer.respond(to: prompt, with: .text(blocks: 1), configuration).length, 40)
        configuration.text.canvas = TokenSequence(prompt).length
        assertRefused("prompt of \(configuration.text.canvas!) positions: the model's canvas has \(configuration.text.canvas!)") {
            _ = try tokenizer.respond(to: prompt, with: .text(blocks: 1), configuration)
        }
    }

    func testWhatCannotBeMeantIsToldInASentence() throws {
        let configuration = try Configuration.read(url("config.json"))
        let tokenizer = try Tokenizer(url("tokenizer.json"))
        let generator = Generator(IntegerComponents(configuration: configuration), configuration, tokenizer.special, tables: [:])
        let nothing = TokenSequence([.text([1, 2])])
        XCTAssertThrowsError(try generator.generate(nothing, Options(steps: 2))) { XCTAssert("\($0)".hasPrefix("a run generates one")) }
        let image = try tokenizer.respond(to: [], with: .image, configuration)
        XCTAssertThrowsError(try generator.generate(image, Options(steps: 2))) { XCTAssert("\($0)".contains("no metric table")) }
    }
}

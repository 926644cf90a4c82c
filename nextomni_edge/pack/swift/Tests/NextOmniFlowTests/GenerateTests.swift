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
            let name, attention, kind: String
            let count: Int
            let prompt: [Int]
            let steps: [Step]
            let tokens: [[[Int]]]
            let task: GoldenTrace.Task

            enum CodingKeys: String, CodingKey { case name, attention, kind, count, prompt, steps, tokens }

            init(from decoder: Decoder) throws {
                let found = try decoder.container(keyedBy: CodingKeys.self)
                name = try found.decode(String.self, forKey: .name)
                attention = try found.decode(String.self, forKey: .attention)
                kind = try found.decode(String.self, forKey: .kind)
                count = try found.decode(Int.self, forKey: .count)
                prompt = try found.decode([Int].self, forKey: .prompt)
                steps = try found.decode([Step].self, forKey: .steps)
                tokens = try found.decode([[[Int]]].self, forKey: .tokens)
                task = try GoldenTrace.Task(from: decoder)  // the options are written as a trace's
            }
        }
        let tables: [String: [[[Float]]]]
        let runs: [Run]
    }

    func testWholeRunsHaveTheTokensOfPythonAtEveryStep() throws {
        let all = try vectors("loop.json", as: Vectors.self)
        try replay(all)
        XCTAssertEqual(all.runs.map(\.attention).filter { $0 == "prefix" }.count, 2)
    }

    func testTextsThatGrowOrComeInPartsAndUnevenGridsLikewise() throws {
        let all = try vectors("lengths.json", as: Vectors.self)
        try replay(all)
        XCTAssertEqual(all.runs.filter { $0.name.contains("grow") || $0.name.contains("part") }.count, 5)
    }

    private func replay(_ all: Vectors) throws {
        for run in all.runs {
            let (generator, tokenizer, configuration) = try integerModel(attention: run.attention)
            let prompt = try tokenizer.conversation([Turn(.user, [.text("draw a red rocket")])])
            let ids: [Int] = prompt.flatMap { (segment: Segment) -> [Int] in segment.tokens.map { $0[0] } }
            XCTAssertEqual(ids, run.prompt)
            let options = try run.task.options()
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
    }

    func testAnErrorNamesItsStep() throws {
        let (_, tokenizer, configuration) = try integerModel()
        let tables = try vectors("loop.json", as: Vectors.self).tables
        let own = Dictionary(uniqueKeysWithValues: tables.map { (Modality(rawValue: $0)!, $1.map(table)) })
        let image = try tokenizer.respond(to: [], with: .image, configuration)
        for (damage, sentence) in [
            (Damaged.Damage.short, "step 1 of 2: image_head: logits has 191 numbers, expected 192"),
            (.notFinite, "step 1 of 2: image_head: logits holds a value that is not finite"),
            (.missing, "step 1 of 2: image_head has no output logits"),
        ] {
            let components = Damaged(whole: IntegerComponents(configuration: configuration), damage: damage)
            let generator = Generator(components, configuration, tokenizer.special, tables: own)
            assertRefused(sentence) { _ = try generator.generate(image, Options(steps: 2)) }
        }
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
        let few = try XCTUnwrap(vectors("loop.json", as: Vectors.self).tables["audio"]).map(table)
        let other = Generator(IntegerComponents(configuration: configuration), configuration, tokenizer.special, tables: [.image: few])
        assertRefused("metric tables of 16, 16 rows, expected 3 of 16") { _ = try other.generate(image, Options(steps: 2)) }
    }
}

/// A model whose heads give too little, something infinite, or nothing.
struct Damaged: Components {
    enum Damage { case short, notFinite, missing }
    let whole: IntegerComponents
    let damage: Damage

    func run(_ component: String, _ inputs: [String: Tensor], outputs: [String]) throws -> [String: Tensor] {
        let found = try whole.run(component, inputs, outputs: outputs)
        guard let logits = found["logits"] else { return found }
        switch damage {
        case .short: return ["logits": .floats(Array(logits.values.dropLast()), shape: logits.shape)]
        case .notFinite: return ["logits": .floats(logits.values.dropLast() + [.infinity], shape: logits.shape)]
        case .missing: return [:]
        }
    }
}

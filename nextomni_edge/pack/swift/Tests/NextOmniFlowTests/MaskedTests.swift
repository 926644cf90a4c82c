import XCTest

@testable import NextOmniFlow

/// The commit step and the prompts of masked models, against Python's numbers (tests/pack/masked_vectors.py).
final class MaskedTests: XCTestCase {
    struct CommitVectors: Decodable {
        struct Proposals: Decodable {
            let rule: CommitRule
            let temperature, heat: Double
            let logits: [[Float]]
            let symbols: [[Double]]
            let uniform, score, ranked: [Double]
            let eligible: [Bool]
            let x1, written: [Int]
        }
        struct Counts: Decodable {
            let rule: CommitRule
            let rows, steps: Int
            let turns: [[Int]]
            let written: [Int]
        }
        let proposals: [Proposals]
        let counts: [Counts]
    }

    func testTheCommitStepIsPythons() throws {
        for vector in try vectors("commit.json", as: CommitVectors.self).proposals {
            let found = vector.logits.indices.map { row in
                propose(vector.logits[row], vector.rule, temperature: vector.temperature) { vector.symbols[row] }
            }
            XCTAssertEqual(found.map(\.x1), vector.x1, "\(vector.rule)")
            for (own, expected) in zip(found, vector.score) { assertClose(own.score, expected, "\(vector.rule)") }
            let heat = vector.rule.scoreTemperature(vector.temperature, step: 1, steps: 5)
            assertClose(heat, vector.heat)
            let ranked = found.indices.map { noised(found[$0].score, vector.rule, temperature: heat, uniform: vector.uniform[$0]) }
            for (own, expected) in zip(ranked, vector.ranked) { assertClose(own, expected, "\(vector.rule)") }
            let written = chosen(ranked, vector.eligible, count: 2, threshold: vector.rule.threshold)
            XCTAssertEqual(written.sorted(), vector.written, "\(vector.rule)")
        }
    }

    func testTheStepsOfARunWriteAsManyRowsAsInPython() throws {
        for vector in try vectors("commit.json", as: CommitVectors.self).counts {
            let turns = try vector.rule.turns(rows: vector.rows, steps: vector.steps)
            XCTAssertEqual(turns.map { [$0.start, $0.stop, $0.step, $0.steps] }, vector.turns, "\(vector.rule)")
            var left = vector.rows
            for (turn, expected) in zip(turns, vector.written) {
                let found = vector.rule.written(of: vector.rows, masked: left, step: turn.step, steps: turn.steps)
                XCTAssertEqual(found, expected, "\(vector.rule): step \(turn.step) of \(turn.steps)")
                left -= found
            }
        }
    }

    func testNumbersThatDoNotDivideAreRefusedInTheWordsOfPython() throws {
        var rule = CommitRule()
        rule.block = 32
        assertRefused(
            "an answer of 100 tokens is no whole number of blocks of 32: ask for 96 or 128 tokens, or another block"
        ) { _ = try rule.turns(rows: 100, steps: 4) }
        assertRefused("6 steps are not shared evenly by 4 blocks: ask for 4 or 8 steps, or another block") {
            _ = try rule.turns(rows: 128, steps: 6)
        }
    }

    struct PromptVectors: Decodable {
        struct Given: Decodable, Equatable {
            let modality: Modality
            let frozen: Bool
            let tokens: [[Int]]

            init(_ segment: Segment) { (modality, frozen, tokens) = (segment.modality, segment.frozen, segment.tokens) }
        }
        struct Case: Decodable {
            let answer: String
            let image: [Int]
            let sequence: [Given]
            let compared: [[Given]]
        }
        struct Family: Decodable {
            let family, tokenizer: String
            let config: Configuration
            let cases: [Case]
        }
        let said: String
        let families: [Family]
    }

    func testPromptsAreThoseOfPython() throws {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let all = try decoder.decode(PromptVectors.self, from: Data(contentsOf: url("prompts.json")))
        for family in all.families {
            let file = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID()).json")
            try Data(family.tokenizer.utf8).write(to: file)
            defer { try? FileManager.default.removeItem(at: file) }
            let tokenizer = try Tokenizer(file, template: family.config.template())
            let generator = Generator(IntegerComponents(configuration: family.config), family.config, tokenizer.special, tables: [:])
            for each in family.cases {
                let answer: Answer = each.answer == "image" ? .image : .text(blocks: 1)
                let images: [Part] = each.image.isEmpty ? [] : [.image(each.image.map { [$0] })]
                let prompt = try tokenizer.conversation([Turn(.user, images + [.text(" \(all.said) ")])], for: answer)
                let sequence = try tokenizer.respond(to: prompt, with: answer, family.config)
                XCTAssertEqual(sequence.segments.map(PromptVectors.Given.init), each.sequence, family.family)
                let compared = generator.unconditional(sequence, sequence.generatedModality!)
                XCTAssertEqual(compared.map { $0.segments.map(PromptVectors.Given.init) }, each.compared, family.family)
            }
        }
        XCTAssertEqual(all.families.count, 4)
    }

    func testAMaskInATextIsRefused() throws {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let all = try decoder.decode(PromptVectors.self, from: Data(contentsOf: url("prompts.json")))
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID()).json")
        try Data(all.families[0].tokenizer.utf8).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let tokenizer = try Tokenizer(file, template: .llada)
        assertRefused("the text holds <|mdm_mask|>, the mask that the model fills in; leave it out") {
            _ = try tokenizer.conversation([Turn(.user, [.text("a <|mdm_mask|> b")])])
        }
    }
}

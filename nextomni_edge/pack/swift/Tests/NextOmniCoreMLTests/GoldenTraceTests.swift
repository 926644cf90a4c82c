#if canImport(CoreML)
    import NextOmniFlow
    import XCTest

    @testable import NextOmniCoreML

    /// Replays the trace that travelled with the model: the same tokens at every step, up to the first draw that fell on a tie.
    @available(iOS 18, macOS 15, *)
    final class GoldenTraceTests: XCTestCase {
        struct Trace: Decodable {
            struct Step: Decodable {
                let xt: [[Int]]
                let x1: [[Int]]?
                let margin: Double?  // how near the step's nearest draw was to another outcome; nil: there was none
            }
            struct Given: Decodable {
                let modality: Modality
                let frozen: Bool
                let tokens: [[Int]]
            }
            struct Task: Decodable {
                let name, seed: String
                let optionSteps, topK: Int
                let stepper: Stepper
                let temperature, topP, guidance: Double
                let segments: [Given]
                let steps: [Step]
                let tokens: [[[Int]]]
            }
            let tie: Double
            let tasks: [Task]
        }

        func testEveryTaskOfTheTraceIsReplayed() throws {
            let trace = try JSONDecoder().decode(Trace.self, from: NextOmniModel.goldenTrace())
            let model = try NextOmniModel(units: .cpuOnly)
            XCTAssertFalse(trace.tasks.isEmpty)
            for task in trace.tasks { try replay(task, model, tie: trace.tie) }
        }

        private func replay(_ task: Trace.Task, _ model: NextOmniModel, tie: Double) throws {
            let sequence = TokenSequence(task.segments.map { Segment($0.modality, $0.tokens, frozen: $0.frozen) })
            let options = Options(
                steps: task.optionSteps, stepper: task.stepper, temperature: task.temperature, topK: task.topK, topP: task.topP,
                guidance: task.guidance, seed: UInt64(task.seed)!)
            var records: [StepRecord] = []
            let finished = try model.generator.generate(sequence, options) { records.append($0) }
            for (found, expected) in zip(records, task.steps) {
                XCTAssertEqual(found.xt, expected.xt, "\(task.name): x_t at step \(found.step)")
                guard found.x1 != expected.x1 else { continue }
                XCTAssertLessThanOrEqual(expected.margin ?? .infinity, tie, "\(task.name): x_1 at step \(found.step), where no tie was near")
                return  // what follows a tie is another trajectory
            }
            XCTAssertEqual(records.count, task.steps.count, task.name)
            XCTAssertEqual(finished.generated.map { finished.segments[$0].tokens }, task.tokens, task.name)
        }
    }
#endif

#if canImport(CoreML)
    import NextOmniFlow
    import XCTest

    @testable import NextOmniCoreML

    /// Replays the trace that travelled with the model: the same tokens at every step, up to the first draw that fell on a tie.
    @available(iOS 18, macOS 15, *)
    final class GoldenTraceTests: XCTestCase {
        func testEveryTaskOfTheTraceIsReplayed() async throws {
            let trace = try Model.goldenTrace()
            let model = try Model.packed(units: .cpuOnly)
            XCTAssertFalse(trace.tasks.isEmpty)
            for answer in [Answer.text(blocks: 1), .image, .audio(tokens: 1)] where model.configuration.answers(in: answer) {
                try await model.prepare(for: answer, to: [])
            }
            for task in trace.tasks { try replay(task, model, tie: trace.tie) }
        }

        private func replay(_ task: GoldenTrace.Task, _ model: Model, tie: Double) throws {
            let (records, tokens) = try task.run(model.generator)
            for (found, expected) in zip(records, task.steps) {
                XCTAssertEqual(found.xt, expected.xt, "\(task.name): x_t at step \(found.step)")
                guard found.x1 != expected.x1 else { continue }
                XCTAssertLessThanOrEqual(expected.margin ?? .infinity, tie, "\(task.name): x_1 at step \(found.step), where no tie was near")
                return  // what follows a tie is another trajectory
            }
            XCTAssertEqual(records.count, task.steps.count, task.name)
            XCTAssertEqual(tokens, task.tokens, task.name)
        }
    }
#endif

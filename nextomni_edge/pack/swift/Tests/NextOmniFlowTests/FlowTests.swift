import XCTest

@testable import NextOmniFlow

final class FlowTests: XCTestCase {
    struct NoiseVector: Decodable {
        let seed: String
        let segment, step, positions, codes: Int
        let use: UInt64
        let uniform: [[Double]]
        let start: [[Int]]
    }

    func testNoiseIsPythonsToTheLastBit() throws {
        for vector in try vectors("noise.json", as: [NoiseVector].self) {
            let noise = Noise(seed: UInt64(vector.seed)!)
            let uniform = noise.uniform(
                segment: vector.segment, step: vector.step, use: Use(rawValue: vector.use)!, positions: vector.positions,
                codes: vector.codes)
            XCTAssertEqual(uniform, vector.uniform)
            let start = noise.start(
                segment: vector.segment, positions: vector.positions, codes: vector.codes, vocabulary: 1000)
            XCTAssertEqual(start, vector.start)
        }
    }

    struct ScheduleVector: Decodable {
        let c, a, t, h, beta, derivative: Double
        let euler, corrected: [Double]
    }

    func testSchedulesAndRises() throws {
        for vector in try vectors("schedule.json", as: [ScheduleVector].self) {
            let schedule = MetricSchedule(c: vector.c, a: vector.a)
            assertClose(schedule(vector.t).beta, vector.beta)
            assertClose(schedule(vector.t).derivative, vector.derivative)
            for (stepper, expected) in [(Stepper.euler, vector.euler), (.corrected, vector.corrected)] {
                let (beta, rise) = stepper.rise(schedule, t: vector.t, h: vector.h)
                assertClose(beta, expected[0])
                assertClose(rise, expected[1])
            }
        }
    }

    struct StepVectors: Decodable {
        struct Step: Decodable {
            let stepper: Stepper
            let t, h: Double
            let from, toward, next: [Int]
            let jump, target: [Double]
        }
        let table: [[Float]]
        let distance: [Float]
        let steps: [Step]
    }

    func testDistancesAndSteps() throws {
        let all = try vectors("steps.json", as: StepVectors.self)
        let path = MetricPath(table: all.table, schedule: MetricSchedule(c: 3, a: 0.9))
        for (found, expected) in zip(path.distance(3), all.distance) {
            XCTAssertEqual(found, expected, accuracy: 1e-6 * max(1, expected))
        }
        var jumps = 0
        for step in all.steps {
            let next = step.from.indices.map { row in
                path.step(
                    from: step.from[row], toward: step.toward[row], t: step.t, h: step.h, jump: step.jump[row],
                    target: step.target[row], rule: step.stepper, last: false)
            }
            XCTAssertEqual(next, step.next, "\(step.stepper) at \(step.t)")
            jumps += zip(next, step.from).filter { $0 != $1 }.count
        }
        XCTAssertGreaterThan(jumps, 20)
    }

    struct SamplingVector: Decodable {
        let temperature, topP: Double
        let topK: Int
        let logits: [[Float]]
        let uniform: [Double]
        let x1: [Int]
    }

    func testDrawsOfX1() throws {
        for vector in try vectors("sampling.json", as: [SamplingVector].self) {
            let found = zip(vector.logits, vector.uniform).map { logits, uniform in
                sampleX1(logits, uniform: uniform, temperature: vector.temperature, topK: vector.topK, topP: vector.topP)
            }
            XCTAssertEqual(found, vector.x1)
        }
    }
}

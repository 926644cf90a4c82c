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
        let path = MetricPath(table: table(all.table), schedule: MetricSchedule(c: 3, a: 0.9))
        for (found, expected) in zip(path.table.distances([3])[0], all.distance) {
            XCTAssertEqual(found, expected, accuracy: 1e-6 * max(1, expected))
        }
        var jumps = 0
        for step in all.steps {
            let next = path.step(
                from: step.from, toward: step.toward, t: step.t, h: step.h, JumpDraws(jump: step.jump, target: step.target),
                rule: step.stepper, last: false)
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
            let sampling = Sampling(temperature: vector.temperature, topK: vector.topK, topP: vector.topP)
            var sums: [Double] = []
            let found = zip(vector.logits, vector.uniform).map { logits, uniform in
                logits.withUnsafeBufferPointer { sampling.draw($0, uniform: uniform, &sums) }
            }
            XCTAssertEqual(found, vector.x1)
        }
    }

    func testDistancesTogetherAreThoseOfOneAfterAnother() throws {
        let all = try vectors("steps.json", as: StepVectors.self)
        let own = table(all.table), symbols = Array(0..<own.vocabulary)
        XCTAssertEqual(own.distances(symbols), symbols.map { own.distances([$0])[0] })
        for symbol in symbols { XCTAssertEqual(own.distances([symbol])[0][symbol], 0) }
    }

    func testKeptRowsAreThoseOfTheTableInRoomForFew() throws {
        let own = table(try vectors("steps.json", as: StepVectors.self).table)
        let kept = RowCache(own, bytes: 5 * 4 * own.vocabulary)
        var random = Seeded(1)
        for _ in 0..<50 {
            let symbols = Array(0..<own.vocabulary).shuffled(using: &random).prefix(.random(in: 0...8, using: &random))
            XCTAssertEqual(kept.rows(Array(symbols)), own.distances(Array(symbols)))
        }
    }

    /// The searches of top-k and top-p, next to a sort of everything.
    func testTruncationKeepsWhatASortWouldKeep() {
        var random = Seeded(2), sums: [Double] = []
        for _ in 0..<300 {
            let logits = (0..<Int.random(in: 1...200, using: &random)).map { _ in Float(Int.random(in: -20...20, using: &random)) / 8 }
            let sampling = Sampling(
                temperature: [0.3, 1, 4].randomElement(using: &random) ?? 1, topK: Int.random(in: 0...20, using: &random),
                topP: [1, 0.9, 0.5, 0.01].randomElement(using: &random) ?? 1)
            let uniform = Double.random(in: 0..<1, using: &random)
            let found = logits.withUnsafeBufferPointer { sampling.draw($0, uniform: uniform, &sums) }
            XCTAssertEqual(found, sorted(logits, sampling, uniform), "\(sampling) of \(logits.count) symbols")
        }
    }

    private func sorted(_ logits: [Float], _ sampling: Sampling, _ uniform: Double) -> Int {
        let most = Double(logits.max() ?? 0), mass = logits.map { exp((Double($0) - most) / sampling.temperature) }
        let order = logits.indices.sorted { logits[$0] != logits[$1] ? logits[$0] > logits[$1] : $0 < $1 }
        let first = order.prefix(sampling.topK > 0 ? sampling.topK : logits.count)
        let whole = first.reduce(0) { $0 + mass[$1] }
        var before = 0.0, kept: Set<Int> = []
        for symbol in first where before < sampling.topP * whole {
            kept.insert(symbol)
            before += mass[symbol]
        }
        var total = 0.0
        return inverseCDF(logits.indices.map { symbol in
            total += kept.contains(symbol) ? mass[symbol] : 0
            return total
        }, uniform)
    }
}

/// A metric table of rows.
func table(_ rows: [[Float]]) -> MetricTable { MetricTable(rows.flatMap { $0 }[...], dimensions: rows[0].count) }

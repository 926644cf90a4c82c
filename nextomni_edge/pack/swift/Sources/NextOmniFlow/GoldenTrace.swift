import Foundation

/// Whole generations that the Python computed: everything to run them again, and what they must give. (pack/ios.py)
public struct GoldenTrace: Decodable, Sendable {
    public struct Step: Decodable, Sendable {
        public let xt: [[Int]]
        public let x1: [[Int]]?
        public let margin: Double?  // how near the step's nearest draw was to another outcome; nil: there was none
    }
    struct Given: Decodable, Sendable {
        let modality: Modality
        let frozen: Bool
        let tokens: [[Int]]
    }
    public struct Task: Decodable, Sendable {
        public let name: String
        public let steps: [Step]
        public let tokens: [[[Int]]]
        let seed: String
        let optionSteps, topK: Int
        let stepper: Stepper
        let temperature, topP, guidance: Double
        let guidanceImage, threshold: Double?
        let block: Int?
        let segments: [Given]

        /// The task run here: each step, and the tokens of each generated segment.
        public func run(_ generator: Generator) throws -> (records: [StepRecord], tokens: [[[Int]]]) {
            guard let seed = UInt64(seed) else { throw NextOmniError("\(name): seed is \(seed), expected 0 to 2**64 - 1") }
            var options = Options(
                steps: optionSteps, stepper: stepper, temperature: temperature, topK: topK, topP: topP, guidance: guidance, seed: seed)
            (options.guidanceImage, options.block, options.threshold) = (guidanceImage ?? 0, block, threshold)
            let sequence = TokenSequence(segments.map { Segment($0.modality, $0.tokens, frozen: $0.frozen) })
            var records: [StepRecord] = []
            let finished = try generator.generate(sequence, options) { records.append($0) }
            return (records, finished.generated.map { finished.segments[$0].tokens })
        }
    }

    public let tie: Double
    public let tasks: [Task]

    public static func read(_ data: Data) throws -> GoldenTrace { try JSONDecoder().decode(GoldenTrace.self, from: data) }
}

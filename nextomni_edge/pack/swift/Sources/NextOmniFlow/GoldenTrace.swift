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
        let guidanceImage, guidanceUntil, threshold, drawTemperature, eosThreshold, extendUntil: Double?
        let block, maxBlocks, leadTokens: Int?
        let grid: [Double]?
        let extend: Extension?
        let segments: [Given]?

        func options() throws -> Options {
            guard let seed = UInt64(seed) else { throw NextOmniError("\(name): seed is \(seed), expected 0 to 2**64 - 1") }
            var found = Options(
                steps: optionSteps, stepper: stepper, temperature: temperature, topK: topK, topP: topP, guidance: guidance, seed: seed)
            (found.guidanceImage, found.guidanceUntil) = (guidanceImage ?? 0, guidanceUntil ?? 1)
            (found.block, found.threshold, found.drawTemperature) = (block, threshold, drawTemperature)
            (found.maxBlocks, found.leadTokens, found.grid) = (maxBlocks, leadTokens ?? 0, grid ?? [])
            (found.extend, found.extendUntil, found.eosThreshold) = (extend ?? .first, extendUntil ?? 0.5, eosThreshold ?? 0.5)
            return found
        }

        /// The task run here: each step, and the tokens of each generated segment.
        public func run(_ generator: Generator) throws -> (records: [StepRecord], tokens: [[[Int]]]) {
            let options = try options()
            let sequence = TokenSequence((segments ?? []).map { Segment($0.modality, $0.tokens, frozen: $0.frozen) })
            var records: [StepRecord] = []
            let finished = try generator.generate(sequence, options) { records.append($0) }
            return (records, finished.generated.map { finished.segments[$0].tokens })
        }
    }

    public let tie: Double
    public let tasks: [Task]

    /// Throws one sentence about a file that is no trace.
    public static func read(_ url: URL) throws -> GoldenTrace { try StrictJSON.read(GoldenTrace.self, url) }
}

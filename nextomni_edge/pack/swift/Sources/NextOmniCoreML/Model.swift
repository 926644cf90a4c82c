#if canImport(CoreML)
    import CoreML
    import Foundation
    import NextOmniFlow

    /// The packed model, ready to generate.
    @available(iOS 18, macOS 15, *)
    public struct NextOmniModel {
        public let configuration: Configuration
        public let tokenizer: Tokenizer
        public let generator: Generator

        /// `folder` nil: the model that this package was made with.
        public init(_ folder: URL? = nil, units: MLComputeUnits = .all) throws {
            let folder = folder ?? Bundle.module.resourceURL!.appendingPathComponent("Model")
            configuration = try Configuration.read(folder.appendingPathComponent("config.json"))
            tokenizer = try Tokenizer(folder.appendingPathComponent("tokenizer.json"), template: configuration.template())
            let tables = try configuration.metricTables(in: folder)
            generator = Generator(
                CoreMLComponents(folder, units: units), configuration, tokenizer.special, tables: tables)
        }

        /// The text of a finished sequence's answer.
        public func text(_ finished: TokenSequence) -> String {
            tokenizer.decode(finished.generated.flatMap { finished.segments[$0].tokens.map { $0[0] } })
        }

        /// Pixels (3,size,size) in [-1, 1], row after row, of an image's codes.
        public func pixels(_ codes: [[Int]]) throws -> [Float] {
            let side = Int(Double(codes.count).squareRoot())
            let shape = configuration.path(.image).commit == nil ? [codes.count] : [side, side]  // a masked model's decoder sees a grid
            return try decoded("pixels", by: "image_decoder", codes, shape)
        }

        /// Samples in [-1, 1] of a clip's codes.
        public func waveform(_ codes: [[Int]]) throws -> [Float] { try decoded("waveform", by: "audio_decoder", codes, [codes.count]) }

        private func decoded(_ output: String, by component: String, _ codes: [[Int]], _ places: [Int]) throws -> [Float] {
            let tensor = Tensor.ints(codes.flatMap { $0 }, shape: [1] + places + [codes[0].count])
            return try generator.output(output, of: component, ["codes": tensor])
        }

        /// The golden trace that the bundle was exported with.
        public static func goldenTrace() throws -> Data {
            try Data(contentsOf: Bundle.module.resourceURL!.appendingPathComponent("Model/golden.json"))
        }
    }
#endif

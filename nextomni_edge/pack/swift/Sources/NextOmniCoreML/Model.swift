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
            tokenizer = try Tokenizer(folder.appendingPathComponent("tokenizer.json"))
            let file = try SafeTensors(folder.appendingPathComponent("metric_tables.safetensors"))
            var tables: [Modality: [[[Float]]]] = [.text: try file.metricTables(.text, configuration)]
            if configuration.image != nil { tables[.image] = try file.metricTables(.image, configuration) }
            if configuration.audio != nil { tables[.audio] = try file.metricTables(.audio, configuration) }
            generator = Generator(
                CoreMLComponents(folder, units: units), configuration, tokenizer.special, tables: tables)
        }

        /// The text of a finished sequence's answer.
        public func text(_ finished: TokenSequence) -> String {
            tokenizer.decode(finished.generated.flatMap { finished.segments[$0].tokens.map { $0[0] } })
        }

        /// Pixels (3,size,size) in [-1, 1], row after row, of an image's codes.
        public func pixels(_ codes: [[Int]]) throws -> [Float] { try decoded("pixels", by: "image_decoder", codes) }

        /// Samples in [-1, 1] of a clip's codes.
        public func waveform(_ codes: [[Int]]) throws -> [Float] { try decoded("waveform", by: "audio_decoder", codes) }

        private func decoded(_ output: String, by component: String, _ codes: [[Int]]) throws -> [Float] {
            let tensor = Tensor.ints(codes.flatMap { $0 }, shape: [1, codes.count, codes[0].count])
            return try generator.output(output, of: component, ["codes": tensor])
        }

        /// The golden trace that the bundle was exported with.
        public static func goldenTrace() throws -> Data {
            try Data(contentsOf: Bundle.module.resourceURL!.appendingPathComponent("Model/golden.json"))
        }
    }
#endif

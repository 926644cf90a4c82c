#if canImport(CoreML)
    import CoreML
    import Foundation
    import NextOmniFlow

    /// The packages of a bundle, compiled on this device at their first use. (runtimes/coreml/runtime.py)
    @available(iOS 18, macOS 15, *)
    public final class CoreMLComponents: Components {
        private let folder: URL
        private let units: MLComputeUnits
        private var models: [String: [MLModel]] = [:]

        public init(_ folder: URL, units: MLComputeUnits = .all) { (self.folder, self.units) = (folder, units) }

        public func run(_ component: String, _ inputs: [String: Tensor]) throws -> [String: Tensor] {
            let chunks = try loaded(component)
            let form = Form(chunks[0].modelDescription, of: component)
            guard form.single, let shape = inputs.values.first(where: { $0.shape.count < 5 })?.shape else {
                return try all(chunks, inputs)
            }
            let (batch, rows) = (shape[0], shape[1])
            let count = try form.count(rows, of: component)
            let parts = try (0..<batch).map { place in
                try all(chunks, inputs.mapValues { $0.sequence(place).padded(to: count) }).compactMapValues { $0.prefix(rows) }
            }
            return parts.dropFirst().reduce(parts[0]) { $0.merging($1) { $0.joined($1) } }
        }

        private func all(_ chunks: [MLModel], _ inputs: [String: Tensor]) throws -> [String: Tensor] {
            chunks.count == 1 ? try predict(chunks[0], inputs) : try inSequence(chunks, inputs)
        }

        /// A component's packages in order: NAME.mlpackage, and where it was cut NAME.2.mlpackage and so on.
        private func loaded(_ component: String) throws -> [MLModel] {
            if let found = models[component] { return found }
            var (found, name) = ([MLModel](), component)
            while FileManager.default.fileExists(atPath: package(name).path) {
                let configuration = MLModelConfiguration()
                configuration.computeUnits = units
                found.append(try MLModel(contentsOf: MLModel.compileModel(at: package(name)), configuration: configuration))
                name = "\(component).\(found.count + 1)"
            }
            guard !found.isEmpty else { throw NextOmniError("the bundle has no package of \(component)") }
            models[component] = found
            return found
        }

        private func package(_ name: String) -> URL { folder.appendingPathComponent("\(name).mlpackage") }

        /// Hidden states go from one chunk into the next; keys and values are not kept here.
        private func inSequence(_ chunks: [MLModel], _ inputs: [String: Tensor]) throws -> [String: Tensor] {
            var (given, found) = (inputs, [String: Tensor]())
            for chunk in chunks {
                found = try predict(chunk, given)
                given["embeddings"] = found["hidden"]
            }
            return ["hidden": found["hidden"]!]
        }

        private func predict(_ model: MLModel, _ inputs: [String: Tensor]) throws -> [String: Tensor] {
            let wanted = model.modelDescription.inputDescriptionsByName
            var given = withAPast(inputs)
            if let past = wanted["past_keys"]?.multiArrayConstraint?.shape.first?.intValue { given = layers(past, given) }
            let positions = Form.positions(model.modelDescription)
            if positions > 0 { given["held"] = .ints(Array(0..<positions), shape: [positions]) }  // nothing is kept here
            given = given.filter { wanted[$0.key] != nil }
            let features = try MLDictionaryFeatureProvider(dictionary: given.mapValues { try MLFeatureValue(multiArray: array($0)) })
            let found =
                positions > 0 ? try model.prediction(from: features, using: model.makeState()) : try model.prediction(from: features)
            var out: [String: Tensor] = [:]
            for name in found.featureNames {
                guard let value = found.featureValue(for: name)?.multiArrayValue else { continue }
                out[name] = .floats(value.toFloats(), shape: value.shape.map(\.intValue))
            }
            return out
        }

        /// Core ML has no size 0: one past position that nothing attends to stands for none.
        private func withAPast(_ inputs: [String: Tensor]) -> [String: Tensor] {
            guard let past = inputs["past_keys"], case .ints(let mask, let shape)? = inputs["attention_mask"] else { return inputs }
            var (given, cache) = (inputs, past.shape)
            cache[3] = 1
            let rows = (0..<shape[0]).flatMap { [0] + mask[$0 * shape[1]..<($0 + 1) * shape[1]] }
            given["attention_mask"] = .floats(rows.map(Float.init), shape: [shape[0], shape[1] + 1])
            let nothing = Tensor.floats([Float](repeating: 0, count: cache.reduce(1, *)), shape: cache)
            (given["past_keys"], given["past_values"]) = (nothing, nothing)
            return given
        }

        /// The past of a chunk's own layers: all of it is zero, so only its size matters.
        private func layers(_ count: Int, _ inputs: [String: Tensor]) -> [String: Tensor] {
            guard var shape = inputs["past_keys"]?.shape else { return inputs }
            shape[0] = count
            let nothing = Tensor.floats([Float](repeating: 0, count: shape.reduce(1, *)), shape: shape)
            return inputs.merging(["past_keys": nothing, "past_values": nothing]) { $1 }
        }

        private func array(_ tensor: Tensor) throws -> MLMultiArray {
            let shape = tensor.shape.map { NSNumber(value: $0) }
            switch tensor {
            case .floats(let values, _):
                let found = try MLMultiArray(shape: shape, dataType: .float32)
                found.withUnsafeMutableBufferPointer(ofType: Float.self) { buffer, _ in _ = buffer.initialize(from: values) }
                return found
            case .ints(let values, _):
                let found = try MLMultiArray(shape: shape, dataType: .int32)
                found.withUnsafeMutableBufferPointer(ofType: Int32.self) { buffer, _ in
                    _ = buffer.initialize(from: values.map(Int32.init))
                }
                return found
            }
        }
    }

    extension MLMultiArray {
        /// The values in order of the axes, whatever the strides are.
        fileprivate func toFloats() -> [Float] {
            dataType == .int32 ? MLShapedArray<Int32>(converting: self).scalars.map(Float.init) : MLShapedArray<Float>(converting: self).scalars
        }
    }
#endif

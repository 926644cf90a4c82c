#if canImport(CoreML)
    import CoreML
    import Foundation
    import NextOmniFlow

    /// The packages of a bundle. `load` compiles them on this device, at most once for each content. (runtimes/coreml/runtime.py)
    @available(iOS 18, macOS 15, *)
    public final class CoreMLComponents: Components, @unchecked Sendable {
        private let folder: URL
        private let units: MLComputeUnits
        private let compiled: CompiledPackages
        private let contents: [String: String]  // digests of packages
        private let lock = NSLock()
        private var models: [String: [MLModel]] = [:]  // under the lock

        /// `folder` holds the packages, and packages.json with their digests, as a pack's Model folder does.
        public init(_ folder: URL, units: MLComputeUnits = .all, compiled: CompiledPackages = .shared) {
            (self.folder, self.units, self.compiled) = (folder, units, compiled)
            let data = try? Data(contentsOf: folder.appendingPathComponent("packages.json"))
            contents = data.flatMap { try? JSONDecoder().decode([String: String].self, from: $0) } ?? [:]
        }

        public func load(_ components: [String]) async throws {
            for component in components where lock.withLock({ models[component] }) == nil {
                let found = try await chunks(of: component)
                lock.withLock { models[component] = found }
            }
        }

        public func unload() async { lock.withLock { models = [:] } }

        /// Delete compiled models of other versions of this model's packages.
        public func clean() async throws { try await compiled.clean(keeping: Set(contents.values)) }

        public func run(_ component: String, _ inputs: [String: Tensor], outputs: [String]) throws -> [String: Tensor] {
            guard let chunks = lock.withLock({ models[component] }) else {
                throw NextOmniError("\(component) is not loaded: prepare the model first")
            }
            return try autoreleasepool { try run(chunks, component, inputs, outputs) }
        }

        private func run(
            _ chunks: [MLModel], _ component: String, _ inputs: [String: Tensor], _ outputs: [String]
        ) throws -> [String: Tensor] {
            let form = Form(chunks[0].modelDescription, of: component)
            guard form.single, let shape = inputs.values.first(where: { $0.shape.count < 5 })?.shape else {
                return try all(chunks, inputs, outputs)
            }
            guard outputs.count == 1, inputs["past_keys"]?.values.isEmpty ?? true else {
                throw NextOmniError("\(component): packages with --rows or --state keep no prompt here; export without them")
            }
            let (batch, rows) = (shape[0], shape[1])
            let count = try form.count(rows, of: component)
            let parts = try (0..<batch).map { place in
                try all(chunks, inputs.mapValues { $0.sequence(place).padded(to: count) }, outputs).compactMapValues { $0.prefix(rows) }
            }
            return parts.dropFirst().reduce(parts[0]) { $0.merging($1) { $0.joined($1) } }
        }

        private func all(_ chunks: [MLModel], _ inputs: [String: Tensor], _ outputs: [String]) throws -> [String: Tensor] {
            chunks.count == 1 ? try predict(chunks[0], inputs, outputs) : try inSequence(chunks, inputs, outputs)
        }

        /// A component's packages in order: NAME.mlpackage, and where it was cut NAME.2.mlpackage and so on.
        private func chunks(of component: String) async throws -> [MLModel] {
            var (found, name) = ([MLModel](), component)
            let configuration = MLModelConfiguration()
            configuration.computeUnits = units
            while FileManager.default.fileExists(atPath: package(name).path) {
                found.append(try await compiled.model(package(name), content: contents[name], configuration))
                name = "\(component).\(found.count + 1)"
            }
            guard !found.isEmpty else { throw NextOmniError("the bundle has no package of \(component)") }
            return found
        }

        private func package(_ name: String) -> URL { folder.appendingPathComponent("\(name).mlpackage") }

        /// Hidden states go from one chunk into the next, with the past of the chunk's own layers.
        private func inSequence(_ chunks: [MLModel], _ inputs: [String: Tensor], _ outputs: [String]) throws -> [String: Tensor] {
            var (given, found, first) = (inputs, [String: Tensor](), 0)
            for chunk in chunks {
                let past = chunk.modelDescription.inputDescriptionsByName["past_keys"]?.multiArrayConstraint
                let layers = first..<first + (past?.shape.first?.intValue ?? 0)
                for name in ["past_keys", "past_values"] { given[name] = inputs[name]?.layers(layers) }
                let computed = try predict(chunk, given, outputs)
                given["embeddings"] = computed["hidden"]
                found.merge(computed) { $1.shape.count == 5 ? $0.joined($1) : $1 }
                first = layers.upperBound
            }
            return found
        }

        private func predict(_ model: MLModel, _ inputs: [String: Tensor], _ outputs: [String]) throws -> [String: Tensor] {
            let wanted = model.modelDescription.inputDescriptionsByName
            var given = withAPast(inputs)
            let positions = Form.positions(model.modelDescription)
            if positions > 0 { given["held"] = .ints(Array(0..<positions), shape: [positions]) }  // nothing is kept here
            given = given.filter { wanted[$0.key] != nil }
            let features = try MLDictionaryFeatureProvider(dictionary: given.mapValues { try MLFeatureValue(multiArray: array($0)) })
            let found =
                positions > 0 ? try model.prediction(from: features, using: model.makeState()) : try model.prediction(from: features)
            var out: [String: Tensor] = [:]
            for name in outputs {
                guard let value = found.featureValue(for: name)?.multiArrayValue else { continue }
                out[name] = .floats(value.toFloats(), shape: value.shape.map(\.intValue))
            }
            return out
        }

        /// The mask as numbers. Core ML has no size 0: one past position that nothing attends to stands for none.
        private func withAPast(_ inputs: [String: Tensor]) -> [String: Tensor] {
            guard let past = inputs["past_keys"], case .ints(let mask, let shape)? = inputs["attention_mask"] else { return inputs }
            var (given, cache) = (inputs, past.shape)
            guard cache[3] == 0 else {
                given["attention_mask"] = .floats(mask.map(Float.init), shape: shape)
                return given
            }
            cache[3] = 1
            let rows = (0..<shape[0]).flatMap { [0] + mask[$0 * shape[1]..<($0 + 1) * shape[1]] }
            given["attention_mask"] = .floats(rows.map(Float.init), shape: [shape[0], shape[1] + 1])
            let nothing = Tensor.floats([Float](repeating: 0, count: cache.reduce(1, *)), shape: cache)
            (given["past_keys"], given["past_values"]) = (nothing, nothing)
            return given
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

#if canImport(CoreML)
    import CoreML
    import Foundation
    import NextOmniFlow

    @available(iOS 18, macOS 15, *)
    extension Model {
        /// The model that this package was made with; its components are loaded by `prepare`, or by the first answer.
        ///
        /// ```swift
        /// let model = try Model.packed()
        /// try await model.prepare(for: .image)
        /// ```
        public static func packed(units: MLComputeUnits = .all) throws -> Model {
            guard let folder = Bundle.module.resourceURL?.appendingPathComponent("Model") else {
                throw NextOmniError("this package has no folder Model")
            }
            return try Model(folder, CoreMLComponents(folder, units: units))
        }

        /// The golden trace that the bundle was exported with.
        public static func goldenTrace() throws -> GoldenTrace {
            guard let folder = Bundle.module.resourceURL else { throw NextOmniError("this package has no folder Model") }
            return try GoldenTrace.read(folder.appendingPathComponent("Model/golden.json"))
        }
    }
#endif

#if canImport(CoreML)
    import CoreML
    import Foundation
    import NextOmniFlow

    /// Packages compiled on this device, kept in Application Support by their content: a package is compiled once, at whatever place
    /// an update of the app puts it, and again for a new system.
    @available(iOS 18, macOS 15, *)
    public actor CompiledPackages {
        /// The store of this app.
        public static let shared = CompiledPackages()

        private let store: URL

        /// `store` nil: a folder in Application Support.
        public init(_ store: URL? = nil) {
            let support = FileManager.default.urls(for: .applicationSupportDirectory, in: .userDomainMask).first
            self.store = store ?? (support ?? FileManager.default.temporaryDirectory).appendingPathComponent("NextOmni")
        }

        /// A model of a package whose content has this digest. A kept one that this system does not load is compiled again.
        func model(_ package: URL, content: String?, _ configuration: MLModelConfiguration) async throws -> MLModel {
            guard let content else {
                return try await MLModel.load(contentsOf: MLModel.compileModel(at: package), configuration: configuration)
            }
            let place = place(of: content)
            if FileManager.default.fileExists(atPath: place.path) {
                if let found = try? await MLModel.load(contentsOf: place, configuration: configuration) { return found }
                try FileManager.default.removeItem(at: place)
            }
            try await compile(package, place)
            return try await MLModel.load(contentsOf: place, configuration: configuration)
        }

        /// Delete what is kept of all but these contents, as after an update of the model.
        public func clean(keeping contents: Set<String>) throws {
            let kept = Set(contents.map { place(of: $0).lastPathComponent })
            let found = (try? FileManager.default.contentsOfDirectory(at: store, includingPropertiesForKeys: nil)) ?? []
            for each in found where each.pathExtension == "mlmodelc" && !kept.contains(each.lastPathComponent) {
                try FileManager.default.removeItem(at: each)
            }
        }

        private func place(of content: String) -> URL {
            let system = ProcessInfo.processInfo.operatingSystemVersion
            return store.appendingPathComponent("\(content)-\(system.majorVersion).\(system.minorVersion).mlmodelc")
        }

        private func compile(_ package: URL, _ place: URL) async throws {
            let compiled = try await MLModel.compileModel(at: package)
            try FileManager.default.createDirectory(at: store, withIntermediateDirectories: true)
            if FileManager.default.fileExists(atPath: place.path) { return }  // another task was faster
            try FileManager.default.moveItem(at: compiled, to: place)
            var (kept, values) = (place, URLResourceValues())
            values.isExcludedFromBackup = true
            try kept.setResourceValues(values)
        }
    }
#endif

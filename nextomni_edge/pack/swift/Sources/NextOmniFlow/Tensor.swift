/// What crosses a component's border, row after row.
public enum Tensor: Sendable {
    case floats([Float], shape: [Int])
    case ints([Int], shape: [Int])

    public var shape: [Int] {
        switch self {
        case .floats(_, let shape), .ints(_, let shape): return shape
        }
    }

    /// The values of a tensor of floats; whole numbers become floats.
    public var values: [Float] {
        switch self {
        case .floats(let values, _): return values
        case .ints(let values, _): return values.map(Float.init)
        }
    }
}

/// Runs one component of the model: Core ML on a device, anything else in a test.
public protocol Components: Sendable {
    /// At least the named outputs.
    func run(_ component: String, _ inputs: [String: Tensor], outputs: [String]) throws -> [String: Tensor]
    /// Get components ready. `run` is called of no other, where this is called at all.
    func load(_ components: [String]) async throws
    /// Give their memory back.
    func unload() async
}

extension Components {
    public func load(_ components: [String]) async throws {}
    public func unload() async {}
}

/// A fault of what was given, in one sentence.
public struct NextOmniError: Error, CustomStringConvertible, Equatable {
    public let description: String
    public init(_ description: String) { self.description = description }
}

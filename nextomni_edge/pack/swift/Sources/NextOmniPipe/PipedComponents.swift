import Foundation
import NextOmniFlow
import Synchronization

/// Components that another process answers, over two file descriptors: the loop by itself, on any system. The other side is
/// tests/pack/replay.py.
///
/// A message is a length (4 bytes, little-endian), a JSON header of that length, and the tensors that the header lists, each 4 bytes a
/// value, little-endian: float32 or int32.
public final class PipedComponents: Components {
    struct Listed: Codable {
        let name, type: String
        let shape: [Int]
    }

    /// Asks for outputs of a component, or gives them.
    private struct Header: Codable {
        var component: String?
        var outputs: [String]?
        var error: String?
        var tensors: [Listed] = []
    }

    private let reading, writing: Int32
    private let turn = Mutex(())  // one question at a time

    public init(reading: Int32 = 0, writing: Int32 = 1) { (self.reading, self.writing) = (reading, writing) }

    /// Named pipes; opening waits for the other side.
    public convenience init(from: URL, to: URL) throws {
        let (writing, reading) = (open(to.path, O_WRONLY), open(from.path, O_RDONLY))
        guard writing >= 0, reading >= 0 else { throw NextOmniError("\(from.path), \(to.path): cannot be opened as pipes") }
        self.init(reading: reading, writing: writing)
    }

    public func run(_ component: String, _ inputs: [String: Tensor], outputs: [String]) throws -> [String: Tensor] {
        let listed = inputs.sorted { $0.key < $1.key }
        let header = Header(component: component, outputs: outputs, tensors: listed.map { Listed(name: $0, type: $1.type, shape: $1.shape) })
        return try turn.withLock { _ in
            try tell(header, listed.reduce(into: Data()) { $0.append($1.value.bytes) })
            let length = try read(4).reversed().reduce(0) { $0 << 8 | Int($1) }
            let answer = try JSONDecoder().decode(Header.self, from: read(length))
            if let error = answer.error { throw NextOmniError(error) }
            var found: [String: Tensor] = [:]
            for tensor in answer.tensors {
                let values = try read(4 * tensor.shape.reduce(1, *))
                let floats = [Float](unsafeUninitializedCapacity: values.count / 4) { buffer, count in
                    count = values.copyBytes(to: UnsafeMutableRawBufferPointer(buffer)) / 4
                }
                found[tensor.name] = .floats(floats, shape: tensor.shape)
            }
            return found
        }
    }

    /// Send a header of any kind, and what stands behind it.
    public func tell<Header: Encodable>(_ header: Header, _ tensors: Data = Data()) throws {
        let json = try JSONEncoder().encode(header)
        let message = withUnsafeBytes(of: UInt32(json.count).littleEndian) { Data($0) } + json + tensors
        try FileHandle(fileDescriptor: writing, closeOnDealloc: false).write(contentsOf: message)
    }

    private func read(_ count: Int) throws -> Data {
        let file = FileHandle(fileDescriptor: reading, closeOnDealloc: false)
        var found = Data()
        while found.count < count {
            guard let more = try file.read(upToCount: count - found.count), !more.isEmpty else {
                throw NextOmniError("the other side ended in the midst of a message")
            }
            found.append(more)
        }
        return found
    }
}

extension Tensor {
    fileprivate var type: String {
        if case .ints = self { return "int32" }
        return "float32"
    }

    fileprivate var bytes: Data {
        switch self {
        case .floats(let values, _): return values.withUnsafeBytes { Data($0) }
        case .ints(let values, _): return values.map(Int32.init(truncatingIfNeeded:)).withUnsafeBytes { Data($0) }
        }
    }
}

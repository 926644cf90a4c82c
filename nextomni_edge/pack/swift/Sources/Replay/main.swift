import Foundation
import NextOmniFlow

/// Replays a golden trace with components that another process answers over standard input and output: the loop by itself, on any
/// system. The other side, which compares, is tests/pack/replay.py.
///
/// A message is a length (4 bytes, little-endian), a JSON header of that length, and the tensors that the header lists, each 4 bytes a
/// value, little-endian: float32 or int32.
struct Header: Codable {
    struct Listed: Codable {
        let name, type: String
        let shape: [Int]
    }
    var component: String?  // asks for `outputs` of it
    var outputs: [String]?
    var error: String?
    var task: String?  // tells what a task of the trace gave
    var steps: [StepRecord]?
    var tokens: [[[Int]]]?
    var tensors: [Listed] = []
}

struct Pipe: Components {
    func run(_ component: String, _ inputs: [String: Tensor], outputs: [String]) throws -> [String: Tensor] {
        let listed = inputs.sorted { $0.key < $1.key }
        var header = Header(component: component, outputs: outputs)
        header.tensors = listed.map { name, tensor in
            if case .ints = tensor { return .init(name: name, type: "int32", shape: tensor.shape) }
            return .init(name: name, type: "float32", shape: tensor.shape)
        }
        try send(header, listed.reduce(into: Data()) { $0.append(bytes($1.value)) })
        let answer = try JSONDecoder().decode(Header.self, from: read(Int(length())))
        if let error = answer.error { throw NextOmniError(error) }
        return try Dictionary(uniqueKeysWithValues: answer.tensors.map { tensor in
            let values = try read(4 * tensor.shape.reduce(1, *)).withUnsafeBytes { buffer in
                stride(from: 0, to: buffer.count, by: 4).map { place in
                    Float(bitPattern: UInt32(littleEndian: buffer.loadUnaligned(fromByteOffset: place, as: UInt32.self)))
                }
            }
            return (tensor.name, .floats(values, shape: tensor.shape))
        })
    }

    func send(_ header: Header, _ tensors: Data = Data()) throws {
        let json = try JSONEncoder().encode(header)
        var message = withUnsafeBytes(of: UInt32(json.count).littleEndian) { Data($0) }
        message.append(json)
        message.append(tensors)
        try FileHandle.standardOutput.write(contentsOf: message)
    }

    private func bytes(_ tensor: Tensor) -> Data {
        switch tensor {
        case .floats(let values, _): return values.map(\.bitPattern.littleEndian).withUnsafeBytes { Data($0) }
        case .ints(let values, _): return values.map { Int32($0).littleEndian }.withUnsafeBytes { Data($0) }
        }
    }

    private func length() throws -> UInt32 { try read(4).reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) } }

    private func read(_ count: Int) throws -> Data {
        var found = Data()
        while found.count < count {
            guard let more = try FileHandle.standardInput.read(upToCount: count - found.count), !more.isEmpty else {
                throw NextOmniError("the other side ended in the midst of a message")
            }
            found.append(more)
        }
        return found
    }
}

/// `folder`: config.json, tokenizer.json, metric_tables.safetensors and golden.json, as a pack's Model folder has them.
func replay(_ folder: URL) throws {
    let configuration = try Configuration.read(folder.appendingPathComponent("config.json"))
    let tokenizer = try Tokenizer(folder.appendingPathComponent("tokenizer.json"), template: configuration.template())
    let tables = try configuration.metricTables(in: folder)
    let generator = Generator(Pipe(), configuration, tokenizer.special, tables: tables)
    let trace = try GoldenTrace.read(folder.appendingPathComponent("golden.json"))
    for task in trace.tasks {
        let (records, tokens) = try task.run(generator)
        try Pipe().send(Header(task: task.name, steps: records, tokens: tokens))
    }
}

do {
    guard CommandLine.arguments.count == 2 else { throw NextOmniError("usage: nextomni-replay FOLDER") }
    try replay(URL(fileURLWithPath: CommandLine.arguments[1]))
} catch {
    FileHandle.standardError.write(Data("error: \(error)\n".utf8))
    exit(1)
}

import Foundation
import NextOmniFlow

/// Times the loop by itself, without a model: `nextomni-bench FOLDER`, which benchmarks/swift_loop.py writes and reads.
///
/// FOLDER holds config.json, tokenizer.json, metric_tables.safetensors, logits.safetensors (rows, V) and runs.json. Every run prints a
/// line of JSON.
struct FixedComponents: Components {
    let logits: Tensor
    let width: Int

    func run(_ component: String, _ inputs: [String: Tensor], outputs: [String]) throws -> [String: Tensor] {
        if component == "text_head" { return ["logits": logits] }
        if component == "backbone", let given = inputs["embeddings"] { return ["hidden": given] }
        let rows = inputs["tokens"]?.shape[1] ?? 0
        return ["embeddings": .floats([Float](repeating: 1, count: rows * width), shape: [1, rows, width])]
    }
}

struct BenchRun: Decodable {
    let name: String
    let steps, topK: Int
    let temperature, topP: Double
}

struct Found: Encodable {
    let name: String
    let seconds: Double
    let tokens: [Int]
}

func timed<Value>(_ work: () throws -> Value) rethrows -> (Double, Value) {
    let clock = ContinuousClock(), start = clock.now
    let value = try work()
    let spent = clock.now - start
    return (Double(spent.components.seconds) + Double(spent.components.attoseconds) * 1e-18, value)
}

func report(_ found: Found) throws {
    try FileHandle.standardOutput.write(contentsOf: JSONEncoder().encode(found) + Data("\n".utf8))
}

func bench(_ folder: URL) throws {
    let configuration = try Configuration.read(folder.appendingPathComponent("config.json"))
    let tokenizer = try Tokenizer(folder.appendingPathComponent("tokenizer.json"))
    let (values, shape) = try SafeTensors(folder.appendingPathComponent("logits.safetensors")).floats("logits")
    let components = FixedComponents(logits: .floats(values, shape: [1] + shape), width: configuration.backbone.hiddenSize)
    let generator = try Generator(components, configuration, tokenizer.special, tables: configuration.metricTables(in: folder))
    let rows = [Int](repeating: 0, count: shape[0])
    let sequence = TokenSequence([.text([1, 2, 3]), .text(rows, frozen: false)])
    let runs = try JSONDecoder().decode([BenchRun].self, from: Data(contentsOf: folder.appendingPathComponent("runs.json")))
    for run in runs {
        let options = Options(steps: run.steps, temperature: run.temperature, topK: run.topK, topP: run.topP, seed: 7)
        let (seconds, finished) = try timed { try generator.generate(sequence, options) }
        try report(Found(name: run.name, seconds: seconds, tokens: finished.segments[1].tokens.map { $0[0] }))
    }
    let word = String(repeating: "drawaredrocket", count: 300)
    let (seconds, ids) = try timed { try tokenizer.encode(word) }
    try report(Found(name: "one word of \(word.count) letters", seconds: seconds, tokens: ids))
}

do {
    guard CommandLine.arguments.count == 2 else { throw NextOmniError("usage: nextomni-bench FOLDER") }
    try bench(URL(fileURLWithPath: CommandLine.arguments[1]))
} catch {
    FileHandle.standardError.write(Data("error: \(error)\n".utf8))
    exit(1)
}

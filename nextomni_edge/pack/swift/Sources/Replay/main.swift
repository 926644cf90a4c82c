import Foundation
import NextOmniFlow
import NextOmniPipe

/// Replays a golden trace with components that another process answers over standard input and output. The other side, which compares,
/// is tests/pack/replay.py.
struct Told: Encodable {
    let task: String
    let steps: [StepRecord]
    let tokens: [[[Int]]]
}

/// `folder`: config.json, tokenizer.json, metric_tables.safetensors and golden.json, as a pack's Model folder has them.
func replay(_ folder: URL) throws {
    let pipe = PipedComponents(), model = try Model(folder, pipe)
    for task in try GoldenTrace.read(folder.appendingPathComponent("golden.json")).tasks {
        let (records, tokens) = try task.run(model.generator)
        try pipe.tell(Told(task: task.name, steps: records, tokens: tokens))
    }
}

do {
    guard CommandLine.arguments.count == 2 else { throw NextOmniError("usage: nextomni-replay FOLDER") }
    try replay(URL(fileURLWithPath: CommandLine.arguments[1]))
} catch {
    FileHandle.standardError.write(Data("error: \(error)\n".utf8))
    exit(1)
}

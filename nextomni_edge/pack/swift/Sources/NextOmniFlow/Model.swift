/// The components' calls, as arrays of rows. (generate/model.py)
extension Generator {
    /// What the backbone sees of a whole sequence.
    func embeddings(_ sequence: TokenSequence) throws -> [[Float]] {
        try sequence.segments.flatMap { try $0.tokens.isEmpty ? [] : embeddings($0.modality, $0.tokens) }
    }

    func embeddings(_ modality: Modality, _ tokens: [[Int]]) throws -> [[Float]] {
        let shape = modality == .text ? [1, tokens.count] : [1, tokens.count, tokens[0].count]
        let inputs = [modality == .text ? "tokens" : "codes": Tensor.ints(tokens.flatMap { $0 }, shape: shape)]
        return rows(try output("embeddings", of: "embed_\(modality.rawValue)", inputs), configuration.backbone.hiddenSize)
    }

    /// Hidden states of whole sequences of one length, nothing cached.
    func backbone(_ branches: [[[Float]]]) throws -> [[[Float]]] {
        let (batch, length, shape) = (branches.count, branches[0].count, configuration.backbone)
        let past = Tensor.floats([], shape: [shape.layers, batch, shape.kvHeads, 0, shape.headDim])
        let hidden = try output(
            "hidden", of: "backbone",
            [
                "embeddings": .floats(branches.flatMap { $0.flatMap { $0 } }, shape: [batch, length, shape.hiddenSize]),
                "positions": .ints((0..<batch).flatMap { _ in 0..<length }, shape: [batch, length]),
                "attention_mask": .ints([Int](repeating: 1, count: batch * length), shape: [batch, length]),
                "past_keys": past, "past_values": past,
            ])
        let all = rows(hidden, shape.hiddenSize)
        return (0..<batch).map { Array(all[$0 * length..<($0 + 1) * length]) }
    }

    /// Logits by branch, row and sub-code.
    func head(_ modality: Modality, _ hidden: [[[Float]]], codes: [[Int]]?) throws -> [[[[Float]]]] {
        let (batch, count) = (hidden.count, hidden[0].count)
        var inputs = ["hidden": Tensor.floats(hidden.flatMap { $0.flatMap { $0 } }, shape: [batch, count, hidden[0][0].count])]
        if let codes {
            let flat = (0..<batch).flatMap { _ in codes.flatMap { $0 } }
            inputs["codes"] = .ints(flat, shape: [batch, count, codes[0].count])
        }
        let (codebooks, entries) = configuration.symbols(modality)
        let all = rows(try output("logits", of: "\(modality.rawValue)_head", inputs), entries)
        return (0..<batch).map { branch in
            (0..<count).map { row in
                let first = (branch * count + row) * codebooks
                return Array(all[first..<first + codebooks])
            }
        }
    }

    /// One output of a component. An output that is not finite is an error here, as it is in Python.
    public func output(_ name: String, of component: String, _ inputs: [String: Tensor]) throws -> [Float] {
        guard let found = try components.run(component, inputs)[name] else {
            throw NextOmniError("\(component) has no output \(name)")
        }
        guard found.values.allSatisfy(\.isFinite) else {
            throw NextOmniError("\(component): \(name) holds a value that is not finite")
        }
        return found.values
    }

    private func rows(_ values: [Float], _ width: Int) -> [[Float]] {
        stride(from: 0, to: values.count, by: width).map { Array(values[$0..<$0 + width]) }
    }
}

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

    /// Hidden states of rows of one length: whole sequences, or what stands behind prompts that see nothing of it.
    func backbone(_ branches: [[[Float]]], behind prompt: Prompt? = nil) throws -> [[[Float]]] {
        byBranch(try forward(branches, behind: prompt, outputs: ["hidden"])["hidden"]!, branches.count)
    }

    /// Prompts by themselves, with the keys and values that their responses will see.
    func prompt(_ branches: [[[Float]]]) throws -> Prompt {
        let found = try forward(branches, behind: nil, outputs: ["hidden", "keys", "values"])
        return Prompt(
            length: branches[0].count, hidden: byBranch(found["hidden"]!, branches.count),
            keys: found["keys"]!, values: found["values"]!)
    }

    private func forward(_ branches: [[[Float]]], behind prompt: Prompt?, outputs: [String]) throws -> [String: [Float]] {
        let (batch, rows, shape, past) = (branches.count, branches[0].count, configuration.backbone, prompt?.length ?? 0)
        let cache = [shape.layers, batch, shape.kvHeads, past, shape.headDim]
        return try self.outputs(
            outputs, of: "backbone",
            [
                "embeddings": .floats(branches.flatMap { $0.flatMap { $0 } }, shape: [batch, rows, shape.hiddenSize]),
                "positions": .ints((0..<batch).flatMap { _ in past..<past + rows }, shape: [batch, rows]),
                "attention_mask": .ints([Int](repeating: 1, count: batch * (past + rows)), shape: [batch, past + rows]),
                "past_keys": .floats(prompt?.keys ?? [], shape: cache), "past_values": .floats(prompt?.values ?? [], shape: cache),
            ])
    }

    private func byBranch(_ hidden: [Float], _ batch: Int) -> [[[Float]]] {
        let all = rows(hidden, configuration.backbone.hiddenSize), count = all.count / batch
        return (0..<batch).map { Array(all[$0 * count..<($0 + 1) * count]) }
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

    /// One output of a component.
    public func output(_ name: String, of component: String, _ inputs: [String: Tensor]) throws -> [Float] {
        try outputs([name], of: component, inputs)[name]!
    }

    /// Outputs of a component. An output that is not finite is an error here, as it is in Python.
    private func outputs(_ names: [String], of component: String, _ inputs: [String: Tensor]) throws -> [String: [Float]] {
        let found = try components.run(component, inputs, outputs: names)
        return try Dictionary(uniqueKeysWithValues: names.map { name in
            guard let values = found[name]?.values else { throw NextOmniError("\(component) has no output \(name)") }
            guard values.allSatisfy(\.isFinite) else {
                throw NextOmniError("\(component): \(name) holds a value that is not finite")
            }
            return (name, values)
        })
    }

    private func rows(_ values: [Float], _ width: Int) -> [[Float]] {
        stride(from: 0, to: values.count, by: width).map { Array(values[$0..<$0 + width]) }
    }
}

/// What the backbone keeps of the prompts of all branches. (generate/store.py)
struct Prompt {
    let length: Int
    let hidden: [[[Float]]]
    let keys, values: [Float]  // (layers,batch,kvHeads,length,headDim)
}

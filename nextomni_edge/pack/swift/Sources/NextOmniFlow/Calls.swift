/// The components' calls. Rows stand one after another. (generate/model.py)
extension Generator {
    /// What the backbone sees of a whole sequence.
    func embeddings(_ sequence: TokenSequence) throws -> [Float] {
        try sequence.segments.flatMap { try embeddings($0.modality, $0.tokens) }
    }

    func embeddings(_ modality: Modality, _ tokens: [[Int]]) throws -> [Float] {
        guard let first = tokens.first else { return [] }
        let shape = modality == .text ? [1, tokens.count] : [1, tokens.count, first.count]
        let inputs = [modality == .text ? "tokens" : "codes": Tensor.ints(tokens.flatMap { $0 }, shape: shape)]
        let size = tokens.count * configuration.backbone.hiddenSize
        return try output("embeddings", of: "embed_\(modality.rawValue)", inputs, size: size)
    }

    /// Hidden states of rows of one length: whole sequences, or what stands behind prompts that see nothing of it.
    func backbone(_ branches: [[Float]], behind prompt: Prompt? = nil) throws -> [[Float]] {
        let found = try forward(branches, behind: prompt, ["hidden": branches.count * branches[0].count])
        return split(found["hidden"] ?? [], branches.count)
    }

    /// Prompts by themselves, with the keys and values that their responses will see.
    func prompt(_ branches: [[Float]]) throws -> Prompt {
        let shape = configuration.backbone
        let rows = branches[0].count / shape.hiddenSize
        let kept = shape.layers * branches.count * shape.kvHeads * rows * shape.headDim
        let sizes = ["hidden": branches.count * branches[0].count, "keys": kept, "values": kept]
        let found = try forward(branches, behind: nil, sizes)
        return Prompt(
            length: rows, hidden: split(found["hidden"] ?? [], branches.count), keys: found["keys"] ?? [],
            values: found["values"] ?? [])
    }

    private func forward(_ branches: [[Float]], behind prompt: Prompt?, _ sizes: [String: Int]) throws -> [String: [Float]] {
        let (batch, shape, past) = (branches.count, configuration.backbone, prompt?.length ?? 0)
        let rows = branches[0].count / shape.hiddenSize
        let cache = [shape.layers, batch, shape.kvHeads, past, shape.headDim]
        return try outputs(
            sizes, of: "backbone",
            [
                "embeddings": .floats(branches.count == 1 ? branches[0] : branches.flatMap { $0 }, shape: [batch, rows, shape.hiddenSize]),
                "positions": .ints((0..<batch).flatMap { _ in past..<past + rows }, shape: [batch, rows]),
                "attention_mask": .ints([Int](repeating: 1, count: batch * (past + rows)), shape: [batch, past + rows]),
                "past_keys": .floats(prompt?.keys ?? [], shape: cache), "past_values": .floats(prompt?.values ?? [], shape: cache),
            ])
    }

    private func split(_ values: [Float], _ parts: Int) -> [[Float]] {
        if parts == 1 { return [values] }
        let size = values.count / parts
        return (0..<parts).map { Array(values[$0 * size..<($0 + 1) * size]) }
    }

    /// Logits (branches,rows,K,C) of `hidden` (branches,rows,H); every branch has `count` rows and the same codes.
    func head(_ modality: Modality, _ hidden: [Float], count: Int, codes: [[Int]]?) throws -> [Float] {
        let width = configuration.backbone.hiddenSize
        let batch = hidden.count / (count * width)
        var inputs = ["hidden": Tensor.floats(hidden, shape: [batch, count, width])]
        let (codebooks, entries) = configuration.symbols(modality)
        if let codes {
            inputs["codes"] = .ints((0..<batch).flatMap { _ in codes.flatMap { $0 } }, shape: [batch, count, codebooks])
        }
        return try output("logits", of: "\(modality.rawValue)_head", inputs, size: batch * count * codebooks * entries)
    }

    /// One output of a component. `size`: how many numbers it has; nil: any.
    public func output(_ name: String, of component: String, _ inputs: [String: Tensor], size: Int? = nil) throws -> [Float] {
        try outputs([name: size], of: component, inputs)[name] ?? []
    }

    /// One output of a component, with its shape.
    func shaped(_ name: String, of component: String, _ inputs: [String: Tensor]) throws -> (values: [Float], shape: [Int]) {
        guard let found = try components.run(component, inputs, outputs: [name])[name] else {
            throw NextOmniError("\(component) has no output \(name)")
        }
        return (try checked(found, name, of: component, nil), found.shape)
    }

    /// Outputs of a component by name, with how many numbers each has.
    private func outputs(_ sizes: [String: Int?], of component: String, _ inputs: [String: Tensor]) throws -> [String: [Float]] {
        let found = try components.run(component, inputs, outputs: sizes.keys.sorted())
        var values: [String: [Float]] = [:]
        for (name, size) in sizes {
            guard let own = found[name] else { throw NextOmniError("\(component) has no output \(name)") }
            values[name] = try checked(own, name, of: component, size)
        }
        return values
    }

    /// An output that is not finite is an error here, as it is in Python.
    private func checked(_ output: Tensor, _ name: String, of component: String, _ size: Int?) throws -> [Float] {
        let values = output.values
        if let size, values.count != size { throw NextOmniError("\(component): \(name) has \(values.count) numbers, expected \(size)") }
        guard allFinite(values) else { throw NextOmniError("\(component): \(name) holds a value that is not finite") }
        return values
    }
}

/// What the backbone keeps of the prompts of all branches. (generate/store.py)
struct Prompt {
    let length: Int
    let hidden: [[Float]]
    let keys, values: [Float]  // (layers,batch,kvHeads,length,headDim)
}

@testable import NextOmniFlow

/// A model of small whole numbers, which float32 holds exactly. (tests/pack/integers.py)
struct IntegerComponents: Components {
    let modulus = 97
    let configuration: Configuration

    func run(_ component: String, _ inputs: [String: Tensor], outputs: [String]) throws -> [String: Tensor] {
        let width = configuration.backbone.hiddenSize
        if component.hasPrefix("embed_") { return ["embeddings": embed((inputs["tokens"] ?? inputs["codes"])!, width)] }
        if component == "backbone" { return backbone(inputs, width) }
        let modality = Modality(rawValue: String(component.dropLast("_head".count)))!
        return ["logits": head(inputs["hidden"]!, inputs["codes"], configuration.symbols(modality), width)]
    }

    private func whole(_ tensor: Tensor) -> [Int] { tensor.values.map { Int($0) } }

    private func embed(_ tokens: Tensor, _ width: Int) -> Tensor {
        let shape = tokens.shape, all = whole(tokens)
        let codebooks = shape.count == 3 ? shape[2] : 1
        var out: [Float] = []
        for first in stride(from: 0, to: all.count, by: codebooks) {
            for h in 0..<width {
                var sum = 0
                for k in 0..<codebooks { sum += all[first + k] * (31 + 2 * k) + h * 17 }
                out.append(Float(sum % modulus))
            }
        }
        return .floats(out, shape: [shape[0], shape[1], width])
    }

    /// Every row sees the sum of all rows, and of what is kept; keys and values are the hidden states, split by layer and head.
    private func backbone(_ inputs: [String: Tensor], _ width: Int) -> [String: Tensor] {
        let embeddings = inputs["embeddings"]!, past = inputs["past_keys"]!
        let shape = embeddings.shape, all = whole(embeddings), places = whole(inputs["positions"]!), kept = whole(past)
        let (layers, batch, heads, size) = (past.shape[0], past.shape[1], past.shape[2], past.shape[4])
        func key(_ layer: Int, _ place: Int, _ head: Int, _ row: Int, of rows: Int) -> Int {
            (((layer * batch + place) * heads + head) * rows + row) * size
        }
        var out = [Float](repeating: 0, count: all.count), keys = out
        for place in 0..<batch {
            let first: Int = place * shape[1]
            for h in 0..<width {
                let (layer, head, d) = (h / (heads * size), h / size % heads, h % size)
                var sum = 0
                for row in 0..<past.shape[3] { sum += kept[key(layer, place, head, row, of: past.shape[3]) + d] }
                for row in 0..<shape[1] { sum += all[(first + row) * width + h] }
                for row in 0..<shape[1] {
                    let at: Int = (first + row) * width + h
                    let value: Int = 3 * all[at] + sum + 7 * places[first + row] + h
                    out[at] = Float(value % modulus)
                    keys[key(layer, place, head, row, of: shape[1]) + d] = out[at]
                }
            }
        }
        let cache = Tensor.floats(keys, shape: [layers, batch, heads, shape[1], size])
        return ["hidden": .floats(out, shape: shape), "keys": cache, "values": cache]
    }

    private func head(_ hidden: Tensor, _ codes: Tensor?, _ size: (codebooks: Int, entries: Int), _ width: Int) -> Tensor {
        let all = whole(hidden), before = codes.map(whole)
        var out: [Float] = []
        for row in 0..<all.count / width {
            var state = 0
            for h in 0..<width { state += all[row * width + h] * (h + 1) }
            for k in 0..<size.codebooks {
                let earlier: Int = k > 0 ? (before?[row * size.codebooks + k - 1] ?? 0) : 0
                for c in 0..<size.entries {
                    let total: Int = state + 13 * c * c + 29 * k + 11 * earlier * c
                    out.append(Float(total % modulus) / 16)
                }
            }
        }
        return .floats(out, shape: [hidden.shape[0], hidden.shape[1], size.codebooks, size.entries])
    }
}

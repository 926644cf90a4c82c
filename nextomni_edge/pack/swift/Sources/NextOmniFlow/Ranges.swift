/// The range of every number of a configuration that the loop computes with. (config/ranges.py, config/model.py)
extension Configuration {
    func check() throws {
        try backbone.check()
        try text.check()
        try image?.check()
        try audio?.check()
        try expect("logit_shift", logitShift, 0...1)
        for (name, path) in [("text", flow.text), ("image", flow.image), ("audio", flow.audio)] { try path?.check("flow.\(name)") }
    }
}

private func expect<Value: Comparable>(_ name: String, _ value: Value?, _ range: ClosedRange<Value>) throws {
    guard let value, !range.contains(value) else { return }
    throw NextOmniError("model config: \(name) is \(value), expected \(range.lowerBound) to \(range.upperBound)")
}

extension Configuration.Backbone {
    fileprivate func check() throws {
        try expect("backbone.hidden_size", hiddenSize, 1...1 << 17)
        try expect("backbone.layers", layers, 1...1 << 10)
        try expect("backbone.query_heads", queryHeads, 1...1 << 12)
        try expect("backbone.kv_heads", kvHeads, 1...1 << 12)
        try expect("backbone.max_positions", maxPositions, 1...1 << 22)
        guard hiddenSize % queryHeads == 0 else {
            throw NextOmniError("model config: backbone.hidden_size is \(hiddenSize), expected a multiple of query_heads, \(queryHeads)")
        }
        if let attention, !["full", "prefix"].contains(attention) {
            throw NextOmniError("model config: backbone.attention is '\(attention)', expected 'full' or 'prefix'")
        }
    }
}

extension Configuration.Text {
    fileprivate func check() throws {
        try expect("text.vocabulary_size", vocabularySize, 1...1 << 22)
        try expect("text.block_size", blockSize, 1...1 << 16)
        try expect("text.max_blocks", maxBlocks, 1...1 << 16)
        try expect("text.canvas", canvas, 1...1 << 20)
    }
}

extension Configuration.Codebook {
    fileprivate func check(_ name: String) throws {
        try expect("\(name).codebook.codebooks", codebooks, 1...1 << 8)
        try expect("\(name).codebook.entries", entries, 1...1 << 20)
    }
}

extension Configuration.Image {
    fileprivate func check() throws {
        try expect("image.size", size, 1...1 << 13)
        try expect("image.patch", patch, 1...1 << 12)
        try expect("image.max_frames", maxFrames, 1...1 << 12)
        try codebook.check("image")
        guard size % patch == 0 else {
            throw NextOmniError("model config: image.size is \(size), expected a multiple of patch, \(patch)")
        }
    }
}

extension Configuration.Audio {
    fileprivate func check() throws {
        try expect("audio.sample_rate", sampleRate, 1...1 << 20)
        try expect("audio.hop", hop, 1...1 << 16)
        try expect("audio.frames_per_token", framesPerToken, 1...1 << 12)
        try expect("audio.max_seconds", maxSeconds, 0.001...86_400)
        try expect("audio.n_fft", nFft, 1...1 << 16)
        try expect("audio.mels", mels, 1...1 << 12)
        try codebook.check("audio")
    }
}

extension Configuration.Path {
    fileprivate func check(_ name: String) throws {
        try expect("\(name).c", c, 1e-30...1e6)
        try expect("\(name).a", a, 1e-30...50)
        try expect("\(name).temperature", temperature, 0...1e6)
        try expect("\(name).guidance", guidance, 0...1e6)
        try expect("\(name).steps", steps, 1...1 << 16)
        try expect("\(name).mask", mask, 0...1 << 30)
        try commit?.check("\(name).commit")
    }
}

extension CommitRule {
    fileprivate func check(_ name: String) throws {
        try expect("\(name).block", block, 0...1 << 30)
        try expect("\(name).threshold", threshold, 0...1)
        try expect("\(name).top_k", topK, 0...1 << 30)
        try expect("\(name).top_p", topP, 1e-9...1)
        try expect("\(name).draw_temperature", drawTemperature, 0...1e6)
    }
}

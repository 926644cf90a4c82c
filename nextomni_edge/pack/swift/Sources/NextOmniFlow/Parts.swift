/// A text in two parts: its first tokens, then the rest, which sees them as given. (generate/lead.py)
extension Generator {
    func inParts(_ sequence: TokenSequence, _ options: Options, _ observe: (StepRecord) -> Void) throws -> TokenSequence {
        let at = sequence.generated[0], length = sequence.segments[at].tokens.count, grows = options.maxBlocks != nil
        var (cut, own) = (sequence, options)
        let count = grows ? options.leadTokens : min(options.leadTokens, length)
        cut.segments[at].tokens = [[Int]](repeating: [0], count: count)
        (own.leadTokens, own.maxBlocks, own.extend) = (0, nil, .first)
        let first = try naming("first tokens") { try together(cut, own, observe).segments[at].tokens }
        var whole = first
        let left = self.left(length, behind: first.count, grows)
        if left > 0 && !first.contains([special.eos]) {
            whole += try naming("behind the first tokens") { try rest(sequence, options, first, left, observe) }
        }
        whole += [[Int]](repeating: [special.pad], count: max(0, length - whole.count))
        var found = sequence
        found.segments[at].tokens = whole
        return found
    }

    /// How many tokens stand behind the first ones.
    private func left(_ length: Int, behind first: Int, _ grows: Bool) -> Int {
        let size = configuration.text.blockSize
        return length > first || !grows ? length - first : size - first % size
    }

    private func rest(
        _ sequence: TokenSequence, _ options: Options, _ first: [[Int]], _ count: Int, _ observe: (StepRecord) -> Void
    ) throws -> [[Int]] {
        let at = sequence.generated[0], zeros = [[Int]](repeating: [0], count: count)
        var (given, own) = (sequence, options)
        given.segments.replaceSubrange(at...at, with: [Segment(.text, first), Segment(.text, zeros, frozen: false)])
        (own.leadTokens, own.maxBlocks) = (0, options.maxBlocks.map { $0 - options.leadTokens / configuration.text.blockSize })
        let finished = try together(given, own) { record in
            observe(StepRecord(step: options.steps + record.step, xt: first + record.xt, x1: record.x1.map { first + $0 }))
        }
        return finished.segments[at + 1].tokens
    }

    private func naming<Value>(_ part: String, _ run: () throws -> Value) throws -> Value {
        do { return try run() } catch let error as NextOmniError { throw NextOmniError("\(part): \(error)") }
    }
}

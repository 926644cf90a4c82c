/// The length of a text: as given, or found by the confidence of its end. (generate/blocks.py)
extension Generator {
    /// The sequence at the length to denoise, where the length is found first.
    func grown(_ sequence: TokenSequence, _ options: Options) throws -> TokenSequence {
        var found = sequence
        guard options.extend == .first else { return found }
        while let longer = longer(found, options) {
            try Task.checkCancellation()
            var run = try Run(self, found, options)
            do {
                if try run.confidence() >= options.eosThreshold { break }
            } catch let error as NextOmniError { throw NextOmniError("finding the length, before step 0: \(error)") }
            found = longer
        }
        return found
    }

    /// The sequence with one more block; nil where it may not grow.
    func longer(_ sequence: TokenSequence, _ options: Options) -> TokenSequence? {
        guard let most = options.maxBlocks, let at = sequence.generated.first else { return nil }
        let size = configuration.text.blockSize
        let blocks = (sequence.segments[at].tokens.count + size - 1) / size  // the first is begun behind lead tokens
        guard blocks < most else { return nil }
        var found = sequence
        found.segments[at].tokens += [[Int]](repeating: [0], count: size)
        return found
    }
}

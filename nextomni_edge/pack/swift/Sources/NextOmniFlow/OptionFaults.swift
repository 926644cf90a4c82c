/// What is wrong with options, in Python's words. (generate/faults.py)
struct Faults {
    private var sentences: [String] = []

    mutating func refuse(_ wrong: Bool, _ sentence: @autoclosure () -> String) {
        if wrong { sentences.append(sentence()) }
    }

    /// Throws one sentence that names every fault.
    func check() throws {
        if !sentences.isEmpty { throw NextOmniError(sentences.joined(separator: "; ")) }
    }
}

extension Options {
    /// Throws one sentence that names every value that is out of its range.
    public func check() throws {
        var faults = Faults()
        refuseRanges(&faults)
        refuseGrid(&faults)
        refuseUnmeant(&faults)
        try faults.check()
    }

    // a comparison with NaN is false
    private func refuseRanges(_ faults: inout Faults) {
        let share = 0.0...1.0
        func finite(_ value: Double) -> Bool { value >= 0 && value < .infinity }
        func refuse(_ name: String, _ value: Double?, _ fits: (Double) -> Bool, _ expected: String) {
            if let value { faults.refuse(!fits(value), "\(name) is \(value), expected \(expected)") }
        }
        func refuse(_ name: String, _ value: Int?, least: Int) {
            if let value { faults.refuse(value < least, "\(name) is \(value), expected at least \(least)") }
        }
        refuse("steps", steps, least: 1)
        refuse("temperature", temperature, finite, "a finite number from 0")
        refuse("draw_temperature", drawTemperature, finite, "a finite number from 0")
        refuse("top_k", topK, least: 0)
        refuse("top_p", topP, { $0 > 0 && $0 <= 1 }, "over 0 and at most 1")
        refuse("guidance", guidance, finite, "a finite number from 0")
        refuse("guidance_image", guidanceImage, finite, "a finite number from 0")
        refuse("guidance_until", guidanceUntil, share.contains, "0 to 1")
        refuse("block", block, least: 0)
        refuse("threshold", threshold, share.contains, "0 to 1")
        refuse("lead_tokens", leadTokens, least: 0)
        refuse("max_blocks", maxBlocks, least: 1)
        refuse("eos_threshold", eosThreshold, { $0 > 0 && $0 < 1 }, "between 0 and 1")
        refuse("extend_until", extendUntil, share.contains, "0 to 1")
    }

    private func refuseGrid(_ faults: inout Faults) {
        guard let first = grid.first, let last = grid.last else { return }
        let needed = steps.addingReportingOverflow(1).partialValue
        faults.refuse(grid.count != needed, "grid has \(grid.count) times, expected \(needed) for \(steps) steps")
        faults.refuse(!(first == 0 && last == 1), "grid goes from \(first) to \(last), expected 0 to 1")
        faults.refuse(
            !zip(grid, grid.dropFirst()).allSatisfy { $0 < $1 }, "grid does not rise from each time to the next")
    }

    private func refuseUnmeant(_ faults: inout Faults) {
        func noDraw(_ name: String) -> String {
            "\(name) means nothing at temperature 0: raise the temperature or leave \(name) out"
        }
        faults.refuse(
            guidanceUntil < 1 && !guided, "guidance_until is for guidance: give a scale, or leave guidance_until out")
        faults.refuse(temperature == 0 && topK > 0, noDraw("top_k"))
        faults.refuse(temperature == 0 && topP < 1, noDraw("top_p"))
    }

    /// Throws one sentence about options that do not fit what is generated.
    func check(_ configuration: Configuration, _ modality: Modality) throws {
        try check()
        var faults = Faults()
        refuseStepper(&faults, configuration.path(modality), modality)
        refuseCommit(&faults)
        refuseLength(&faults, configuration.text, modality)
        try faults.check()
    }

    private func refuseStepper(_ faults: inout Faults, _ path: Configuration.Path, _ modality: Modality) {
        let rules: [Stepper] = path.commit == nil ? [.euler, .corrected] : [.commit]
        let named = rules.map(\.rawValue).joined(separator: ", ")
        faults.refuse(
            !rules.contains(stepper), "stepper is '\(stepper.rawValue)': the path of \(modality.rawValue) has \(named)")
    }

    private func refuseCommit(_ faults: inout Faults) {
        let commits = stepper == .commit
        faults.refuse(
            !commits && (block != nil || threshold != nil), "block and threshold are for the stepper commit: leave them out")
        faults.refuse(
            !commits && drawTemperature != nil, "draw_temperature is for the stepper commit: leave it out")
        for (name, meant) in [("max_blocks", maxBlocks != nil), ("lead_tokens", leadTokens > 0), ("grid", !grid.isEmpty)] {
            faults.refuse(commits && meant, "\(name) means nothing for the stepper commit: leave it out")
        }
    }

    private func refuseLength(_ faults: inout Faults, _ text: Configuration.Text, _ modality: Modality) {
        let isText = modality == .text, name = modality.rawValue
        faults.refuse(maxBlocks != nil && !isText, "max_blocks is for text, but \(name) is generated")
        faults.refuse(block != nil && !isText, "block is for text, but \(name) is generated")
        faults.refuse(
            maxBlocks == nil && extend != .first, "extend means nothing at a fixed length: give max_blocks")
        if let maxBlocks {
            faults.refuse(
                maxBlocks > text.maxBlocks, "max_blocks is \(maxBlocks), the model takes at most \(text.maxBlocks)")
        }
        guard leadTokens > 0 else { return }
        faults.refuse(!isText, "lead_tokens is for text, but \(name) is generated")
        faults.refuse(text.canvas != nil, "lead_tokens: this model answers on a canvas of one size")
        faults.refuse(
            isText && guidance > 0, "lead_tokens: guidance's unconditional branch would lose them")
        if let maxBlocks {
            let (most, over) = maxBlocks.multipliedReportingOverflow(by: text.blockSize)
            faults.refuse(
                !over && leadTokens >= most,
                "lead_tokens is \(leadTokens), max_blocks \(maxBlocks) allows no more than \(most) in all")
        }
    }
}

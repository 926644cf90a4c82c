/// The forwards of one run: its sequence, and with guidance the sequences that it is compared with. (generate/trunk.py)
struct Trunk {
    /// The embeddings of a whole sequence, and the positions of its generated rows.
    private struct Branch {
        var embeddings: [[Float]]
        let rows: [Int]
    }

    let generator: Generator
    let modality: Modality
    private let promptLength: Int
    private var branches: [Branch]
    private var prompt: Prompt?  // where it sees nothing of the response, it is computed once
    private var computed: [[Int]]?  // x_t of the last forward
    private(set) var hidden: [[[Float]]] = []  // of each branch, the states that the rows are predicted from

    /// Throws a sentence about a sequence that the model does not take.
    init(_ generator: Generator, _ sequence: TokenSequence, _ options: Options) throws {
        try sequence.check(generator.configuration)
        let generated = sequence.generated
        guard let first = generated.first, Set(generated.map { sequence.segments[$0].modality }).count == 1 else {
            throw NextOmniError("a run generates one modality: append a response, and one at a time")
        }
        let limit = generator.configuration.backbone.maxPositions
        guard sequence.length <= limit else {
            throw NextOmniError("sequence of \(sequence.length) positions: the model takes at most \(limit)")
        }
        guard sequence.promptLength >= generator.configuration.logitShift else {
            throw NextOmniError("the first row has none before it to be predicted from: give a prompt before the response")
        }
        (self.generator, modality, promptLength) = (generator, sequence.segments[first].modality, sequence.promptLength)
        let compared = options.guided ? generator.unconditional(sequence, modality) : []
        branches = try ([sequence] + compared).map { Branch(embeddings: try generator.embeddings($0), rows: $0.generatedRows) }
    }

    /// `hidden` of x_t: a forward where a token changed.
    mutating func refresh(_ xt: [[Int]]) throws {
        if computed == xt { return }
        let fresh = try generator.embeddings(modality, xt)
        for branch in branches.indices {
            for (place, row) in branches[branch].rows.enumerated() { branches[branch].embeddings[row] = fresh[place] }
        }
        let shift = generator.configuration.logitShift
        hidden = zip(try states(), branches).map { states, branch in branch.rows.map { states[$0 - shift] } }
        computed = xt
    }

    /// Hidden states of each branch. With prefix attention, only the response's rows are computed again.
    private mutating func states() throws -> [[[Float]]] {
        let all = branches.map(\.embeddings)
        guard Set(all.map(\.count)).count == 1 else { return try all.map { try generator.backbone([$0])[0] } }
        let length = generator.configuration.backbone.prefix ? promptLength : 0
        guard length > 0 else { return try generator.backbone(all) }
        let kept = try prompt ?? generator.prompt(all.map { Array($0[..<length]) })
        prompt = kept
        let response = try generator.backbone(all.map { Array($0[length...]) }, behind: kept)
        return zip(kept.hidden, response).map { $0 + $1 }
    }

    /// Guided logits by row and sub-code. An autoregressive head reads the sub-codes before each.
    func logits(_ options: Options, codes: [[Int]]?) throws -> [[[Float]]] {
        let found = try generator.head(modality, hidden, codes: codes)
        guard found.count > 1 else { return found[0] }
        let scales = [options.guidance, options.guidanceImage]
        return try found[0].indices.map { row in
            try found[0][row].indices.map { k in
                let own = guided(found[0][row][k], zip(found[1...], scales).map { ($0[row][k], $1) })
                guard own.allSatisfy(\.isFinite) else {
                    throw NextOmniError("\(modality.rawValue)_head: a logit under guidance is not finite at sub-code \(k) of row \(row)")
                }
                return own
            }
        }
    }
}

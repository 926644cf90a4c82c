/// The forwards of one run: its sequence, and with guidance the sequences that it is compared with. (generate/trunk.py)
struct Trunk {
    /// The embeddings of a whole sequence, row after row, and the positions of its generated rows.
    private struct Branch {
        var embeddings: [Float]
        let rows: [Int]
    }

    let generator: Generator
    let modality: Modality
    private let guidanceUntil: Double
    private let promptLength: Int
    private let width: Int
    private var branches: [Branch]
    private var prompt: Prompt?  // where it sees nothing of the response, it is computed once
    private var computed: [[Int]] = []  // x_t of the last forward
    private(set) var hidden: [[Float]] = []  // of each branch, the states that the rows are predicted from, row after row

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
        (guidanceUntil, width) = (options.guidanceUntil, generator.configuration.backbone.hiddenSize)
        guard guidanceUntil == 1 || !generator.configuration.backbone.prefix else {
            throw NextOmniError("guidance_until is for models and caches that keep no keys and values")
        }
        let compared = options.guided ? generator.unconditional(sequence, modality) : []
        branches = try ([sequence] + compared).map { Branch(embeddings: try generator.embeddings($0), rows: $0.generatedRows) }
    }

    /// Whether predictions will change although no token does: guidance will end.
    var changesLater: Bool { branches.count > 1 && guidanceUntil < 1 }

    /// The time of the coming forwards. Behind the end of guidance they have one branch, and all is computed again.
    mutating func at(_ t: Double) {
        if t > guidanceUntil && branches.count > 1 { (branches, computed) = (Array(branches[..<1]), []) }
    }

    /// `hidden` of x_t: a forward where a token changed. The rows that have new states.
    mutating func refresh(_ xt: [[Int]]) throws -> [Int] {
        if computed == xt { return [] }
        let changed = computed.isEmpty ? Array(xt.indices) : xt.indices.filter { xt[$0] != computed[$0] }
        let fresh = try generator.embeddings(modality, changed.map { xt[$0] })
        for branch in branches.indices {
            for (place, row) in changed.enumerated() {
                let at = branches[branch].rows[row] * width
                branches[branch].embeddings.replaceSubrange(at..<at + width, with: fresh[place * width..<(place + 1) * width])
            }
        }
        let shift = generator.configuration.logitShift
        hidden = zip(try states(), branches).map { states, branch in
            branch.rows.flatMap { states[($0 - shift) * width..<($0 - shift + 1) * width] }
        }
        computed = xt
        return Array(xt.indices)
    }

    /// The states of some rows, those of the next branch behind those of each.
    func states(of rows: [Int]) -> [Float] {
        if rows.count * width == hidden[0].count && hidden.count == 1 { return hidden[0] }
        return hidden.flatMap { states in rows.flatMap { states[$0 * width..<($0 + 1) * width] } }
    }

    /// Hidden states of each branch. With prefix attention, only the response's rows are computed again.
    private mutating func states() throws -> [[Float]] {
        let all = branches.map(\.embeddings)
        guard Set(all.map(\.count)).count == 1 else { return try all.map { try generator.backbone([$0])[0] } }
        let length = generator.configuration.backbone.prefix ? promptLength : 0
        guard length > 0 else { return try generator.backbone(all) }
        let kept = try prompt ?? generator.prompt(all.map { Array($0[..<(length * width)]) })
        prompt = kept
        let response = try generator.backbone(all.map { Array($0[(length * width)...]) }, behind: kept)
        return zip(kept.hidden, response).map { $0 + $1 }
    }
}

/// An answer on its way.
public enum Progress: Sendable {
    /// The answer as it stands in a step.
    case step(Moment)
    /// The whole answer.
    case done(Content)
}

/// The answer as it stands in one step; `Model.content(of:for:)` decodes it where it is looked at.
public struct Moment: Sendable {
    public let step, steps: Int
    /// The sequence with x_t in its generated rows.
    public let sequence: TokenSequence
    /// The sequence with what the model predicts of its end, x_1; nil where it was not asked.
    public let predicted: TokenSequence?

    init(_ sequence: TokenSequence, _ record: StepRecord, _ options: Options) {
        func holding(_ rows: [[Int]]) -> TokenSequence {
            guard sequence.generated.count == 1 else { return sequence.filled(rows) }
            var found = sequence  // a text may have grown
            found.segments[sequence.generated[0]].tokens = rows
            return found
        }
        (step, steps) = (record.step, options.steps * (options.leadTokens > 0 ? 2 : 1))
        (self.sequence, predicted) = (holding(record.xt), record.x1.map(holding))
    }
}

/// A conversation with a model: what was said stays, and each answer sees it.
public actor Conversation {
    public let model: Model
    /// What was said so far.
    public private(set) var turns: [Turn] = []
    private var answering = false
    /// Whether an answer is on its way.
    public var busy: Bool { answering }

    public init(_ model: Model) { self.model = model }

    /// Begin again.
    public func reset() { turns = [] }

    /// The whole answer. `options`: nil takes the model's own.
    public func answer(_ prompt: [Content], for answer: Answer = .text(blocks: 1), _ options: Options? = nil) async throws -> Content {
        for try await progress in stream(prompt, for: answer, options) {
            if case .done(let content) = progress { return content }
        }
        throw CancellationError()
    }

    /// The answer as it forms, step by step, and in the end the whole. Dropping the stream, or cancelling the task that reads it, stops
    /// the computation before its next step. A stream that fails or is dropped leaves the conversation as it was.
    public nonisolated func stream(
        _ prompt: [Content], for answer: Answer = .text(blocks: 1), _ options: Options? = nil
    ) -> AsyncThrowingStream<Progress, any Error> {
        AsyncThrowingStream { continuation in
            let task = Task.detached(priority: .userInitiated) {
                do {
                    try await self.run(prompt, answer, options) { continuation.yield($0) }
                    continuation.finish()
                } catch { continuation.finish(throwing: error) }
            }
            continuation.onTermination = { _ in task.cancel() }
        }
    }

    private nonisolated func run(
        _ prompt: [Content], _ answer: Answer, _ options: Options?, _ yield: @Sendable (Progress) -> Void
    ) async throws {
        let before = try await begin()
        do {
            let (turn, finished) = try await generate(before, prompt, answer, options ?? model.options(for: answer), yield)
            let content = try model.content(of: finished, for: answer)
            try Task.checkCancellation()
            await end(with: [turn, Turn(.assistant, [said(content, finished)])])
            yield(.done(content))
        } catch {
            await end(with: [])
            throw error
        }
    }

    private nonisolated func generate(
        _ before: [Turn], _ prompt: [Content], _ answer: Answer, _ options: Options, _ yield: (Progress) -> Void
    ) async throws -> (Turn, TokenSequence) {
        try options.check(model.configuration, answer.modality)
        try await model.prepare(for: answer, to: prompt)
        let turn = Turn(.user, try prompt.map(model.part))
        let segments = try model.tokenizer.conversation(before + [turn], for: answer)
        let sequence = try model.tokenizer.respond(to: segments, with: answer, model.configuration)
        let limit = model.configuration.backbone.maxPositions
        guard sequence.length <= limit else {
            throw NextOmniError(
                "the conversation and its answer are \(sequence.length) positions, the model takes \(limit); shorten it")
        }
        return (turn, try model.generator.generate(sequence, options) { yield(.step(Moment(sequence, $0, options))) })
    }

    /// An answer as the next one sees it.
    private nonisolated func said(_ content: Content, _ finished: TokenSequence) -> Part {
        let parts = finished.generated.map { finished.segments[$0].tokens }
        switch content {
        case .text(let text): return .text(text)
        case .image: return .image(parts.flatMap { $0 })
        case .audio: return .audio(parts.flatMap { $0 })
        case .video: return .video(parts)
        }
    }

    private func begin() throws -> [Turn] {
        guard !answering else { throw NextOmniError("this conversation is answering; wait for the answer, or cancel it") }
        answering = true
        return turns
    }

    private func end(with said: [Turn]) {
        answering = false
        turns += said
    }
}

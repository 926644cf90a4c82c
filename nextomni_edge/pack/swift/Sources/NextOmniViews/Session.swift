#if canImport(SwiftUI)
    import NextOmniCoreML
    import NextOmniFlow
    import SwiftUI

    /// What the sample's view shows, and what it asks of the model.
    @available(iOS 18, macOS 15, *)
    @MainActor @Observable
    public final class Session {
        enum Kind: String, CaseIterable, Identifiable {
            case text, image, audio
            var id: String { rawValue }
        }

        var words = ""
        var photo: Picture?
        var clip: Sound?
        var kind = Kind.text
        private(set) var shown: Content?
        private(set) var share = 0.0  // of the steps that are done
        private(set) var fault: String?
        private(set) var answering = false

        private var chat: Conversation?
        private var task: Task<Void, Never>?

        public init() {}

        private func conversation() throws -> Conversation {
            if let chat { return chat }
            let made = Conversation(try Model.packed())
            chat = made
            return made
        }

        private func answer(of model: Model) -> Answer {
            switch kind {
            case .text: return .text(blocks: 1)
            case .image: return .image
            case .audio: return .audio(tokens: model.configuration.audio?.maxPositions ?? 1)
            }
        }

        /// What the prompt holds now.
        private var prompt: [Content] {
            var found: [Content] = []
            if let photo { found.append(.image(photo)) }
            if let clip { found.append(.audio(clip)) }
            if !words.isEmpty { found.append(.text(words)) }
            return found
        }

        func ask() {
            (fault, share, answering) = (nil, 0, true)
            task = Task {
                do { try await follow() } catch is CancellationError {} catch { fault = "\(error)" }
                answering = false
            }
        }

        func stop() { task?.cancel() }

        /// Show the answer as it forms.
        private func follow() async throws {
            let chat = try conversation(), model = chat.model, answer = answer(of: model)
            for try await progress in chat.stream(prompt, for: answer) {
                switch progress {
                case .step(let moment):
                    share = Double(moment.step + 1) / Double(moment.steps)
                    guard let predicted = moment.predicted, kind != .audio else { continue }
                    shown = try await Task.detached { try model.content(of: predicted, for: answer) }.value
                case .done(let content): (shown, share) = (content, 1)
                }
            }
        }
    }
#endif

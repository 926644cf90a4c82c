#if canImport(SwiftUI) && canImport(AVFoundation)
    import AVFoundation
    import NextOmniFlow

    /// The microphone. An app names its reason in NSMicrophoneUsageDescription.
    final class Recorder: @unchecked Sendable {
        private let engine = AVAudioEngine()
        private let lock = NSLock()
        private var samples: [Float] = []  // under the lock
        private var rate = 0

        func start() throws {
            let input = engine.inputNode, format = input.outputFormat(forBus: 0)
            lock.withLock { (samples, rate) = ([], Int(format.sampleRate)) }
            input.installTap(onBus: 0, bufferSize: 4096, format: format) { [weak self] buffer, _ in
                guard let self, let channel = buffer.floatChannelData?[0] else { return }
                let heard = UnsafeBufferPointer(start: channel, count: Int(buffer.frameLength))
                self.lock.withLock { self.samples.append(contentsOf: heard) }
            }
            engine.prepare()
            try engine.start()
        }

        /// What was heard. Throws a sentence where it was nothing.
        func stop() throws -> Sound {
            engine.inputNode.removeTap(onBus: 0)
            engine.stop()
            let (heard, rate) = lock.withLock { (samples, self.rate) }
            return try Sound(channels: [heard], rate: rate)
        }
    }
#endif

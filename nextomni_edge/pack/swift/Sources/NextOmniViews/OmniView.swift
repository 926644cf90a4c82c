#if canImport(SwiftUI) && canImport(PhotosUI)
    import AVFoundation
    import ImageIO
    import NextOmniCoreML
    import NextOmniFlow
    import PhotosUI
    import SwiftUI

    /// A prompt of words, a photo and a voice, and its answer while it forms. A sample to begin an app with.
    @available(iOS 18, macOS 15, *)
    public struct OmniView: View {
        @State private var session = Session()
        @State private var picked: PhotosPickerItem?
        @State private var recorder: Recorder?

        public init() {}

        public var body: some View {
            VStack(spacing: 12) {
                Picker("Answer", selection: $session.kind) {
                    ForEach(Session.Kind.allCases) { Text($0.rawValue.capitalized).tag($0) }
                }
                .pickerStyle(.segmented)
                AnswerView(content: session.shown)
                if session.answering { ProgressView(value: session.share) }
                if let fault = session.fault { Text(fault).foregroundStyle(.red) }
                TextField("Say what you want", text: $session.words)
                    .textFieldStyle(.roundedBorder)
                    .onSubmit(session.ask)
                HStack {
                    PhotosPicker(session.photo == nil ? "Photo" : "Another photo", selection: $picked, matching: .images)
                    Button(recorder == nil ? "Record" : "Stop recording", action: record)
                    Spacer()
                    Button(session.answering ? "Stop" : "Ask", action: session.answering ? session.stop : session.ask)
                        .buttonStyle(.borderedProminent)
                }
            }
            .padding()
            .onChange(of: picked) { _, item in Task { await take(item) } }
        }

        /// A photo as its camera means it to be seen.
        private func take(_ item: PhotosPickerItem?) async {
            guard let data = try? await item?.loadTransferable(type: Data.self),
                let source = CGImageSourceCreateWithData(data as CFData, nil),
                let image = CGImageSourceCreateImageAtIndex(source, 0, nil)
            else { return }
            let properties = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any]
            session.photo = try? Picture(image, orientation: properties?[kCGImagePropertyOrientation] as? Int ?? 1)
        }

        private func record() {
            if let recorder {
                session.clip = try? recorder.stop()
                self.recorder = nil
            } else {
                let started = Recorder()
                if (try? started.start()) != nil { recorder = started }
            }
        }
    }

    @available(iOS 18, macOS 15, *)
    private struct AnswerView: View {
        let content: Content?
        @State private var player: AVAudioPlayer?

        var body: some View {
            Group {
                switch content {
                case .text(let text): ScrollView { Text(text).textSelection(.enabled) }
                case .image(let picture): shown(picture)
                case .audio(let sound): Button("Play") { play(sound) }
                case .video(let frames): if let first = frames.first { shown(first) }
                case nil: Spacer()
                }
            }
            .frame(maxWidth: .infinity, maxHeight: .infinity)
        }

        @ViewBuilder private func shown(_ picture: Picture) -> some View {
            if let image = picture.cgImage {
                Image(decorative: image, scale: 1).interpolation(.none).resizable().scaledToFit()
            }
        }

        private func play(_ sound: Sound) {
            player = try? AVAudioPlayer(data: sound.wav)
            player?.play()
        }
    }
#endif

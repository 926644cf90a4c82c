import Foundation
import NextOmniFlow

/// What the sample was asked for on its command line.
struct Arguments {
    static let usage = """
        usage: nextomni-sample MODEL [--text WORDS] [--image FILE.ppm] [--audio FILE.wav] [--to text|image|audio|video] [--count N]
                               [--steps N] [--seed N] [--temperature T] [-o FILE] [--pipe FROM TO]

        Answers a prompt with the model in the folder MODEL: a text on standard output, a picture as PPM, a sound as WAV, a video as
        numbered PPM files. --pipe names two pipes over which another process runs the components; without it Core ML does.
        """

    private(set) var folder = URL(fileURLWithPath: ".")
    private(set) var prompt: [Content] = []
    private(set) var to = "text"
    private(set) var count: Int?
    private(set) var steps: Int?
    private(set) var seed: UInt64 = 0
    private(set) var temperature: Double?
    private(set) var output: URL?
    private(set) var pipe: (from: URL, to: URL)?

    init(_ words: [String]) throws {
        var left = words[...]
        func value(of name: String) throws -> String {
            guard let found = left.popFirst() else { throw NextOmniError("\(name) needs a value\n\(Self.usage)") }
            return found
        }
        func number<Value: LosslessStringConvertible>(_ name: String) throws -> Value {
            let text = try value(of: name)
            guard let found = Value(text) else { throw NextOmniError("\(name): '\(text)' is no number that it takes") }
            return found
        }
        guard let model = left.popFirst(), !model.hasPrefix("-") else { throw NextOmniError(Self.usage) }
        folder = URL(fileURLWithPath: model)
        while let name = left.popFirst() {
            switch name {
            case "--text": prompt.append(.text(try value(of: name)))
            case "--image": prompt.append(.image(try Picture(ppm: URL(fileURLWithPath: value(of: name)))))
            case "--audio": prompt.append(.audio(try Sound(wav: URL(fileURLWithPath: value(of: name)))))
            case "--to": to = try value(of: name)
            case "--count": count = try number(name)
            case "--steps": steps = try number(name)
            case "--seed": seed = try number(name)
            case "--temperature": temperature = try number(name)
            case "-o": output = URL(fileURLWithPath: try value(of: name))
            case "--pipe": pipe = (URL(fileURLWithPath: try value(of: name)), URL(fileURLWithPath: try value(of: name)))
            default: throw NextOmniError("\(name): unknown\n\(Self.usage)")
            }
        }
    }

    /// What is to be answered, as long as the model can unless a count says less.
    func answer(_ configuration: Configuration) throws -> Answer {
        switch to {
        case "text": return .text(blocks: count ?? 1)
        case "image": return .image
        case "audio": return .audio(tokens: count ?? configuration.audio?.maxPositions ?? 1)
        case "video": return .video(frames: count ?? configuration.image?.maxFrames ?? 1)
        default: throw NextOmniError("--to \(to): expected text, image, audio or video")
        }
    }
}

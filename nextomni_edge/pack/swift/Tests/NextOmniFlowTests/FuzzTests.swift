import XCTest

@testable import NextOmniFlow

/// Whatever options and files hold, the process does not trap: a fault throws, and says something. NEXTOMNI_FUZZ is the number of cases
/// of each test.
final class FuzzTests: XCTestCase {
    private let cases = ProcessInfo.processInfo.environment["NEXTOMNI_FUZZ"].flatMap(Int.init) ?? 100

    /// Runs `one` so often and says how often it threw. An error of another type than ours fails.
    private func fuzz(_ name: String, _ one: (inout Seeded) throws -> Void) {
        var random = Seeded(20_26), refused = 0
        for place in 0..<cases {
            do { try one(&random) } catch let error as NextOmniError {
                XCTAssertFalse("\(error)".isEmpty)
                refused += 1
            } catch { XCTFail("\(name), case \(place): \(type(of: error)) \(error)") }
        }
        print("\(name): \(cases) cases, \(refused) refused")
        XCTAssertTrue(refused > cases / 20, "\(name): only \(refused) of \(cases) were refused")
        XCTAssertLessThan(refused, cases, name)
    }

    func testOptions() throws {
        let (generator, tokenizer, configuration) = try integerModel()
        let answers: [Answer] = [.text(blocks: 1), .image, .audio(tokens: 2)]
        let sequences = try answers.map { try tokenizer.respond(to: [.text([1, 2])], with: $0, configuration) }
        fuzz("options") { random in _ = try generator.generate(sequences.any(&random), options(&random)) }
    }

    private func options(_ random: inout Seeded) -> Options {
        let doubles: [Double] = [.nan, .infinity, -.infinity, -1, -0.0, 0, .leastNonzeroMagnitude, 1e-9, 0.004, 0.5, 1, 1, 1.5, 1e300]
        let wholes = [Int.min, -1, 0, 0, 1, 2, 3, 5, Int.max]
        func sane(_ value: Double) -> Double { Int.random(in: 0..<16, using: &random) == 0 ? doubles.any(&random) : value }
        func rare(_ value: Int) -> Int { Int.random(in: 0..<16, using: &random) == 0 ? wholes.any(&random) : value }
        var found = Options(
            steps: [.min, -1, 0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3].any(&random), stepper: [.euler, .euler, .euler, .corrected, .corrected, .commit].any(&random), temperature: sane(1), topK: rare(0), topP: sane(1),
            guidance: sane(0), seed: random.next())
        (found.guidanceImage, found.guidanceUntil, found.leadTokens) = (sane(0), sane(1), rare(0))
        (found.eosThreshold, found.extendUntil) = (sane(0.004), sane(0.5))
        found.extend = Int.random(in: 0..<5, using: &random) == 1 ? .interleaved : .first
        if found.extend == .interleaved || Int.random(in: 0..<6, using: &random) == 0 { found.maxBlocks = [1, 2, 3, 3, .max].any(&random) }
        if Int.random(in: 0..<24, using: &random) == 0 { found.block = wholes.any(&random) }
        if Int.random(in: 0..<24, using: &random) == 0 { found.threshold = doubles.any(&random) }
        if Int.random(in: 0..<24, using: &random) == 0 { found.drawTemperature = doubles.any(&random) }
        if Int.random(in: 0..<20, using: &random) == 0 { found.grid = (0..<3).map { _ in doubles.any(&random) } }
        if Int.random(in: 0..<6, using: &random) == 0 { found.grid = [0, 0.25, 1] }
        return found
    }

    func testTensorFiles() throws {
        let header = "{\"text\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},\"a\":{\"dtype\":\"I8\",\"shape\":[3],\"data_offsets\":[16,19]}}"
        let whole = withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { Data($0) } + Data(header.utf8) + Data(count: 19)
        try fuzzFile("tensor files", whole) { _ = try SafeTensors($0).floats("text") }
    }

    func testConfigurations() throws {
        let (_, tokenizer, _) = try integerModel()
        let all = try vectors("loop.json", as: GenerateTests.Vectors.self)
        let tables = Dictionary(uniqueKeysWithValues: all.tables.map { (Modality(rawValue: $0)!, $1.map(table)) })
        try fuzzFile("configurations", Data(contentsOf: url("config.json"))) { file in
            let configuration = try Configuration.read(file)
            _ = try configuration.template()
            guard configuration.backbone.hiddenSize * configuration.text.vocabularySize < 1 << 16 else { return }
            let generator = Generator(IntegerComponents(configuration: configuration), configuration, tokenizer.special, tables: tables)
            for answer in [Answer.text(blocks: 1), .image, .audio(tokens: 1), .video(frames: 1)] {
                let sequence = try tokenizer.respond(to: [], with: answer, configuration)
                if sequence.length < 64 { _ = try generator.generate(sequence, Options(steps: 2)) }
            }
        }
    }

    func testTokenizers() throws {
        try fuzzFile("tokenizers", Data(contentsOf: url("tokenizer.json"))) { file in
            let tokenizer = try Tokenizer(file)
            let ids = try tokenizer.encode("draw a <|eos|> rocket \u{1F680} 12")
            _ = tokenizer.decode(ids + [-1, .max, 0])
        }
    }

    func testTraces() throws {
        let (generator, _, _) = try integerModel()
        let trace = """
            {"tie":0.1,"tasks":[{"name":"image","optionSteps":2,"stepper":"euler","temperature":1.0,"topK":0,"topP":1.0,"guidance":1.0,\
            "guidanceImage":0.0,"block":null,"seed":"7","grid":[],"segments":[{"modality":"text","frozen":true,"tokens":[[5],[6]]},\
            {"modality":"image","frozen":false,"tokens":[[0,1,2],[3,4,5]]}],"steps":[],"tokens":[[[1,2,3]]]}]}
            """
        try fuzzFile("traces", Data(trace.utf8)) { file in
            for task in try GoldenTrace.read(file).tasks where (task.grid ?? []).count < 9 && task.optionSteps < 99 { _ = try task.run(generator) }
        }
    }

    func testPicturesAndSounds() throws {
        let picture = Data("P6\n# of a test\n3 2 255\n".utf8) + Data((0..<18).map { UInt8($0) })
        try fuzzFile("pictures", picture) { _ = try Picture(ppm: $0).oriented(6).pixels(size: 8, fitting: "white") }
        let files = try vectors("media.json", as: MediaTests.Vectors.self).sounds.files
        let audio = try XCTUnwrap(try Configuration.read(url("config.json")).audio)
        for file in files {
            try fuzzFile("sounds, \(file.subtype)", Data(file.bytes)) { url in
                let sound = try Sound(wav: url)
                if sound.channels[0].count < 99 { _ = sound.waveform(rate: audio.sampleRate, most: 99) }
            }
        }
    }

    /// `read` of a file that is damaged: bytes changed, cut off, a piece twice, or a number replaced.
    private func fuzzFile(_ name: String, _ whole: Data, _ read: (URL) throws -> Void) throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: file) }
        fuzz(name) { random in
            do { try damaged(whole, &random).write(to: file) } catch { throw XCTSkip("\(error)") }
            try read(file)
        }
    }

    private func damaged(_ whole: Data, _ random: inout Seeded) -> Data {
        var data = whole
        switch Int.random(in: 0..<5, using: &random) {
        case 0:
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                data[Int.random(in: 0..<data.count, using: &random)] = .random(in: 0...255, using: &random)
            }
        case 1: data = data.prefix(Int.random(in: 0...data.count, using: &random))
        case 2:
            let (one, other) = (Int.random(in: 0..<data.count, using: &random), Int.random(in: 0..<data.count, using: &random))
            data.insert(contentsOf: whole[min(one, other)..<max(one, other)], at: Int.random(in: 0..<data.count, using: &random))
        default: data = numberReplaced(data, &random)
        }
        return data
    }

    private func numberReplaced(_ whole: Data, _ random: inout Seeded) -> Data {
        let words = [
            "-1", "0", "1", "1.5", "true", "null", "\"x\"", "[]", "{}", "9223372036854775807", "18446744073709551616", "4611686018427387904",
            "1e999", "NaN", "-0", "01", "2", "1e3", "\"\\ud800\"",
        ]
        let text = String(decoding: whole, as: UTF8.self), pattern = #/[0-9][0-9.]*/#
        guard let found = text.ranges(of: pattern).randomElement(using: &random) else { return whole }
        return Data(text.replacingCharacters(in: found, with: words.any(&random)).utf8)
    }
}

extension Array {
    /// One of them; there is one.
    fileprivate func any(_ random: inout Seeded) -> Element { self[Int.random(in: 0..<count, using: &random)] }
}

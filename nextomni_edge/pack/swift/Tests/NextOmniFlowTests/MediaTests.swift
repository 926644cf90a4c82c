import XCTest

@testable import NextOmniFlow

/// Pictures and sounds, against Python's numbers (tests/pack/media_vectors.py).
final class MediaTests: XCTestCase {
    struct Vectors: Decodable {
        struct Given: Decodable {
            let width, height: Int
            let levels, white, janus: [UInt8]
        }
        struct Turned: Decodable {
            struct Seen: Decodable {
                let width: Int
                let levels: [UInt8]
            }
            let width, height: Int
            let levels: [UInt8]
            let seen: [Seen]
        }
        struct Written: Decodable {
            let width: Int
            let pixels: [Float]
            let round, cut: [UInt8]
        }
        struct Sounds: Decodable {
            struct Resampled: Decodable {
                let from, to: Int
                let samples: [Float]
            }
            struct File: Decodable {
                let subtype: String
                let bytes, written: [UInt8]
                let channels: [[Float]]
                let mono: [Float]
            }
            let samples, wave, logMel: [Float]
            let resampled: [Resampled]
            let files: [File]
        }
        let pictures: [Given]
        let orientations: Turned
        let written: Written
        let sounds: Sounds
    }

    private let all = Result { try vectors("media.json", as: Vectors.self) }

    /// (size,size,3) levels of planes in [-1, 1].
    private func levels(_ pixels: [Float]) -> [UInt8] {
        let count = pixels.count / 3
        return (0..<count).flatMap { place in (0..<3).map { UInt8(((pixels[$0 * count + place] + 1) * 127.5).rounded()) } }
    }

    func testAPictureIsFittedAsPythonFitsIt() throws {
        for given in try all.get().pictures {
            let picture = try Picture(width: given.width, height: given.height, levels: given.levels)
            XCTAssertEqual(levels(try picture.pixels(size: 16, fitting: "white")), given.white, "\(given.width)x\(given.height)")
            XCTAssertEqual(levels(try picture.pixels(size: 16, fitting: "janus")), given.janus, "\(given.width)x\(given.height)")
        }
        let small = try Picture(width: 1, height: 1, levels: [1, 2, 3, 255])
        assertRefused("a picture as the prompt of this model (fitting 'crop') is not supported here") {
            _ = try small.pixels(size: 16, fitting: "crop")
        }
    }

    func testAPictureIsTurnedAsItsCameraMeansIt() throws {
        let given = try all.get().orientations
        let picture = try Picture(width: given.width, height: given.height, levels: given.levels)
        for (exif, seen) in given.seen.enumerated() {
            let found = picture.oriented(exif + 1)
            XCTAssertEqual(found.width, seen.width, "orientation \(exif + 1)")
            XCTAssertEqual(found.levels, seen.levels, "orientation \(exif + 1)")
        }
        XCTAssertEqual(picture.oriented(0), picture)
    }

    func testPixelsAreWrittenAsPythonWritesThem() throws {
        let given = try all.get().written
        for (truncated, expected) in [(false, given.round), (true, given.cut)] {
            let found = try Picture(pixels: given.pixels, width: given.width, truncated: truncated)
            XCTAssertEqual(found.levels.enumerated().filter { $0.offset % 4 < 3 }.map(\.element), expected)
        }
    }

    func testSoundsAreResampledAsPythonDoes() throws {
        let sounds = try all.get().sounds
        for vector in sounds.resampled {
            let found = resampled(sounds.samples, from: vector.from, to: vector.to)
            XCTAssertEqual(found.count, vector.samples.count)
            for (own, expected) in zip(found, vector.samples) { XCTAssertEqual(own, expected, accuracy: 2e-6) }
        }
    }

    func testTheSpectrogramIsPythons() throws {
        let sounds = try all.get().sounds
        let configuration = try Configuration.read(url("config.json"))
        let found = try XCTUnwrap(configuration.audio).logMel(sounds.wave)
        XCTAssertEqual(found.count, sounds.logMel.count)
        for (own, expected) in zip(found, sounds.logMel) { XCTAssertEqual(own, expected, accuracy: 1e-4) }
    }

    func testWaveFilesAreReadAndWrittenAsLibsndfileDoes() throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID()).wav")
        defer { try? FileManager.default.removeItem(at: file) }
        for vector in try all.get().sounds.files {
            try Data(vector.bytes).write(to: file)
            let found = try Sound(wav: file)
            XCTAssertEqual(found.channels, vector.channels, vector.subtype)
            XCTAssertEqual(found.rate, 8000)
            XCTAssertEqual([UInt8](try Sound(channels: [vector.mono], rate: 8000).wav), vector.written)
        }
    }

    func testAPixmapComesBackAsItWasWritten() throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID()).ppm")
        defer { try? FileManager.default.removeItem(at: file) }
        let picture = try Picture(width: 2, height: 1, levels: [1, 2, 3, 255, 4, 5, 6, 255])
        try picture.ppm.write(to: file)
        XCTAssertEqual(try Picture(ppm: file), picture)
        try Data("P6 # a comment\n2 2 255\n123".utf8).write(to: file)
        assertRefused("\(file.lastPathComponent): 3 bytes of pixels do not fit 2x2") { _ = try Picture(ppm: file) }
    }

    func testChannelsThatCancelEachOtherGiveTheLoudest() throws {
        let sound = try Sound(channels: [[0.5, -0.5], [-0.5, 0.5]], rate: 8)
        XCTAssertEqual(sound.waveform(rate: 8, most: 9), [0.5, -0.5])
        XCTAssertEqual(try Sound(channels: [[1, 0], [0, 0.5]], rate: 8).waveform(rate: 8, most: 9), [0.5, 0.25])
        assertRefused("a sound with samples that are not finite numbers") { _ = try Sound(channels: [[.nan]], rate: 8) }
        assertRefused("a sound of 1 channels at 0 Hz, refused") { _ = try Sound(channels: [[0]], rate: 0) }
    }
}

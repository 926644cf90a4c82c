import Foundation

/// Sounds as WAV files.
extension Sound {
    private static let header = 44  // bytes of a file of one format chunk

    /// Throws a sentence about a file that is no WAV of whole numbers or floats.
    public init(wav url: URL) throws {
        let (channels, rate) = try Self.read(url)
        do { try self.init(channels: channels, rate: rate) } catch { throw NextOmniError("\(url.lastPathComponent): \(error)") }
    }

    private static func read(_ url: URL) throws -> ([[Float]], Int) {
        let name = url.lastPathComponent
        guard let data = try? Data(contentsOf: url) else { throw NextOmniError("\(name): cannot be read") }
        let bytes = [UInt8](data)
        func text(_ at: Int) -> String { String(decoding: bytes[at..<at + 4], as: UTF8.self) }
        func whole(_ at: Int, _ count: Int) -> Int { (0..<count).reduce(0) { $0 | Int(bytes[at + $1]) << (8 * $1) } }
        guard bytes.count >= header, text(0) == "RIFF", text(8) == "WAVE" else { throw NextOmniError("\(name): no WAV file") }
        var at = 12, format: Format?
        while at + 8 <= bytes.count {
            let size = whole(at + 4, 4)
            if text(at) == "fmt ", at + 24 <= bytes.count {
                format = Format(kind: whole(at + 8, 2), channels: whole(at + 10, 2), rate: whole(at + 12, 4), bits: whole(at + 22, 2))
            } else if text(at) == "data", let format {
                let own = Array(bytes[(at + 8)...].prefix(size))
                guard let channels = format.samples(own) else {
                    throw NextOmniError("\(name): \(format.bits) bits of kind \(format.kind) are not read")
                }
                return (channels, format.rate)
            }
            at += 8 + size + size % 2
        }
        throw NextOmniError("\(name): no sound in it")
    }

    /// The first channel as the bytes of a WAV of 16 bits; samples beyond [-1, 1] are clipped.
    public var wav: Data {
        let samples = channels[0]
        func little<Value: FixedWidthInteger>(_ value: Value) -> Data { withUnsafeBytes(of: value.littleEndian) { Data($0) } }
        var found = Data("RIFF".utf8) + little(UInt32(Self.header - 8 + 2 * samples.count)) + Data("WAVEfmt ".utf8)
        found += little(UInt32(16)) + little(UInt16(1)) + little(UInt16(1)) + little(UInt32(rate)) + little(UInt32(2 * rate))
        found += little(UInt16(2)) + little(UInt16(16)) + Data("data".utf8) + little(UInt32(2 * samples.count))
        for sample in samples {
            // as libsndfile writes a float32: 32 bits, of which the upper half is kept
            let level = ((Double(sample) * 0x1p31).rounded() / 65536).rounded(.down)
            found += little(Int16(max(-32768, min(32767, level))))
        }
        return found
    }
}

private struct Format {
    let kind, channels, rate, bits: Int

    /// The samples of each channel; nil: a kind that is not read.
    func samples(_ bytes: [UInt8]) -> [[Float]]? {
        guard (1...Sound.maxChannels).contains(channels), let read = reader else { return nil }
        let step = bits / 8
        return (0..<channels).map { channel in
            (0..<bytes.count / (step * channels)).map { place in read(bytes[((place * channels + channel) * step)...].prefix(step)) }
        }
    }

    private var reader: ((ArraySlice<UInt8>) -> Float)? {
        func signed(_ bytes: ArraySlice<UInt8>) -> Int {
            let bits = bytes.reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) } << (32 - 8 * bytes.count)
            return Int(Int32(bitPattern: bits)) >> (32 - 8 * bytes.count)
        }
        switch (kind, bits) {
        case (1, 8): return { (Float($0.first ?? 128) - 128) / 128 }
        case (1, 16): return { Float(signed($0)) / 0x1p15 }
        case (1, 24): return { Float(signed($0)) / 0x1p23 }
        case (1, 32): return { Float(Double(signed($0)) / 0x1p31) }
        case (3, 32): return { Float(bitPattern: UInt32(truncatingIfNeeded: signed($0))) }
        default: return nil
        }
    }
}

import Foundation

/// Pictures as binary PPM files (P6, 8 bits), which need no library.
extension Picture {
    /// Throws a sentence about a file that is no such picture.
    public init(ppm url: URL) throws {
        guard let data = try? Data(contentsOf: url) else { throw NextOmniError("\(url.lastPathComponent): cannot be read") }
        let bytes = [UInt8](data), name = url.lastPathComponent
        guard bytes.starts(with: "P6".utf8) else { throw NextOmniError("\(name): no binary PPM, which begins with P6") }
        var at = 2
        let numbers = (0..<3).compactMap { _ in Self.number(bytes, &at) }
        guard numbers.count == 3, numbers[2] == 255 else { throw NextOmniError("\(name): expected a width, a height and 255 levels") }
        let (pixels, over) = numbers[0].multipliedReportingOverflow(by: numbers[1])
        guard !over, pixels > 0, pixels <= Self.maxPixels, bytes.count - at - 1 == 3 * pixels else {
            throw NextOmniError("\(name): \(bytes.count - at - 1) bytes of pixels do not fit \(numbers[0])x\(numbers[1])")
        }
        var levels = [UInt8](repeating: 255, count: 4 * pixels)
        for place in 0..<pixels {
            for channel in 0..<3 { levels[4 * place + channel] = bytes[at + 1 + 3 * place + channel] }
        }
        try self.init(width: numbers[0], height: numbers[1], levels: levels)
    }

    /// The next whole number behind blanks and comments.
    private static func number(_ bytes: [UInt8], _ at: inout Int) -> Int? {
        let blanks: [UInt8] = [0x09, 0x0A, 0x0D, 0x20]
        while at < bytes.count, blanks.contains(bytes[at]) || bytes[at] == UInt8(ascii: "#") {
            if bytes[at] == UInt8(ascii: "#") { while at < bytes.count, bytes[at] != 0x0A { at += 1 } } else { at += 1 }
        }
        let start = at
        while at < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[at]), at - start < 9 { at += 1 }
        return Int(String(decoding: bytes[start..<at], as: UTF8.self))
    }

    /// The picture as the bytes of such a file, without its transparency.
    public var ppm: Data {
        var found = Data("P6\n\(width) \(height)\n255\n".utf8)
        for place in 0..<width * height { found.append(contentsOf: levels[4 * place..<4 * place + 3]) }
        return found
    }
}

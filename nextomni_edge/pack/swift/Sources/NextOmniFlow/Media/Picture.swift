/// A picture of 8-bit RGBA levels, row after row from the top.
public struct Picture: Equatable, Sendable {
    public let width, height: Int
    public let levels: [UInt8]

    static let maxPixels = 1 << 26  // a phone's panorama fits

    /// Throws a sentence about sides that are none, or that `levels` do not fit.
    public init(width: Int, height: Int, levels: [UInt8]) throws {
        let (pixels, over) = width.multipliedReportingOverflow(by: height)
        guard width > 0, height > 0, !over, pixels <= Self.maxPixels else {
            throw NextOmniError("a picture of \(width)x\(height): expected 1 to \(Self.maxPixels) pixels")
        }
        guard levels.count == 4 * pixels else {
            throw NextOmniError("a picture of \(width)x\(height) has \(levels.count) levels, expected \(4 * pixels)")
        }
        (self.width, self.height, self.levels) = (width, height, levels)
    }

    /// Pixels (3,height,width) in [-1, 1], rounded to levels, or cut off. (media/image.py: to_bytes)
    init(pixels: [Float], width: Int, truncated: Bool = false) throws {
        let count = pixels.count / 3
        guard width > 0, pixels.count == 3 * count, count % width == 0 else {
            throw NextOmniError("a picture of \(pixels.count) numbers: expected three planes of rows of \(width)")
        }
        var levels = [UInt8](repeating: 255, count: 4 * count)
        for place in 0..<count {
            for channel in 0..<3 {
                let level = (pixels[channel * count + place] + 1) * 127.5
                levels[4 * place + channel] = UInt8(max(0, min(255, level.rounded(truncated ? .down : .toNearestOrEven))))
            }
        }
        try self.init(width: width, height: count / width, levels: levels)
    }

    /// The picture as a camera's orientation (EXIF's 1 to 8) means it to be seen; of another number as it is.
    public func oriented(_ exif: Int) -> Picture {
        guard (2...8).contains(exif) else { return self }
        let turned = exif >= 5, mirrored = [2, 3, 7, 8].contains(exif), flipped = [3, 4, 6, 7].contains(exif)
        let (across, down) = turned ? (height, width) : (width, height)
        var found: [UInt8] = []
        found.reserveCapacity(levels.count)
        for y in 0..<down {
            for x in 0..<across {
                let (column, row) = turned ? (y, x) : (x, y)
                let from = (flipped ? height - 1 - row : row) * width + (mirrored ? width - 1 - column : column)
                found += levels[4 * from..<4 * from + 4]
            }
        }
        return Picture(across, down, found)
    }

    private init(_ width: Int, _ height: Int, _ levels: [UInt8]) { (self.width, self.height, self.levels) = (width, height, levels) }

    /// The picture in a square, (3,size,size) in [-1, 1], as the image encoder sees it. "white": bicubic, on white. "janus": bilinear,
    /// sides cut to whole pixels, on grey. (media/image.py: fit)
    func pixels(size: Int, fitting: String) throws -> [Float] {
        guard fitting == "white" || fitting == "janus" else {
            throw NextOmniError("a picture as the prompt of this model (fitting '\(fitting)') is not supported here")
        }
        let janus = fitting == "janus", scale = Double(size) / Double(max(width, height))
        let sides = [width, height].map { side in
            max(1, Int((Double(side) * scale).rounded(janus ? .towardZero : .toNearestOrEven)))
        }
        let small = resized(onWhite, from: (width, height), to: (sides[0], sides[1]), janus ? .bilinear : .bicubic)
        var square = [UInt8](repeating: janus ? 127 : 255, count: 3 * size * size)
        let (left, top) = ((size - sides[0]) / 2, (size - sides[1]) / 2)
        for row in 0..<sides[1] {
            let first = 3 * ((row + top) * size + left)
            square.replaceSubrange(first..<first + 3 * sides[0], with: small[3 * row * sides[0]..<3 * (row + 1) * sides[0]])
        }
        return (0..<3).flatMap { channel in (0..<size * size).map { Float(square[3 * $0 + channel]) / 127.5 - 1 } }
    }

    /// RGB with transparency laid on white.
    private var onWhite: [UInt8] {
        var found = [UInt8](repeating: 255, count: 3 * width * height)
        for place in 0..<width * height {
            let alpha = Int(levels[4 * place + 3])
            for channel in 0..<3 {
                let level = Double(Int(levels[4 * place + channel]) * alpha + 255 * (255 - alpha)) / 255
                found[3 * place + channel] = UInt8(level.rounded())
            }
        }
        return found
    }
}

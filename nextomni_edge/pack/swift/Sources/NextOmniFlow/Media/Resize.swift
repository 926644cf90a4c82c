/// Resampling of 8-bit pictures as Pillow does it: a kernel that widens when it shrinks, fixed-point weights, and 8 bits between the two
/// passes, of which the horizontal one is first. So a picture gives the same pixels here as in Python.
enum Kernel {
    case bilinear, bicubic

    var support: Double { self == .bilinear ? 1 : 2 }

    func weight(_ x: Double) -> Double {
        let (a, distance) = (-0.5, abs(x))  // of Keys' cubic
        if self == .bilinear { return max(0, 1 - distance) }
        if distance < 1 { return ((a + 2) * distance - (a + 3)) * distance * distance + 1 }
        return distance < 2 ? (((distance - 5) * distance + 8) * distance - 4) * a : 0
    }
}

private let precision = 22  // bits behind the point of a weight

/// (height·width·3) levels in another size.
func resized(_ levels: [UInt8], from: (width: Int, height: Int), to: (width: Int, height: Int), _ kernel: Kernel) -> [UInt8] {
    var found = levels
    if to.width != from.width {
        let lines = Lines(count: from.height, apart: 3 * from.width, stride: 3, outApart: 3 * to.width, outStride: 3)
        found = pass(found, lines, from.width, to.width, kernel)
    }
    if to.height != from.height {
        let lines = Lines(count: to.width, apart: 3, stride: 3 * to.width, outApart: 3, outStride: 3 * to.width)
        found = pass(found, lines, from.height, to.height, kernel)
    }
    return found
}

/// Where the lines of one direction stand: how far apart they are, and their samples.
private struct Lines {
    let count, apart, stride, outApart, outStride: Int
}

private func pass(_ levels: [UInt8], _ lines: Lines, _ from: Int, _ to: Int, _ kernel: Kernel) -> [UInt8] {
    var out = [UInt8](repeating: 0, count: lines.count * to * 3)
    for (place, tap) in taps(from, to, kernel).enumerated() {
        for line in 0..<lines.count {
            for channel in 0..<3 {
                var total = 1 << (precision - 1), at = line * lines.apart + tap.first * lines.stride + channel
                for weight in tap.weights {
                    total += weight * Int(levels[at])
                    at += lines.stride
                }
                out[line * lines.outApart + place * lines.outStride + channel] = UInt8(max(0, min(255, total >> precision)))
            }
        }
    }
    return out
}

/// For each output sample the first input sample that it reads, and the weights from there on.
private func taps(_ from: Int, _ to: Int, _ kernel: Kernel) -> [(first: Int, weights: [Int])] {
    let scale = Double(from) / Double(to), widened = max(scale, 1), support = kernel.support * widened
    return (0..<to).map { place in
        let centre = (Double(place) + 0.5) * scale
        let first = max(0, Int(centre - support + 0.5)), last = min(from, Int(centre + support + 0.5))
        let weights = (first..<last).map { kernel.weight((Double($0) - centre + 0.5) / widened) }
        let total = weights.reduce(0, +)
        return (first, weights.map { Int(($0 / (total != 0 ? total : 1) * Double(1 << precision)).rounded()) })
    }
}

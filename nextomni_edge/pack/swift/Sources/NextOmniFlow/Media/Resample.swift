import Foundation

private let crossings = 6.0  // zero crossings of the sinc on either side
private let rollOff = 0.99  // of the lower of both Nyquist frequencies

/// Band-limited resampling by a windowed sinc. (tokens/resample.py)
func resampled(_ samples: [Float], from source: Int, to target: Int) -> [Float] {
    if source == target { return samples }
    let common = divisor(source, target), (from, to) = (source / common, target / common)
    let cutoff = Double(min(from, to)) * rollOff, width = Int((crossings * Double(from) / cutoff).rounded(.up))
    let count = (samples.count * to + from - 1) / from
    var kernels: [Int: [Float]] = [:]
    return (0..<count).map { place in
        let phase = place % to
        let kernel = kernels[phase] ?? taps(from, to, phase, width, cutoff)
        kernels[phase] = kernel
        let first = place / to * from - width
        var total = Float(0)
        for at in max(0, -first)..<max(max(0, -first), min(kernel.count, samples.count - first)) {
            total += kernel[at] * samples[first + at]
        }
        return total
    }
}

/// The taps of one of the `to` samples that `from` ones become.
private func taps(_ from: Int, _ to: Int, _ phase: Int, _ width: Int, _ cutoff: Double) -> [Float] {
    (0..<2 * width + from).map { at in
        let given = Double(at - width) / Double(from), wanted = Double(phase) / Double(to)
        let time = min(crossings, max(-crossings, (given - wanted) * cutoff))
        let window = cos(time * .pi / crossings / 2), angle = time * .pi
        return Float((angle == 0 ? 1 : sin(angle) / angle) * window * window * (cutoff / Double(from)))
    }
}

private func divisor(_ one: Int, _ other: Int) -> Int { other == 0 ? one : divisor(other, one % other) }

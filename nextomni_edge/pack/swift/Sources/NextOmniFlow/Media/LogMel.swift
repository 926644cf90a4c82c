import Foundation

/// Whisper's log-mel spectrogram: the audio encoder's input. (tokens/audio.py)
extension Configuration.Audio {
    /// Log-mel of a waveform at `sampleRate`, cut into tokens: (tokens·framesPerToken·mels) numbers.
    ///
    /// Power spectrum of a periodic Hann window with reflected borders, log10 floored at 1e-10 and at 8 under the clip's maximum, then
    /// (x + 4) / 4. Silence pads the waveform to a whole token.
    func logMel(_ waveform: [Float]) -> [Float] {
        let token = hop * framesPerToken, length = (waveform.count + token - 1) / token * token
        func sample(_ place: Int) -> Double {
            let mirrored = place < 0 ? -place : place < length ? place : 2 * (length - 1) - place
            return waveform.indices.contains(mirrored) ? Double(waveform[mirrored]) : 0
        }
        let (filters, spectrum) = (melFilters, Spectrum(nFft))
        let logarithms = (0..<length / hop).flatMap { frame in
            let power = spectrum.power { sample(frame * hop + $0 - nFft / 2) }
            return filters.map { filter in
                var total = 0.0
                for (bin, weight) in filter { total += power[bin] * weight }
                return log10(max(total, 1e-10))
            }
        }
        let floor = (logarithms.max() ?? 0) - 8
        return logarithms.map { Float((max($0, floor) + 4) / 4) }
    }

    /// Triangular filters of equal area (Slaney): of each the bins that are not 0.
    private var melFilters: [[(bin: Int, weight: Double)]] {
        let top = mel(Double(sampleRate) / 2), edges = (0..<mels + 2).map { hertz(top * Double($0) / Double(mels + 1)) }
        return (0..<mels).map { place in
            let (low, centre, high) = (edges[place], edges[place + 1], edges[place + 2])
            return (0...nFft / 2).compactMap { bin in
                let frequency = Double(bin) * Double(sampleRate) / Double(nFft)
                let rise = min((frequency - low) / (centre - low), (high - frequency) / (high - centre))
                return rise > 0 ? (bin, Double(Float(rise * (2 / (high - low))))) : nil
            }
        }
    }

    /// Slaney's scale: linear below 1 kHz, logarithmic above.
    private func mel(_ hertz: Double) -> Double { hertz >= 1000 ? 15 + log(hertz / 1000) * (27 / log(6.4)) : hertz * 3 / 200 }
    private func hertz(_ mel: Double) -> Double { mel >= 15 ? 1000 * exp((mel - 15) * (log(6.4) / 27)) : mel * 200 / 3 }
}

/// The power spectrum of a windowed frame, by the definition: frames are few, and their size is no power of 2.
private struct Spectrum {
    private let window, cosine, sine: [Double]

    init(_ size: Int) {
        let turns = (0..<size).map { 2 * Double.pi * Double($0) / Double(size) }
        (window, cosine, sine) = (turns.map { 0.5 - 0.5 * cos($0) }, turns.map { cos($0) }, turns.map { sin($0) })
    }

    /// (size/2+1) numbers.
    func power(_ sample: (Int) -> Double) -> [Double] {
        let size = window.count, frame = (0..<size).map { window[$0] * sample($0) }
        return (0...size / 2).map { bin in
            var (real, imaginary, angle) = (0.0, 0.0, 0)
            for place in 0..<size {
                real += frame[place] * cosine[angle]
                imaginary += frame[place] * sine[angle]
                angle += bin
                if angle >= size { angle -= size }
            }
            return real * real + imaginary * imaginary
        }
    }
}

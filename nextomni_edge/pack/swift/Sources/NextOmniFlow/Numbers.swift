import Foundation

/// Passes over many numbers, in vectors.
private typealias Lanes = SIMD16<Float>

private func lanes(_ values: UnsafeBufferPointer<Float>, at place: Int) -> Lanes {
    UnsafeRawPointer(values.baseAddress! + place).loadUnaligned(as: Lanes.self)
}

/// Whether no value is NaN or infinite.
func allFinite(_ values: [Float]) -> Bool { values.withUnsafeBufferPointer(allFinite) }

func allFinite(_ values: UnsafeBufferPointer<Float>) -> Bool {
    var zeros = Lanes.zero  // a finite number times 0 is 0, of either sign
    var place = 0
    while place + Lanes.scalarCount <= values.count {
        zeros += lanes(values, at: place) * 0
        place += Lanes.scalarCount
    }
    return zeros.sum() == 0 && values[place...].allSatisfy { $0.isFinite }
}

/// The largest value; −inf of none.
func peak(of values: UnsafeBufferPointer<Float>) -> Float {
    var most = Lanes(repeating: -.infinity), place = 0
    while place + Lanes.scalarCount <= values.count {
        let found = lanes(values, at: place)
        most.replace(with: found, where: found .> most)
        place += Lanes.scalarCount
    }
    return values[place...].reduce(most.max(), max)
}

/// The first place of the largest value.
func argmax(_ values: UnsafeBufferPointer<Float>) -> Int {
    let most = peak(of: values)
    return values.firstIndex { $0 == most } ?? 0
}

/// `exp`, without the call where the result is 0 in any case.
@inline(__always) func weight(of exponent: Double) -> Double { exponent < -746 ? 0 : exp(exponent) }

/// The symbol x with CDF(x−1) ≤ uniform·total < CDF(x), from the running sums of the weights. (flow/arrays.py)
func inverseCDF<Sums: RandomAccessCollection<Double>>(_ cumulative: Sums, _ uniform: Double) -> Int where Sums.Index == Int {
    guard let total = cumulative.last else { return 0 }
    func first(where over: (Double) -> Bool) -> Int {
        var (low, high) = (cumulative.startIndex, cumulative.endIndex)
        while low < high {
            let middle = (low + high) / 2
            if over(cumulative[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
    let aim = uniform * total
    let found = first { $0 > aim }
    // the product may have been rounded up to the total: the last symbol with mass
    return (found < cumulative.endIndex ? found : first { $0 >= total }) - cumulative.startIndex
}

/// The metric table of one vocabulary and the distances between its symbols. (flow/distance.py)
public struct MetricTable: Sendable {
    typealias Lanes = SIMD8<Float>
    typealias Wide = SIMD8<Double>

    static let sameRow = 1e-14  // |e_x − e_y|² under this is 0: the rounding of float32 rows, not a distance
    static let together = 4  // symbols whose distances one pass over the table computes

    public let vocabulary: Int
    private let vectors: Int  // of eight numbers, in a row
    private let units: [Lanes]  // rows of length 1, zeros behind them; a zero row stays zero
    private let squares: [Double]

    /// `values`: rows of `dimensions` finite numbers, one for each symbol.
    public init(_ values: ArraySlice<Float>, dimensions: Int) {
        let (count, vectors) = (values.count / dimensions, (dimensions + 7) / 8)
        var units = [Lanes](repeating: .zero, count: count * vectors), squares = [Double](repeating: 0, count: count)
        for row in 0..<count {
            let given = values[(values.startIndex + row * dimensions)...].prefix(dimensions)
            let norm = given.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
            for (place, value) in given.enumerated() {
                let unit = Float(Double(value) / (norm > 0 ? norm : 1))
                units[row * vectors + place / 8][place % 8] = unit
                squares[row] += Double(unit) * Double(unit)
            }
        }
        (vocabulary, self.vectors, self.units, self.squares) = (count, vectors, units, squares)
    }

    /// d(x, x_1) = (|e_x − e_x1|²)² for every symbol x, in [0, 16]: a row for each x_1.
    public func distances(_ symbols: [Int]) -> [[Float]] {
        stride(from: 0, to: symbols.count, by: Self.together).flatMap { first in
            pass(symbols[first..<min(first + Self.together, symbols.count)])
        }
    }

    private func pass(_ symbols: ArraySlice<Int>) -> [[Float]] {
        let asked = (0..<Self.together).map { symbols[min(symbols.startIndex + $0, symbols.endIndex - 1)] }
        let rows = asked.flatMap { symbol in (0..<vectors).map { Wide(units[symbol * vectors + $0]) } }
        let own = SIMD4(asked.map { squares[$0] })
        var found = [SIMD4<Float>](repeating: .zero, count: vocabulary)
        units.withUnsafeBufferPointer { units in
            rows.withUnsafeBufferPointer { rows in
                for x in 0..<vocabulary { found[x] = four(units, x, rows, own) }
            }
        }
        return symbols.indices.map { place in found.map { $0[place - symbols.startIndex] } }
    }

    @inline(__always)
    private func four(
        _ units: UnsafeBufferPointer<Lanes>, _ x: Int, _ rows: UnsafeBufferPointer<Wide>, _ own: SIMD4<Double>
    ) -> SIMD4<Float> {
        var (first, second, third, fourth) = (Wide.zero, Wide.zero, Wide.zero, Wide.zero)
        for vector in 0..<vectors {
            let unit = Wide(units[x * vectors + vector])
            first += unit * rows[vector]
            second += unit * rows[vectors + vector]
            third += unit * rows[2 * vectors + vector]
            fourth += unit * rows[3 * vectors + vector]
        }
        var squared = SIMD4(first.sum(), second.sum(), third.sum(), fourth.sum()) * -2 + (own + squares[x])
        squared.replace(with: 0, where: squared .<= Self.sameRow)
        return SIMD4<Float>(squared * squared)
    }

    /// d(x, y) of one pair.
    func between(_ x: Int, _ y: Int) -> Double {
        var sum = Wide.zero
        for vector in 0..<vectors {
            let difference = Wide(units[x * vectors + vector]) - Wide(units[y * vectors + vector])
            sum += difference * difference
        }
        return sum.sum() * sum.sum()
    }
}

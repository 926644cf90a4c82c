import Synchronization

/// Rows of distances kept by the symbol that they are from, the ones used last. (flow/row_cache.py)
final class RowCache: Sendable {
    private struct Kept {
        var rows: [Int: (distances: [Float], used: Int)] = [:]
        var clock = 0
    }

    private let table: MetricTable
    private let capacity: Int
    private let kept = Mutex(Kept())

    /// `bytes`: the most that the rows may take.
    init(_ table: MetricTable, bytes: Int = 64 << 20) {
        (self.table, capacity) = (table, min(table.vocabulary, bytes / (4 * max(1, table.vocabulary))))
    }

    /// A row for each of distinct symbols. Those missing are computed together.
    func rows(_ symbols: [Int]) -> [[Float]] {
        guard symbols.count <= capacity else { return table.distances(symbols) }
        return kept.withLock { kept in
            kept.clock += 1
            let missing = symbols.filter { kept.rows[$0] == nil }
            for (symbol, row) in zip(missing, table.distances(missing)) { kept.rows[symbol] = (row, kept.clock) }
            for symbol in symbols { kept.rows[symbol]?.used = kept.clock }
            let found = symbols.compactMap { kept.rows[$0]?.distances }
            let extra = kept.rows.count - capacity
            if extra > 0 {
                let oldest = kept.rows.sorted { $0.value.used < $1.value.used }.prefix(extra)
                for (symbol, _) in oldest { kept.rows[symbol] = nil }
            }
            return found
        }
    }
}

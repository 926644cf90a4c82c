/// Byte-pair merges of one word, in n·log n. (the library tokenizers)
struct Merges: Sendable {
    private struct Learnt {
        let rank, piece: Int
    }

    /// Two neighbours that may merge, as they were when this was found.
    private struct Pair: Comparable {
        let rank, place, left, right, piece: Int

        static func < (one: Pair, other: Pair) -> Bool {
            one.rank != other.rank ? one.rank < other.rank : one.place < other.place
        }
    }

    private let learnt: [SIMD2<Int32>: Learnt]
    private let bytes: [Int]  // the piece of each byte; −1: none, it is left out

    /// `pairs`: left and right pieces, the one that was learnt first in front. Throws a sentence about a piece that is none.
    init(_ pairs: [(left: String, right: String)], _ vocabulary: [String: Int], alphabet: [Unicode.Scalar]) throws {
        bytes = alphabet.map { vocabulary[String($0)] ?? -1 }
        var learnt: [SIMD2<Int32>: Learnt] = [:]
        for (rank, pair) in pairs.enumerated() {
            guard let left = vocabulary[pair.left], let right = vocabulary[pair.right], let piece = vocabulary[pair.left + pair.right] else {
                throw NextOmniError("merge \(rank), '\(pair.left.prefix(40)) \(pair.right.prefix(40))', is of no pieces of the vocabulary")
            }
            learnt[SIMD2(Int32(left), Int32(right))] = learnt[SIMD2(Int32(left), Int32(right))] ?? Learnt(rank: rank, piece: piece)
        }
        self.learnt = learnt
    }

    /// The pieces of a word, the pair that was learnt first merged first, of equals the one in front.
    func pieces(_ word: String) -> [Int] {
        var own = word.utf8.compactMap { bytes[Int($0)] < 0 ? nil : bytes[Int($0)] }  // −1: merged into the one before
        var next = Array(1..<own.count + 1), before = Array(-1..<own.count - 1)
        var queue = Heap<Pair>()
        func push(_ place: Int) {
            guard place >= 0, next[place] < own.count else { return }
            let (left, right) = (own[place], own[next[place]])
            guard let found = learnt[SIMD2(Int32(left), Int32(right))] else { return }
            queue.push(Pair(rank: found.rank, place: place, left: left, right: right, piece: found.piece))
        }
        for place in own.indices { push(place) }
        while let pair = queue.pop() {
            let place = pair.place
            guard own[place] == pair.left, next[place] < own.count, own[next[place]] == pair.right else { continue }  // outdated
            let gone = next[place]
            (own[place], own[gone], next[place]) = (pair.piece, -1, next[gone])
            if next[place] < own.count { before[next[place]] = place }
            push(before[place])
            push(place)
        }
        return own.filter { $0 >= 0 }
    }
}

/// A binary heap, the smallest first.
struct Heap<Element: Comparable> {
    private var items: [Element] = []

    mutating func push(_ item: Element) {
        items.append(item)
        var place = items.count - 1
        while place > 0, items[place] < items[(place - 1) / 2] {
            items.swapAt(place, (place - 1) / 2)
            place = (place - 1) / 2
        }
    }

    mutating func pop() -> Element? {
        guard let last = items.popLast() else { return nil }
        guard let first = items.first else { return last }
        items[0] = last
        var place = 0
        while true {
            var child = 2 * place + 1
            if child >= items.count { return first }
            if child + 1 < items.count && items[child + 1] < items[child] { child += 1 }
            if !(items[child] < items[place]) { return first }
            items.swapAt(place, child)
            place = child
        }
    }
}

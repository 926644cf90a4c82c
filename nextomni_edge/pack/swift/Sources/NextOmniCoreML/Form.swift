#if canImport(CoreML)
    import CoreML
    import NextOmniFlow

    /// The form in which a package was exported. (bundle/coreml_interface.py)
    @available(iOS 18, macOS 15, *)
    struct Form {
        let rows: [Int]  // the counts that it has shapes for, ascending; none: any
        let single: Bool  // one sequence at a time

        init(_ description: MLModelDescription, of component: String) {
            let inputs = description.inputDescriptionsByName
            let takesRows = component == "backbone" || component.hasPrefix("embed_") || component.hasSuffix("_head")
            let first = ["embeddings", "tokens", "codes", "hidden"].compactMap { inputs[$0]?.multiArrayConstraint }.first
            if takesRows, let first, first.shapeConstraint.type != .range {
                let shapes = first.shapeConstraint.enumeratedShapes
                rows = Set((shapes.isEmpty ? [first.shape] : shapes).map { $0[1].intValue }).sorted()
            } else {
                rows = []
            }
            single = !rows.isEmpty || Form.positions(description) > 0
        }

        /// How many positions the state keeps keys and values of; 0: there is none.
        static func positions(_ description: MLModelDescription) -> Int {
            guard !description.stateDescriptionsByName.isEmpty else { return 0 }
            return description.inputDescriptionsByName["held"]?.multiArrayConstraint?.shape.first?.intValue ?? 0
        }

        /// The smallest count that holds so many rows.
        func count(_ needed: Int, of component: String) throws -> Int {
            if rows.isEmpty { return needed }
            guard let found = rows.first(where: { $0 >= needed }) else {
                throw NextOmniError("\(component): \(needed) rows, its package takes at most \(rows.last!)")
            }
            return found
        }
    }

    /// Batches in front, rows behind them; caches have five axes, (layers, batch, heads, past, width).
    extension Tensor {
        /// One sequence of the batch.
        func sequence(_ place: Int) -> Tensor {
            if shape.count == 5 { return .floats([], shape: [shape[0], 1] + shape[2...]) }
            let size = shape.dropFirst().reduce(1, *)
            return part(place * size..<(place + 1) * size, shape: [1] + shape.dropFirst())
        }

        /// One sequence with zeros behind its rows: what nothing attends to.
        func padded(to rows: Int) -> Tensor {
            if shape.count == 5 { return self }
            let (longer, more) = ([1, rows] + shape.dropFirst(2), (rows - shape[1]) * shape.dropFirst(2).reduce(1, *))
            switch self {
            case .floats(let values, _): return .floats(values + [Float](repeating: 0, count: more), shape: longer)
            case .ints(let values, _): return .ints(values + [Int](repeating: 0, count: more), shape: longer)
            }
        }

        /// One sequence's first rows; nil of a cache.
        func prefix(_ rows: Int) -> Tensor? {
            if shape.count == 5 { return nil }
            let inner = Array(shape.dropFirst(2))
            return part(0..<rows * inner.reduce(1, *), shape: [1, rows] + inner)
        }

        /// A cache's layers.
        func layers(_ range: Range<Int>) -> Tensor {
            let size = shape.dropFirst().reduce(1, *)
            return part(range.lowerBound * size..<range.upperBound * size, shape: [range.count] + shape.dropFirst())
        }

        /// The sequences of both, or the layers of caches.
        func joined(_ other: Tensor) -> Tensor {
            .floats(values + other.values, shape: [shape[0] + other.shape[0]] + shape.dropFirst())
        }

        private func part(_ range: Range<Int>, shape: [Int]) -> Tensor {
            switch self {
            case .floats(let values, _): return .floats(Array(values[range]), shape: shape)
            case .ints(let values, _): return .ints(Array(values[range]), shape: shape)
            }
        }
    }
#endif

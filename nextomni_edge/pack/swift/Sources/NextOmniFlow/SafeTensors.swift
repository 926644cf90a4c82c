import Foundation

/// Reads float32 tensors of a safetensors file: eight bytes of length, a header in JSON, the numbers. The whole header is checked
/// before a number is read. (formats/tensor_file.py)
public struct SafeTensors: Sendable {
    static let maxHeader: UInt64 = 16 << 20
    static let widths = ["F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1]

    private let data: Data
    private let name: String
    private let start: Int
    private let header: [String: Entry]

    public init(_ url: URL) throws {
        do { data = try Data(contentsOf: url, options: .mappedIfSafe) } catch {
            throw NextOmniError("\(url.lastPathComponent): cannot be read (\(error.localizedDescription))")
        }
        name = url.lastPathComponent
        let length = data.prefix(8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard data.count >= 8, length <= UInt64(data.count - 8) else {
            throw NextOmniError("\(name): safetensors header is cut off (\(data.count) bytes in all)")
        }
        guard length <= SafeTensors.maxHeader else {
            throw NextOmniError("\(name): safetensors header of \(length) bytes, at most \(SafeTensors.maxHeader) are read")
        }
        start = 8 + Int(length)
        // JSONDecoder traps at a key that is not UTF-8 (Foundation of Swift 6.0); JSONSerialization throws
        guard let found = try? JSONSerialization.jsonObject(with: data.subdata(in: 8..<start)) as? [String: Any] else {
            throw NextOmniError("\(name): safetensors header is no object in JSON")
        }
        do {
            let tensors = found.filter { $0.key != "__metadata__" }
            header = try Dictionary(uniqueKeysWithValues: tensors.map { ($0.key, try Entry($0.key, $0.value)) })
        } catch { throw NextOmniError("\(name): \(error)") }
        try checkCover()
    }

    /// The tensors cover the rest of the file, in one piece each, without overlap, as the format asks.
    private func checkCover() throws {
        var at = 0
        for (tensor, entry) in header.sorted(by: { ($0.value.begin, $0.value.end, $0.key) < ($1.value.begin, $1.value.end, $1.key) }) {
            guard entry.begin == at else {
                throw NextOmniError("\(name): tensor \(tensor) begins at byte \(start + entry.begin), expected \(start + at)")
            }
            at = entry.end
        }
        guard at == data.count - start else {
            throw NextOmniError("\(name): tensors end at byte \(start + at), the file at \(data.count)")
        }
    }

    /// A tensor and its shape.
    public func floats(_ tensor: String) throws -> (values: [Float], shape: [Int]) {
        guard let entry = header[tensor] else { throw NextOmniError("\(name): tensor \(tensor) is missing") }
        guard entry.dtype == "F32" else { throw NextOmniError("\(name): tensor \(tensor) has dtype \(entry.dtype), expected F32") }
        let values = data.subdata(in: start + entry.begin..<start + entry.end).withUnsafeBytes { bytes in
            stride(from: 0, to: bytes.count, by: 4).map { place in
                Float(bitPattern: UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: place, as: UInt32.self)))
            }
        }
        return (values, entry.shape)
    }

    /// The metric tables of a modality: K tables of C rows. Text has one, of V rows.
    public func metricTables(_ modality: Modality, _ configuration: Configuration) throws -> [[[Float]]] {
        let (values, shape) = try floats(modality.rawValue)
        let (codebooks, entries) = configuration.symbols(modality)
        let rows = modality == .text ? [entries] : [codebooks, entries]
        guard shape.count == rows.count + 1, Array(shape.dropLast()) == rows, let width = shape.last, width > 0 else {
            throw NextOmniError("\(name): tensor \(modality.rawValue) has shape \(shape), expected \(rows) and a width")
        }
        guard values.allSatisfy(\.isFinite) else { throw NextOmniError("\(name): tensor \(modality.rawValue) holds a value that is not finite") }
        return (0..<codebooks).map { table in
            (0..<entries).map { row in
                let first = (table * entries + row) * width
                return Array(values[first..<first + width])
            }
        }
    }
}

/// A tensor's place: its bytes from `begin` to `end` behind the header.
private struct Entry: Sendable {
    let dtype: String
    let shape: [Int]
    let begin, end: Int

    init(_ name: String, _ value: Any) throws {
        guard let fields = value as? [String: Any], Set(fields.keys) == ["dtype", "shape", "data_offsets"] else {
            throw NextOmniError("tensor \(name) must have exactly dtype, shape and data_offsets")
        }
        guard let dtype = fields["dtype"] as? String, let width = SafeTensors.widths[dtype] else {
            throw NextOmniError("tensor \(name) has a dtype that is not one of \(SafeTensors.widths.keys.sorted().joined(separator: ", "))")
        }
        func sizes(_ kind: String) throws -> [Int] {
            guard let found = fields[kind] as? [Int], found.allSatisfy({ $0 >= 0 && $0 < 1 << 62 }) else {
                throw NextOmniError("tensor \(name) has a \(kind) that is not a list of sizes")
            }
            return found
        }
        let (shape, offsets) = (try sizes("shape"), try sizes("data_offsets"))
        guard shape.count <= 8, offsets.count == 2 else {
            throw NextOmniError("tensor \(name) has \(shape.count) dims and \(offsets.count) offsets, expected at most 8 and exactly 2")
        }
        let needed = Entry.product(shape + [width])
        guard let needed, offsets[1] - offsets[0] == needed else {
            throw NextOmniError(
                "tensor \(name) spans \(offsets[1] - offsets[0]) bytes, its shape needs \(needed.map(String.init) ?? "more than there are")")
        }
        (self.dtype, self.shape, begin, end) = (dtype, shape, offsets[0], offsets[1])
    }

    /// nil: the product overflows.
    private static func product(_ sizes: [Int]) -> Int? {
        if sizes.contains(0) { return 0 }
        return sizes.reduce(Optional(1)) { product, size in
            guard let (found, overflow) = product?.multipliedReportingOverflow(by: size), !overflow else { return nil }
            return found
        }
    }
}

extension Configuration {
    /// The metric tables of a model's folder, by modality; a masked model has none.
    public func metricTables(in folder: URL) throws -> [Modality: [[[Float]]]] {
        guard !metric.isEmpty else { return [:] }
        let file = try SafeTensors(folder.appendingPathComponent("metric_tables.safetensors"))
        return try Dictionary(uniqueKeysWithValues: metric.map { ($0, try file.metricTables($0, self)) })
    }
}

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
        let json = data.subdata(in: 8..<start)
        try StrictJSON.check(json, "\(name): safetensors header")
        do { header = try JSONDecoder().decode(Header.self, from: json).tensors } catch let error as NextOmniError {
            throw NextOmniError("\(name): \(error)")
        } catch { throw NextOmniError("\(name): safetensors header is no object") }
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
        let bytes = data[(data.startIndex + start + entry.begin)..<(data.startIndex + start + entry.end)]
        let values = [Float](unsafeUninitializedCapacity: bytes.count / 4) { buffer, count in
            count = bytes.copyBytes(to: UnsafeMutableRawBufferPointer(buffer)) / 4
        }
        return (values, entry.shape)
    }

    /// The metric tables of a modality: K tables of C rows. Text has one, of V rows.
    public func metricTables(_ modality: Modality, _ configuration: Configuration) throws -> [MetricTable] {
        let (values, shape) = try floats(modality.rawValue)
        let (codebooks, entries) = configuration.symbols(modality)
        let rows = modality == .text ? [entries] : [codebooks, entries]
        guard shape.count == rows.count + 1, Array(shape.dropLast()) == rows, let width = shape.last, width > 0 else {
            throw NextOmniError("\(name): tensor \(modality.rawValue) has shape \(shape), expected \(rows) and a width")
        }
        guard allFinite(values) else {
            throw NextOmniError("\(name): tensor \(modality.rawValue) holds a value that is not finite")
        }
        return (0..<codebooks).map { table in
            MetricTable(values[table * entries * width..<(table + 1) * entries * width], dimensions: width)
        }
    }
}

/// Every tensor of a file by name.
private struct Header: Decodable {
    let tensors: [String: Entry]

    init(from decoder: Decoder) throws {
        let found = try decoder.container(keyedBy: AnyKey.self)
        var tensors: [String: Entry] = [:]
        for key in found.allKeys where key.stringValue != "__metadata__" {
            tensors[key.stringValue] = try Entry(key.stringValue, found.superDecoder(forKey: key))
        }
        self.tensors = tensors
    }
}

private struct AnyKey: CodingKey {
    let stringValue: String
    let intValue: Int? = nil

    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
}

/// A tensor's place: its bytes from `begin` to `end` behind the header.
private struct Entry: Sendable {
    static let keys = ["dtype", "shape", "data_offsets"]

    let dtype: String
    let shape: [Int]
    let begin, end: Int

    init(_ name: String, _ decoder: Decoder) throws {
        guard let fields = try? decoder.container(keyedBy: AnyKey.self), Set(fields.allKeys.map(\.stringValue)) == Set(Self.keys) else {
            throw NextOmniError("tensor \(name) must have exactly dtype, shape and data_offsets")
        }
        guard let dtype = try? fields.decode(String.self, forKey: AnyKey(stringValue: "dtype")), let width = SafeTensors.widths[dtype] else {
            throw NextOmniError("tensor \(name) has a dtype that is not one of \(SafeTensors.widths.keys.sorted().joined(separator: ", "))")
        }
        func sizes(_ kind: String) throws -> [Int] {
            guard let found = try? fields.decode([Int].self, forKey: AnyKey(stringValue: kind)),
                found.allSatisfy({ $0 >= 0 && $0 < 1 << 62 })
            else { throw NextOmniError("tensor \(name) has a \(kind) that is not a list of sizes") }
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
    public func metricTables(in folder: URL) throws -> [Modality: [MetricTable]] {
        guard !metric.isEmpty else { return [:] }
        let file = try SafeTensors(folder.appendingPathComponent("metric_tables.safetensors"))
        return try Dictionary(uniqueKeysWithValues: metric.map { ($0, try file.metricTables($0, self)) })
    }
}

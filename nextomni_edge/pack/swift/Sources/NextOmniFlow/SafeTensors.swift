import Foundation

/// Reads float32 tensors of a safetensors file: eight bytes of length, a header in JSON, the numbers.
public struct SafeTensors {
    private let data: Data
    private let start: Int
    private let header: [String: Any]

    public init(_ url: URL) throws {
        let data = try Data(contentsOf: url, options: .mappedIfSafe)
        guard data.count >= 8 else { throw NextOmniError("\(url.lastPathComponent): \(data.count) bytes, no safetensors file") }
        let length = (0..<8).reduce(UInt64(0)) { $0 | UInt64(data[$1]) << (8 * UInt64($1)) }
        guard length <= UInt64(data.count - 8) else { throw NextOmniError("\(url.lastPathComponent): its header is cut off") }
        let end = 8 + Int(length)
        start = end
        guard let found = try JSONSerialization.jsonObject(with: data.subdata(in: 8..<end)) as? [String: Any] else {
            throw NextOmniError("\(url.lastPathComponent): its header is no object")
        }
        (self.data, header) = (data, found)
    }

    /// A tensor and its shape.
    public func floats(_ name: String) throws -> (values: [Float], shape: [Int]) {
        guard let entry = header[name] as? [String: Any], entry["dtype"] as? String == "F32",
            let shape = entry["shape"] as? [Int], let offsets = entry["data_offsets"] as? [Int], offsets.count == 2,
            offsets[0] >= 0, offsets[0] <= offsets[1], start + offsets[1] <= data.count,
            offsets[1] - offsets[0] == 4 * shape.reduce(1, *)
        else { throw NextOmniError("tensor \(name) is not in the file, or not of float32") }
        let bytes = [UInt8](data.subdata(in: start + offsets[0]..<start + offsets[1]))
        let values = stride(from: 0, to: bytes.count, by: 4).map { place in
            Float(bitPattern: (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[place + $1]) << (8 * UInt32($1)) })
        }
        return (values, shape)
    }

    /// The metric tables of a modality: K tables of rows. Text has one.
    public func metricTables(_ modality: Modality) throws -> [[[Float]]] {
        let (values, shape) = try floats(modality.rawValue)
        let (rows, width) = (shape[shape.count - 2], shape[shape.count - 1])
        return (0..<values.count / (rows * width)).map { table in
            (0..<rows).map { row in
                let first = (table * rows + row) * width
                return Array(values[first..<first + width])
            }
        }
    }
}

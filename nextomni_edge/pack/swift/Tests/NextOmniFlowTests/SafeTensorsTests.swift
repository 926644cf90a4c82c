import Foundation
import XCTest

@testable import NextOmniFlow

final class SafeTensorsTests: XCTestCase {
    private func file(_ header: String, _ bytes: Int, length: UInt64? = nil) throws -> URL {
        try file(withUnsafeBytes(of: (length ?? UInt64(header.utf8.count)).littleEndian) { Data($0) } + Data(header.utf8) + Data(count: bytes))
    }

    private func file(_ data: Data) throws -> URL {
        let url = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString).safetensors")
        addTeardownBlock { try? FileManager.default.removeItem(at: url) }
        try data.write(to: url)
        return url
    }

    private func tensor(_ shape: String = "[2,2]", _ offsets: String = "[0,16]", dtype: String = "\"F32\"") -> String {
        "{\"text\":{\"dtype\":\(dtype),\"shape\":\(shape),\"data_offsets\":\(offsets)}}"
    }

    func testATensorIsReadAsItWasWritten() throws {
        let header = "{\"__metadata__\":{\"a\":\"b\"},\"text\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}"
        var data = withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { Data($0) } + Data(header.utf8)
        for value: Float in [1.5, -2] { withUnsafeBytes(of: value.bitPattern.littleEndian) { data.append(contentsOf: $0) } }
        let (values, shape) = try SafeTensors(file(data)).floats("text")
        XCTAssertEqual(values, [1.5, -2])
        XCTAssertEqual(shape, [2])
    }

    func testADamagedFileIsToldInASentence() throws {
        let huge = "4611686018427387903"
        for (url, end) in [
            (try file(Data()), "safetensors header is cut off (0 bytes in all)"),
            (try file(Data([1, 0, 0])), "safetensors header is cut off (3 bytes in all)"),
            (try file("{}", 0, length: .max), "safetensors header is cut off (10 bytes in all)"),
            (try file("", 17 << 20, length: 17 << 20), "safetensors header of 17825792 bytes, at most 16777216 are read"),
            (try file("[1]", 0), "safetensors header is no object"),
            (try file(Data([5, 0, 0, 0, 0, 0, 0, 0]) + Data("{\"".utf8) + Data([0xFF]) + Data("\":".utf8)), "safetensors header: not UTF-8 text"),
            (try file("{\"\\ud800\":1}", 0), "safetensors header: not valid JSON (a wrong escape in a text at byte 9)"),
            (try file("{\"a\":1,\"\\u0061\":1}", 0), "safetensors header: not valid JSON (key 'a' appears twice at byte 15)"),
            (try file("{\"a\":NaN}", 0), "safetensors header: not valid JSON (no value at byte 5)"),
            (try file("{\"a\":1e999}", 0), "safetensors header: not valid JSON (1e999 is out of range at byte 10)"),
            (try file(String(repeating: "[", count: 99), 0), "safetensors header: not valid JSON (nested too deeply at byte 65)"),
            (try file("{\"text\":3}", 0), "tensor text must have exactly dtype, shape and data_offsets"),
            (try file("{\"text\":{\"dtype\":\"F32\",\"shape\":[0]}}", 0), "tensor text must have exactly dtype, shape and data_offsets"),
            (try file(tensor(dtype: "\"F8\""), 16), "tensor text has a dtype that is not one of BF16, BOOL, F16, F32, F64, I16, I32, I64, I8, U8"),
            (try file(tensor("[-2,2]"), 16), "tensor text has a shape that is not a list of sizes"),
            (try file(tensor("[2.5,2]"), 16), "tensor text has a shape that is not a list of sizes"),
            (try file(tensor("[9223372036854775808]"), 16), "tensor text has a shape that is not a list of sizes"),
            (try file(tensor("[2,2]", "[-16,0]"), 16), "tensor text has a data_offsets that is not a list of sizes"),
            (try file(tensor("[1,1,1,1,1,1,1,2,2]"), 16), "tensor text has 9 dims and 2 offsets, expected at most 8 and exactly 2"),
            (try file(tensor("[2,2]", "[0,8,16]"), 16), "tensor text has 2 dims and 3 offsets, expected at most 8 and exactly 2"),
            (try file(tensor("[\(huge),\(huge)]"), 16), "tensor text spans 16 bytes, its shape needs more than there are"),
            (try file(tensor("[2,2]", "[16,0]"), 16), "tensor text spans -16 bytes, its shape needs 16"),
            (try file(tensor("[2,3]"), 16), "tensor text spans 16 bytes, its shape needs 24"),
        ] {
            assertRefused("\(url.lastPathComponent): \(end)") { _ = try SafeTensors(url) }
        }
    }

    func testTensorsMustCoverTheFile() throws {
        let header = tensor("[2,2]", "[4,20]"), start = 8 + header.utf8.count
        let shifted = try file(header, 20)
        assertRefused("\(shifted.lastPathComponent): tensor text begins at byte \(start + 4), expected \(start)") {
            _ = try SafeTensors(shifted)
        }
        let longer = try file(tensor(), 20), end = 8 + tensor().utf8.count
        assertRefused("\(longer.lastPathComponent): tensors end at byte \(end + 16), the file at \(end + 20)") {
            _ = try SafeTensors(longer)
        }
    }

    func testATableThatDoesNotFitTheModelIsRefused() throws {
        let configuration = try Configuration.read(url("config.json"))
        let small = try file(tensor(), 16)
        assertRefused("\(small.lastPathComponent): tensor text has shape [2, 2], expected [320] and a width") {
            _ = try SafeTensors(small).metricTables(.text, configuration)
        }
        let half = try file(tensor("[2,4]", dtype: "\"F16\""), 16)
        assertRefused("\(half.lastPathComponent): tensor text has dtype F16, expected F32") { _ = try SafeTensors(half).floats("text") }
        assertRefused("\(half.lastPathComponent): tensor image is missing") { _ = try SafeTensors(half).floats("image") }
    }
}

import Foundation
import XCTest

@testable import NextOmniFlow

/// A file that the Python wrote (tests/pack/vectors.py).
func vectors<Value: Decodable>(_ name: String, as type: Value.Type = Value.self) throws -> Value {
    try JSONDecoder().decode(Value.self, from: Data(contentsOf: url(name)))
}

func url(_ name: String) -> URL { Bundle.module.resourceURL!.appendingPathComponent("Vectors/\(name)") }

/// What both languages compute from the same numbers, but for the last bits of exp and pow.
func assertClose(_ found: Double, _ expected: Double, _ what: String = "") {
    XCTAssertEqual(found, expected, accuracy: 1e-12 * max(1, abs(expected)), what)
}

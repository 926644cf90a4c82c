import XCTest

@testable import NextOmniFlow

final class TokenizerTests: XCTestCase {
    struct Vector: Decodable {
        let text, decoded: String
        let ids, answer: [Int]
    }

    func testTextsBecomeTheIdsOfPythonAndComeBack() throws {
        let tokenizer = try Tokenizer(url("tokenizer.json"))
        for vector in try vectors("texts.json", as: [Vector].self) {
            XCTAssertEqual(try tokenizer.encode(vector.text), vector.ids, vector.text)
            XCTAssertEqual(tokenizer.decode(vector.answer), vector.decoded)
        }
    }
}

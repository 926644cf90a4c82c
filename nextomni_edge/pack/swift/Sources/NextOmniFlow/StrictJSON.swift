import Foundation

/// JSON as a file format: UTF-8, no key twice, no number out of range, bounded depth. Foundation's readers take the last of two equal
/// keys in silence, and one of them traps at a key that is not UTF-8. (formats/strict_json.py)
struct StrictJSON {
    static let maxDepth = 64

    private let bytes: [UInt8]
    private var at = 0
    private var depth = 0

    /// Throws a sentence that begins with `name`.
    static func check(_ data: Data, _ name: String) throws {
        guard String(validating: data, as: UTF8.self) != nil else { throw NextOmniError("\(name): not UTF-8 text") }
        var parser = StrictJSON(bytes: [UInt8](data))
        do {
            try parser.value()
            parser.blanks()
            if parser.at < parser.bytes.count { throw NextOmniError("more behind its end") }
        } catch let error as NextOmniError { throw NextOmniError("\(name): not valid JSON (\(error) at byte \(parser.at))") }
    }

    /// A file that holds one value.
    static func read<Value: Decodable>(_ type: Value.Type, _ url: URL, snakeCase: Bool = false) throws -> Value {
        let name = url.lastPathComponent
        guard let data = try? Data(contentsOf: url) else { throw NextOmniError("\(name): cannot be read") }
        try check(data, name)
        let decoder = JSONDecoder()
        if snakeCase { decoder.keyDecodingStrategy = .convertFromSnakeCase }
        do { return try decoder.decode(type, from: data) } catch let error as DecodingError {
            throw NextOmniError("\(name): \(error.sentence)")
        } catch let error as NextOmniError { throw NextOmniError("\(name): \(error)") }
    }

    private mutating func blanks() {
        while at < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[at]) { at += 1 }
    }

    private mutating func take(_ symbol: Character) -> Bool {
        blanks()
        guard at < bytes.count, bytes[at] == symbol.asciiValue else { return false }
        at += 1
        return true
    }

    private mutating func need(_ symbol: Character) throws {
        guard take(symbol) else { throw NextOmniError("expected '\(symbol)'") }
    }

    private mutating func value() throws {
        blanks()
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.maxDepth + 1 else { throw NextOmniError("nested too deeply") }
        guard at < bytes.count else { throw NextOmniError("cut off") }
        switch bytes[at] {
        case UInt8(ascii: "{"): try object()
        case UInt8(ascii: "["): try list()
        case UInt8(ascii: "\""): _ = try text()
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): try number()
        default:
            guard let word = ["true", "false", "null"].first(where: { bytes[at...].starts(with: $0.utf8) }) else {
                throw NextOmniError("no value")
            }
            at += word.utf8.count
        }
    }

    private mutating func object() throws {
        at += 1
        var seen: Set<String> = []
        if take("}") { return }
        repeat {
            blanks()
            let key = try text()
            guard seen.insert(key).inserted else { throw NextOmniError("key '\(key.prefix(40))' appears twice") }
            try need(":")
            try value()
        } while take(",")
        try need("}")
    }

    private mutating func list() throws {
        at += 1
        if take("]") { return }
        repeat { try value() } while take(",")
        try need("]")
    }

    /// A text with its escapes resolved: two spellings of a key are one key.
    private mutating func text() throws -> String {
        guard at < bytes.count, bytes[at] == UInt8(ascii: "\"") else { throw NextOmniError("expected a text") }
        at += 1
        var units: [UInt8] = [], escaped = false
        while at < bytes.count, bytes[at] != UInt8(ascii: "\"") {
            guard bytes[at] >= 0x20 else { throw NextOmniError("a control character in a text") }
            if bytes[at] == UInt8(ascii: "\\") {
                escaped = true
                units.append(bytes[at])
                at += 1
                guard at < bytes.count else { break }
            }
            units.append(bytes[at])
            at += 1
        }
        guard at < bytes.count else { throw NextOmniError("cut off") }
        at += 1
        return try escaped ? unescaped(units) : String(decoding: units, as: UTF8.self)
    }

    private func unescaped(_ units: [UInt8]) throws -> String {
        let quoted = Data("[\"".utf8) + Data(units) + Data("\"]".utf8)
        guard let found = try? JSONSerialization.jsonObject(with: quoted) as? [String], let text = found.first else {
            throw NextOmniError("a wrong escape in a text")
        }
        return text
    }

    private mutating func number() throws {
        let start = at
        while at < bytes.count, "+-.0123456789eE".utf8.contains(bytes[at]) { at += 1 }
        let digits = String(decoding: bytes[start..<at], as: UTF8.self)
        let numerals = UInt8(ascii: "0")...UInt8(ascii: "9")
        if at - start < 18, bytes[start] != numerals.lowerBound, bytes[start..<at].allSatisfy(numerals.contains) { return }
        guard digits.wholeMatch(of: #/-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/#) != nil else {
            throw NextOmniError("'\(digits.prefix(20))' is not a number")
        }
        guard Double(digits)?.isFinite == true else { throw NextOmniError("\(digits.prefix(20)) is out of range") }
    }
}

extension DecodingError {
    /// What was expected, and where.
    fileprivate var sentence: String {
        func place(_ context: Context) -> String { context.codingPath.map(\.stringValue).joined(separator: ".") }
        switch self {
        case .keyNotFound(let key, let context):
            return "key '\(([place(context), key.stringValue].filter { !$0.isEmpty }).joined(separator: "."))' is missing"
        case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
            return "\(place(context)): \(context.debugDescription)"
        @unknown default: return "\(self)"
        }
    }
}

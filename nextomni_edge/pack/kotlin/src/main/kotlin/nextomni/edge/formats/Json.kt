package nextomni.edge.formats

import nextomni.edge.NextOmniException

private const val DEEPEST = 64 // objects and lists inside one another

/**
 * JSON of RFC 8259 as maps, lists, strings, whole numbers (Long, above it ULong), other numbers
 * (Double), booleans and null. A name that stands twice in an object is refused, as in Python. org.json is not used:
 * no desktop has it, where the tests run. (formats/strict_json.py)
 */
class Json private constructor(private val text: String, private val where: String) {
    private var at = 0

    private fun document(): Any? {
        val found = value(0)
        space()
        if (at < text.length) fail("more behind the end")
        return found
    }

    private fun value(depth: Int): Any? {
        if (depth > DEEPEST) fail("more than $DEEPEST levels")
        space()
        return when (peek()) {
            '{' -> members(depth)
            '[' -> elements(depth)
            '"' -> string()
            't' -> word("true", true)
            'f' -> word("false", false)
            'n' -> word("null", null)
            else -> number()
        }
    }

    private fun members(depth: Int): Map<String, Any?> {
        val found = LinkedHashMap<String, Any?>()
        listed('}') {
            val name = string()
            space()
            expect(':')
            if (name in found) fail("the name ${name.take(80)} twice")
            found[name] = value(depth + 1)
        }
        return found
    }

    private fun elements(depth: Int): List<Any?> {
        val found = ArrayList<Any?>()
        listed(']') { found.add(value(depth + 1)) }
        return found
    }

    /** What stands between commas, up to the closing sign. */
    private fun listed(closing: Char, each: () -> Unit) {
        at++
        space()
        if (peek() == closing) {
            at++
            return
        }
        while (true) {
            space()
            each()
            space()
            if (peek() == closing) break
            expect(',')
        }
        at++
    }

    private fun string(): String {
        expect('"')
        val found = StringBuilder()
        while (true) {
            val sign = peek()
            if (sign < ' ') fail("a control character in a string")
            at++
            when (sign) {
                '"' -> return found.toString()
                '\\' -> found.append(escaped())
                else -> found.append(sign)
            }
        }
    }

    private fun escaped(): Char {
        val sign = peek()
        at++
        if (sign == 'u') {
            val digits = text.substring(at, minOf(at + 4, text.length))
            if (digits.length < 4 || digits.any { it.digitToIntOrNull(16) == null }) {
                fail("an escape without four digits")
            }
            at += 4
            return digits.toInt(16).toChar()
        }
        val place = ESCAPES.indexOf(sign)
        if (place < 0) fail("an unknown escape")
        return MEANT[place]
    }

    private fun number(): Any {
        val match = NUMBER.find(text, at)
        if (match == null || match.range.first != at) fail("no value")
        at = match.range.last + 1
        val found = match.value
        if (match.groupValues[1].isNotEmpty()) return found.toDouble()
        return found.toLongOrNull() ?: found.toULongOrNull() ?: found.toDouble()
    }

    private fun word(word: String, meant: Boolean?): Boolean? {
        if (!text.startsWith(word, at)) fail("no value")
        at += word.length
        return meant
    }

    private fun space() {
        while (at < text.length && text[at] in " \t\r\n") at++
    }

    private fun peek(): Char = if (at < text.length) text[at] else fail("the end")

    private fun expect(sign: Char) {
        if (peek() != sign) fail("no '$sign'")
        at++
    }

    private fun fail(found: String): Nothing =
        throw NextOmniException("$where: no JSON, found $found at character $at")

    companion object {
        private val NUMBER = Regex("-?(?:0|[1-9][0-9]*)((?:\\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)")
        private const val ESCAPES = "\"\\/bfnrt"
        private const val MEANT = "\"\\/\b\u000c\n\r\t"

        /** NextOmniException, which names `where` and the place: the text is no JSON. */
        fun parse(text: String, where: String): Any? = Json(text, where).document()
    }
}

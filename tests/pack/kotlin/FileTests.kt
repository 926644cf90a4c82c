package nextomni.edge.tests

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Random
import nextomni.edge.NextOmniException
import nextomni.edge.formats.Fields
import nextomni.edge.formats.Json
import nextomni.edge.formats.TensorFile

private const val ROUNDS = 100_000

fun fileTests(): List<Test> = listOf(
    "JSON is read as RFC 8259 has it" to ::reads,
    "what is no JSON is refused with its place" to ::refuses,
    "numbers and names of safetensors" to ::tensors,
    "a safetensors header that lies is refused" to ::liars,
    "no damaged bytes end in anything but a sentence" to ::damaged,
)

private fun reads() {
    val text = "{\"a\": [1, -2.5e3, true, null, \"\\u00e9\\n\\\"\"], \"b\": 18446744073709551615}"
    val found = Fields.parse(text, "t")
    same(found.list("a"), listOf(1L, -2500.0, true, null, "é\n\""))
    same(found.ulongOrNull("b"), ULong.MAX_VALUE)
    same(Json.parse(" [ ] ", "t"), emptyList<Any>())
}

private fun refuses() {
    val wrong = listOf(
        "", "{", "[1,]", "{\"a\":1,}", "{\"a\":1,\"a\":2}", "01", "1.", "NaN", "'a'", "\"\u0001\"",
        "\"\\x\"", "\"\\u12g4\"", "[1] 2", "tru", "{1:2}", "\"a", "[".repeat(70) + "]".repeat(70),
    )
    for (text in wrong) {
        holds(
            refused { Json.parse(text, "t") }.startsWith("t: no JSON, found "),
            "${text.take(20)} was read",
        )
    }
    same(refused { Fields.parse("[]", "t") }, "t: expected an object in JSON")
    same(
        refused { Fields.parse("{\"a\": \"x\"}", "t").int("a") },
        "t: a is not as expected, expected a whole number",
    )
}

/** A file of this header and so many bytes of data. */
private fun file(header: String, data: ByteArray = ByteArray(0)): ByteBuffer {
    val text = header.encodeToByteArray()
    val bytes = ByteBuffer.allocate(8 + text.size + data.size).order(ByteOrder.LITTLE_ENDIAN)
    bytes.putLong(text.size.toLong()).put(text).put(data).flip()
    return bytes
}

private const val HEADER =
    "{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}," +
        "\"n\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[8,16]}}"

private fun content(): ByteArray =
    ByteBuffer.allocate(16).order(ByteOrder.LITTLE_ENDIAN).putFloat(1.5f).putFloat(-2f)
        .putLong(7).array()

private fun tensors() {
    val found = TensorFile(file(HEADER, content()), "t")
    same(found.floats("x").toList(), listOf(1.5f, -2f))
    same(found.ids("n").toList(), listOf(7))
    same(found.shape("x").toList(), listOf(2))
    same(refused { found.floats("n") }, "t: tensor n has dtype I64, expected F32")
    same(refused { found.ids("y") }, "t: tensor y is missing")
}

private fun liars() {
    val one = { entry: String -> file("{\"x\":{$entry}}", ByteArray(8)) }
    val good = "\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"
    TensorFile(one(good), "t")
    val wrong = listOf(
        good.replace("[2]", "[3]"), good.replace("[2]", "[-2]"), good.replace("[0,8]", "[4,12]"),
        good.replace("[0,8]", "[0]"), good.replace("F32", "Q4"), "$good,\"more\":1",
        good.replace("[2]", "[2147483647,2147483647]"), good.replace("[2]", "[2.0]"),
        good.replace("[2]", "[1,1,1,1,1,1,1,1,2]"), good.replace("[0,8]", "[8,0]"),
    )
    for (entry in wrong) holds(refused { TensorFile(one(entry), "t") }.startsWith("t"), entry)
    val two = "{\"x\":{$good},\"y\":{$good}}"
    holds("begins at byte" in refused { TensorFile(file(two, ByteArray(8)), "t") }, "an overlap")
    holds("end at byte" in refused { TensorFile(file("{}", ByteArray(1)), "t") }, "a gap")
    holds("cut off" in refused { TensorFile(ByteBuffer.allocate(7), "t") }, "seven bytes")
}

private fun damaged() {
    val random = Random(3)
    val whole = file(HEADER, content()).array()
    var taken = 0
    repeat(ROUNDS) {
        val bytes = whole.copyOf(if (random.nextInt(4) == 0) random.nextInt(whole.size) else whole.size)
        repeat(1 + random.nextInt(3)) {
            if (bytes.isNotEmpty()) bytes[random.nextInt(bytes.size)] = random.nextInt(256).toByte()
        }
        try {
            val found = TensorFile(ByteBuffer.wrap(bytes), "t")
            for (name in found.names) if (found.isFloat(name)) found.doubles(name)
            taken++
        } catch (_: NextOmniException) {
            return@repeat
        }
    }
    holds(taken > ROUNDS / 100, "only $taken of $ROUNDS files were read")
}

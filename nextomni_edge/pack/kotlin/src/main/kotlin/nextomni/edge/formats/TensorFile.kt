package nextomni.edge.formats

import java.nio.ByteBuffer
import java.nio.ByteOrder
import nextomni.edge.NextOmniException

private const val MAX_HEADER = 16L shl 20
private const val MAX_DIMS = 8
private val WIDTHS = mapOf(
    "F64" to 8, "F32" to 4, "F16" to 2, "BF16" to 2, "I64" to 8, "I32" to 4, "I16" to 2, "I8" to 1,
    "U8" to 1, "BOOL" to 1,
)

/**
 * A safetensors file: eight bytes of length, a header in JSON, the numbers. The whole header is
 * checked before a number is read. (formats/tensor_file.py)
 */
class TensorFile(bytes: ByteBuffer, private val name: String) {
    private class Entry(val dtype: String, val shape: List<Int>, val begin: Long, val end: Long)

    private val data: ByteBuffer
    private val entries: Map<String, Entry>

    /** Names of the tensors. */
    val names: Set<String> get() = entries.keys

    init {
        val all = bytes.duplicate().order(ByteOrder.LITTLE_ENDIAN)
        val length = if (all.remaining() < 8) -1 else all.getLong()
        if (length < 0 || length > all.remaining()) fail("safetensors header is cut off")
        if (length > MAX_HEADER) {
            fail("safetensors header of $length bytes, at most $MAX_HEADER are read")
        }
        val text = ByteArray(length.toInt()).also(all::get).decodeToString()
        data = all.slice().order(ByteOrder.LITTLE_ENDIAN)
        val header = Fields.parse(text, name)
        entries = (header.names - "__metadata__").associateWith { entry(it, header.fields(it)) }
        checkCover()
    }

    /** The tensors cover the rest of the file, in one piece each, without overlap. */
    private fun checkCover() {
        var at = 0L
        val order = compareBy<Map.Entry<String, Entry>>({ it.value.begin }, { it.value.end })
        for ((tensor, entry) in entries.entries.sortedWith(order)) {
            if (entry.begin != at) fail("tensor $tensor begins at byte ${entry.begin}, expected $at")
            at = entry.end
        }
        if (at != data.limit().toLong()) fail("tensors end at byte $at, the file at ${data.limit()}")
    }

    private fun entry(tensor: String, fields: Fields): Entry {
        if (fields.names != setOf("dtype", "shape", "data_offsets")) {
            fail("tensor $tensor must have exactly dtype, shape and data_offsets")
        }
        val dtype = fields.string("dtype")
        val width = WIDTHS[dtype] ?: fail("tensor $tensor has the dtype ${dtype.take(80)}")
        val shape = fields.ints("shape")
        val offsets = fields.ints("data_offsets").map { it.toLong() }
        if (shape.size > MAX_DIMS || offsets.size != 2) {
            fail("tensor $tensor has ${shape.size} dims and ${offsets.size} offsets")
        }
        if (shape.any { it < 0 } || offsets.any { it < 0 }) fail("tensor $tensor has a size under 0")
        val needed = shape.fold(width.toLong()) { size, dim ->
            if (size * dim > Int.MAX_VALUE) fail("tensor $tensor is larger than the file")
            size * dim
        }
        if (offsets[1] - offsets[0] != needed) {
            fail("tensor $tensor spans ${offsets[1] - offsets[0]} bytes, its shape needs $needed")
        }
        return Entry(dtype, shape, offsets[0], offsets[1])
    }

    /** The dims of a tensor. */
    fun shape(tensor: String): IntArray = found(tensor).shape.toIntArray()

    /** Whether a tensor holds float32 or float64, not whole numbers. */
    fun isFloat(tensor: String): Boolean = found(tensor).dtype in setOf("F32", "F64")

    /** A tensor of float32, row after row. */
    fun floats(tensor: String): FloatArray {
        val entry = found(tensor)
        if (entry.dtype != "F32") fail("tensor $tensor has dtype ${entry.dtype}, expected F32")
        return FloatArray(entry.count).also { bytes(entry).asFloatBuffer().get(it) }
    }

    /** A tensor of float32 or float64. */
    fun doubles(tensor: String): DoubleArray {
        val entry = found(tensor)
        if (entry.dtype == "F64") {
            return DoubleArray(entry.count).also { bytes(entry).asDoubleBuffer().get(it) }
        }
        val floats = floats(tensor)
        return DoubleArray(floats.size) { floats[it].toDouble() }
    }

    /** A tensor of whole numbers. */
    fun ids(tensor: String): IntArray {
        val entry = found(tensor)
        val bytes = bytes(entry)
        return when (entry.dtype) {
            "I64" -> IntArray(entry.count) { bytes.getLong(8 * it).toInt() }
            "I32" -> IntArray(entry.count) { bytes.getInt(4 * it) }
            "U8", "BOOL" -> IntArray(entry.count) { bytes.get(it).toInt() and 0xff }
            else -> fail("tensor $tensor has dtype ${entry.dtype}, expected whole numbers")
        }
    }

    private val Entry.count: Int get() = shape.fold(1) { size, dim -> size * dim }

    private fun bytes(entry: Entry): ByteBuffer {
        val view = data.duplicate()
        view.limit(entry.end.toInt())
        view.position(entry.begin.toInt())
        return view.slice().order(ByteOrder.LITTLE_ENDIAN)
    }

    private fun found(tensor: String): Entry =
        entries[tensor] ?: fail("tensor $tensor is missing")

    private fun fail(sentence: String): Nothing = throw NextOmniException("$name: $sentence")
}

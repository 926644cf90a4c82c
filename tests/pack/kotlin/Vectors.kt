package nextomni.edge.tests

import java.io.File
import nextomni.edge.formats.Fields
import nextomni.edge.formats.Json

/** A test and its sentence. */
typealias Test = Pair<String, () -> Unit>

/** The files of tests/pack/vectors.py, whose names for options are Swift's. */
class Vectors(private val folder: File) {
    private fun text(name: String) = File(folder, name).readText()

    fun fields(name: String): Fields = Fields.parse(text(name), name)

    /** The objects of a file that is a list. */
    fun objects(name: String): List<Fields> =
        Fields.parse("{\"all\":${text(name)}}", name).objects("all")

    fun json(name: String): Any? = Json.parse(text(name), name)
}

fun Fields.floats(name: String): FloatArray =
    flat(list(name)).map { it.toFloat() }.toFloatArray()

fun Fields.doubles(name: String): DoubleArray =
    flat(list(name)).map { it.toDouble() }.toDoubleArray()

/** Whole numbers of lists of lists. */
fun Fields.whole(name: String): List<Int> = flat(list(name)).map { it.toInt() }

/** Rows of floats. */
fun Fields.rowsOfFloats(name: String): List<FloatArray> =
    list(name).map { row -> flat(row).map { it.toFloat() }.toFloatArray() }

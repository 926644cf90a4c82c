package nextomni.edge.formats

import nextomni.edge.NextOmniException

/**
 * The fields of a JSON object. Each is read as the kind that is expected; what is missing or of
 * another kind is a NextOmniException that names its place. A default stands in for a missing one.
 */
class Fields(private val values: Map<String, Any?>, private val where: String) {
    val names: Set<String> get() = values.keys

    fun int(name: String, default: Int? = null): Int =
        whole(name) ?: default ?: wrong(name, "a whole number")

    fun intOrNull(name: String): Int? = whole(name)

    fun double(name: String, default: Double? = null): Double =
        number(name) ?: default ?: wrong(name, "a number")

    fun doubleOrNull(name: String): Double? = number(name)

    fun boolean(name: String, default: Boolean? = null): Boolean =
        typed(name, "true or false") ?: default ?: wrong(name, "true or false")

    fun string(name: String, default: String? = null): String =
        typed(name, "a string") ?: default ?: wrong(name, "a string")

    fun stringOrNull(name: String): String? = typed(name, "a string")

    fun ulongOrNull(name: String): ULong? = when (val found = values[name]) {
        null -> null
        is ULong -> found
        is Long -> if (found >= 0) found.toULong() else wrong(name, "0 to 2**64 - 1")
        else -> wrong(name, "0 to 2**64 - 1")
    }

    fun fields(name: String): Fields = fieldsOrNull(name) ?: wrong(name, "an object")

    fun fieldsOrNull(name: String): Fields? =
        typed<Map<*, *>>(name, "an object")?.let { of(it, "$where.$name") }

    fun list(name: String): List<Any?> = listOrNull(name) ?: wrong(name, "a list")

    fun listOrNull(name: String): List<Any?>? = typed(name, "a list")

    fun ints(name: String): List<Int> =
        listOrNull(name).orEmpty().map { toInt(it) ?: wrong(name, "a list of whole numbers") }

    fun strings(name: String): List<String> =
        list(name).map { it as? String ?: wrong(name, "a list of strings") }

    /** Objects of a list. */
    fun objects(name: String): List<Fields> = list(name).map {
        of(it as? Map<*, *> ?: wrong(name, "a list of objects"), "$where.$name")
    }

    private fun whole(name: String): Int? {
        val found = values[name] ?: return null
        return toInt(found) ?: wrong(name, "a whole number")
    }

    private fun toInt(value: Any?): Int? =
        (value as? Long)?.takeIf { it in Int.MIN_VALUE..Int.MAX_VALUE }?.toInt()

    private fun number(name: String): Double? {
        val found = values[name] ?: return null
        return (found as? Number)?.toDouble() ?: wrong(name, "a number")
    }

    private inline fun <reified T> typed(name: String, expected: String): T? {
        val found = values[name] ?: return null
        return found as? T ?: wrong(name, expected)
    }

    private fun wrong(name: String, expected: String): Nothing {
        val found = if (values[name] == null) "missing" else "not as expected"
        throw NextOmniException("$where: $name is $found, expected $expected")
    }

    companion object {
        /** The object of a file. */
        fun parse(text: String, where: String): Fields =
            of(
                Json.parse(text, where) as? Map<*, *>
                    ?: throw NextOmniException("$where: expected an object in JSON"),
                where,
            )

        private fun of(values: Map<*, *>, where: String): Fields =
            Fields(values.entries.associate { (name, value) -> name as String to value }, where)
    }
}

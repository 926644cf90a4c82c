package nextomni.edge.tests

import java.io.File
import kotlin.math.abs
import kotlin.math.max
import kotlin.system.exitProcess
import nextomni.edge.NextOmniException

/** What a failed check says. */
class Failed(message: String) : Exception(message)

fun same(found: Any?, expected: Any?, what: String = "") {
    if (found != expected) throw Failed("$what: found $found, expected $expected".take(2000))
}

fun holds(condition: Boolean, what: String) {
    if (!condition) throw Failed(what)
}

/** Within 1e-9 of the larger of 1 and what is expected. */
fun near(found: Double, expected: Double, what: String = "") = holds(
    found == expected || abs(found - expected) <= 1e-9 * max(1.0, abs(expected)),
    "$what: found $found, expected $expected",
)

/** The sentence that refuses. */
fun refused(run: () -> Unit): String = try {
    run()
    throw Failed("nothing was refused")
} catch (error: NextOmniException) {
    error.message.orEmpty()
}

/** A sentence of Python's with numbers as Kotlin writes them. */
fun written(sentence: String): String =
    sentence.replace(Regex("\\bnan\\b"), "NaN").replace(Regex("\\binf\\b"), "Infinity")

/** `check FOLDER`: the numbers that Python computed (tests/pack/vectors.py), one line for each test. */
fun main(arguments: Array<String>) {
    val vectors = Vectors(File(arguments[0]))
    val tests = flowTests(vectors) + maskedTests(vectors) + tokenTests(vectors) + fileTests()
    var failed = 0
    for ((name, test) in tests) {
        try {
            test()
            println("ok $name")
        } catch (error: Throwable) { // a test that fails must not hide the others
            failed++
            println("not ok $name: $error")
            error.stackTrace.take(4).forEach { println("  at $it") }
        }
    }
    println("${tests.size - failed} passed, $failed failed")
    if (failed > 0) exitProcess(1)
}

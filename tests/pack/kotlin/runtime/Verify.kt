package nextomni.edge.tests

import java.io.File
import kotlin.system.exitProcess
import nextomni.edge.Bundle
import nextomni.edge.Model
import nextomni.edge.android.OrtComponents

/** `verify FOLDER`: the golden trace of a packed model, with ONNX Runtime's Java classes. */
fun main(arguments: Array<String>) {
    val bundle = Bundle.open(File(arguments[0]))
    val report = OrtComponents(bundle, threads = 1).use { Model(bundle, it).verify() }
    println("${report.draws.size} tasks, ${report.draws.values.sum()} draws the same")
    val worst = report.components.maxByOrNull { it.value }
    println("${report.components.size} components, largest error ${worst?.value} of ${worst?.key}")
    for (line in report.ties) println("tie: $line")
    for (line in report.failures) println("failed: $line")
    if (report.failures.isNotEmpty()) exitProcess(1)
}

package nextomni.edge.tests

import android.content.Context
import java.io.File
import kotlin.system.exitProcess
import nextomni.edge.Bundle
import nextomni.edge.Model
import nextomni.edge.NextOmniException
import nextomni.edge.android.OrtComponents
import nextomni.edge.android.installedBundle

/**
 * `install ASSETS FILES` copies a packed model as an app does at its first start. Then it loads the
 * model, and asks for a text, which the stand-in refuses.
 */
fun main(arguments: Array<String>) {
    try {
        val bundle: Bundle = installedBundle(Context(File(arguments[0]), File(arguments[1])))
        println("installed ${bundle.config.modalities.size} modalities")
        OrtComponents(bundle).use { Model(bundle, it).generate("what is this?") }
    } catch (error: NextOmniException) {
        System.err.println("error: ${error.message}")
        exitProcess(1)
    }
}

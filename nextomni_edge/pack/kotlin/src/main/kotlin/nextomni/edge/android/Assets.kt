package nextomni.edge.android

import android.content.Context
import java.io.File
import java.io.FileNotFoundException
import nextomni.edge.Bundle
import nextomni.edge.NextOmniException

private const val FOLDER = "nextomni" // of the module's assets
private const val MANIFEST = "manifest.json"

/**
 * The model among the app's assets, copied into the app's own files where it is not there yet. ONNX
 * Runtime reads files, and assets are none. A copy that was interrupted has no manifest and is made
 * again. What an older model left behind is deleted.
 */
fun installedBundle(context: Context): Bundle {
    val assets = context.assets
    val names = assets.list(FOLDER).orEmpty()
    if (MANIFEST !in names) throw NextOmniException("the app has no assets/$FOLDER/$MANIFEST")
    val manifest = assets.open("$FOLDER/$MANIFEST").use { it.readBytes() }
    val folder = File(context.filesDir, FOLDER)
    val known = try {
        File(folder, MANIFEST).readBytes()
    } catch (_: FileNotFoundException) {
        null
    }
    if (known == null || !known.contentEquals(manifest)) {
        folder.deleteRecursively()
        folder.mkdirs()
        for (name in names.filter { it != MANIFEST }) {
            assets.open("$FOLDER/$name").use { from ->
                File(folder, name).outputStream().use { from.copyTo(it) }
            }
        }
        File(folder, MANIFEST).writeBytes(manifest)
    }
    return Bundle.open(folder)
}

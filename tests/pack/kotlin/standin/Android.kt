// What Assets.kt uses of Android's Context: assets are a folder here.
package android.content

import java.io.File
import java.io.InputStream

class AssetManager(private val folder: File) {
    fun list(path: String): Array<String>? = File(folder, path).list()

    fun open(name: String): InputStream = File(folder, name).inputStream()
}

class Context(assetFolder: File, val filesDir: File) {
    val assets = AssetManager(assetFolder)
}

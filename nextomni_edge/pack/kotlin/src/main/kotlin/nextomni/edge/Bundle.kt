package nextomni.edge

import java.io.File
import java.io.IOException
import java.io.RandomAccessFile
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.security.MessageDigest
import nextomni.edge.formats.Fields
import nextomni.edge.formats.TensorFile
import nextomni.edge.verify.GoldenTrace

private const val FORM = "nextomni-edge-android"
private const val VERSION = 1
private const val MANIFEST = "manifest.json"
private const val MAX_MANIFEST = 64 shl 20 // bytes
private const val READ = 1 shl 20

/**
 * A packed model: a folder with manifest.json and the files that it names. The SHA-256 of each file
 * is checked against the manifest before the file is used. (bundle/reader.py, pack/android.py)
 */
class Bundle private constructor(private val folder: File, private val manifest: Fields) {
    val config = ModelConfig(manifest.fields("config"))
    private val files = manifest.fields("files")
    private val components = manifest.fields("components")
    private val checked = HashSet<String>()

    /** A file that is what the manifest says. NextOmniException: it is not. */
    @Synchronized
    fun file(name: String): File {
        val record = files.fieldsOrNull(name)
        if (record == null || name != File(name).name) fail("the model has no file ${name.take(80)}")
        val file = File(folder, name)
        if (name in checked) return file
        val size = record.ulongOrNull("size")
        if (file.length().toULong() != size) {
            fail("$name has ${file.length()} bytes, expected $size; copy the folder again")
        }
        if (digest(file) != record.string("sha256")) {
            fail("$name is not what the manifest says (SHA-256); copy the folder again")
        }
        checked.add(name)
        return file
    }

    /** The graph of a component, in ORT format. */
    fun graph(component: String): File {
        val record = components.fieldsOrNull(component) ?: fail("the model has no $component")
        return file(record.string("file"))
    }

    /** The parsed tokenizer.json. */
    fun tokenizer(): Fields {
        val name = manifest.string("tokenizer")
        return Fields.parse(file(name).readText(), name)
    }

    /** The metric tables, by modality. */
    fun metricTables(): TensorFile = tensors(manifest.string("metric_tables"))

    /** What the exported model computed. */
    fun golden(): GoldenTrace {
        val data = manifest.fields("golden")
        val limits = components.names.associateWith { components.fields(it).double("limit") }
        return GoldenTrace(data, tensors(data.string("file")), limits)
    }

    private fun tensors(name: String): TensorFile = TensorFile(mapped(file(name)), name)

    private fun mapped(file: File): ByteBuffer = RandomAccessFile(file, "r").use {
        it.channel.map(FileChannel.MapMode.READ_ONLY, 0, it.length())
    }

    private fun digest(file: File): String {
        val digest = MessageDigest.getInstance("SHA-256")
        file.inputStream().use { stream ->
            val block = ByteArray(READ)
            while (true) {
                val count = stream.read(block)
                if (count < 0) break
                digest.update(block, 0, count)
            }
        }
        return digest.digest().joinToString("") { "%02x".format(it) }
    }

    private fun fail(sentence: String): Nothing = throw NextOmniException("$folder: $sentence")

    companion object {
        /** NextOmniException: no folder that `pack --for android` wrote. */
        fun open(folder: File): Bundle {
            val file = File(folder, MANIFEST)
            if (!file.isFile || file.length() > MAX_MANIFEST) {
                throw NextOmniException("$folder: no $MANIFEST; copy the whole folder here")
            }
            val text = try {
                file.readText()
            } catch (error: IOException) {
                throw NextOmniException("$file: cannot be read (${error.message})")
            }
            val manifest = Fields.parse(text, MANIFEST)
            val form = manifest.string("form", "")
            if (form != FORM) {
                throw NextOmniException("$file: form '${form.take(80)}', expected $FORM")
            }
            val version = manifest.int("version")
            if (version != VERSION) {
                throw NextOmniException(
                    "$folder: packed in form $version, expected $VERSION; pack it again",
                )
            }
            return Bundle(folder, manifest)
        }
    }
}

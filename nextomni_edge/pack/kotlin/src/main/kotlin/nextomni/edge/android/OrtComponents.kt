package nextomni.edge.android

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtSession
import ai.onnxruntime.TensorInfo
import java.nio.ByteBuffer
import java.nio.FloatBuffer
import java.nio.LongBuffer
import nextomni.edge.Bundle
import nextomni.edge.NextOmniException
import nextomni.edge.generate.Components
import nextomni.edge.generate.Tensor

/**
 * The components of a packed model on ONNX Runtime: a session for each, loaded on first use. Calls
 * come from one thread. (runtimes/onnx/runtime.py)
 */
class OrtComponents(
    private val bundle: Bundle, private val threads: Int = 4,
) : Components, AutoCloseable {
    private val environment = OrtEnvironment.getEnvironment()
    private val sessions = HashMap<String, OrtSession>()

    override fun run(
        component: String, inputs: Map<String, Tensor>, outputs: List<String>,
    ): Map<String, Tensor> = try {
        val session = sessions.getOrPut(component) { load(component) }
        val given = HashMap<String, OnnxTensor>()
        try {
            for ((name, info) in session.inputInfo) {
                val tensor = inputs[name]
                    ?: throw NextOmniException("$component: input $name is missing")
                given[name] = onnx(tensor, (info.info as TensorInfo).type)
            }
            session.run(given, outputs.toSet()).use { found ->
                outputs.associateWith { taken(component, it, found.get(it).orElse(null)) }
            }
        } finally {
            given.values.forEach { it.close() }
        }
    } catch (error: OrtException) {
        throw NextOmniException("$component: ONNX Runtime failed (${error.message})")
    }

    /** Free what the sessions hold. */
    override fun close() {
        sessions.values.forEach { it.close() }
        sessions.clear()
    }

    private fun load(component: String): OrtSession = OrtSession.SessionOptions().use { options ->
        options.setIntraOpNumThreads(threads)
        environment.createSession(bundle.graph(component).path, options)
    }

    private fun onnx(tensor: Tensor, type: OnnxJavaType): OnnxTensor {
        val shape = LongArray(tensor.dims.size) { tensor.dims[it].toLong() }
        return when (tensor) {
            is Tensor.Floats ->
                OnnxTensor.createTensor(environment, FloatBuffer.wrap(tensor.values), shape)
            is Tensor.Ints -> if (type == OnnxJavaType.BOOL) {
                val bytes = ByteArray(tensor.values.size) { tensor.values[it].toByte() }
                OnnxTensor.createTensor(environment, ByteBuffer.wrap(bytes), shape, type)
            } else {
                val longs = LongArray(tensor.values.size) { tensor.values[it].toLong() }
                OnnxTensor.createTensor(environment, LongBuffer.wrap(longs), shape)
            }
        }
    }

    private fun taken(component: String, name: String, value: Any?): Tensor {
        val tensor = value as? OnnxTensor
            ?: throw NextOmniException("$component: output $name is missing")
        val dims = tensor.info.shape.map { it.toInt() }.toIntArray()
        val count = dims.fold(1) { size, dim -> size * dim }
        return when (tensor.info.type) {
            OnnxJavaType.FLOAT ->
                Tensor.Floats(FloatArray(count).also { tensor.floatBuffer.get(it) }, dims)
            OnnxJavaType.INT64 -> tensor.longBuffer.let { longs ->
                Tensor.Ints(IntArray(count) { longs.get(it).toInt() }, dims)
            }
            else -> throw NextOmniException("$component: output $name has type ${tensor.info.type}")
        }
    }
}

// What OrtComponents.kt uses of ONNX Runtime's Java classes, to check its types without them.
@file:Suppress("UNUSED_PARAMETER", "unused")

package ai.onnxruntime

import java.nio.ByteBuffer
import java.nio.FloatBuffer
import java.nio.LongBuffer
import java.util.Optional

private fun absent(): Nothing = throw OrtException("a stand-in computes nothing")

enum class OnnxJavaType { FLOAT, INT64, BOOL, STRING }

class OrtException(message: String) : Exception(message)

interface ValueInfo

class TensorInfo(val type: OnnxJavaType, val shape: LongArray) : ValueInfo

class NodeInfo(val name: String, val info: ValueInfo)

interface OnnxValue : AutoCloseable

class OnnxTensor private constructor() : OnnxValue {
    val info: TensorInfo get() = absent()
    val floatBuffer: FloatBuffer get() = absent()
    val longBuffer: LongBuffer get() = absent()

    override fun close() = Unit

    companion object {
        @JvmStatic
        fun createTensor(env: OrtEnvironment, data: FloatBuffer, shape: LongArray): OnnxTensor =
            absent()

        @JvmStatic
        fun createTensor(env: OrtEnvironment, data: LongBuffer, shape: LongArray): OnnxTensor =
            absent()

        @JvmStatic
        fun createTensor(
            env: OrtEnvironment, data: ByteBuffer, shape: LongArray, type: OnnxJavaType,
        ): OnnxTensor = absent()
    }
}

class OrtEnvironment private constructor() {
    fun createSession(path: String, options: OrtSession.SessionOptions): OrtSession = absent()

    companion object {
        @JvmStatic
        fun getEnvironment(): OrtEnvironment = OrtEnvironment()
    }
}

class OrtSession private constructor() : AutoCloseable {
    val inputInfo: Map<String, NodeInfo> get() = absent()

    fun run(inputs: Map<String, OnnxTensor>, outputs: Set<String>): Result = absent()

    override fun close() = Unit

    class Result private constructor() : AutoCloseable {
        fun get(name: String): Optional<OnnxValue> = absent()

        override fun close() = Unit
    }

    class SessionOptions : AutoCloseable {
        fun setIntraOpNumThreads(threads: Int) = Unit

        override fun close() = Unit
    }
}

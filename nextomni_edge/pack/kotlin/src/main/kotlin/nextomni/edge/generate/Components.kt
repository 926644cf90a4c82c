package nextomni.edge.generate

/** What crosses a component's border, row after row. */
sealed interface Tensor {
    val dims: IntArray

    class Floats(val values: FloatArray, override val dims: IntArray) : Tensor

    /** Ids and truth values; a graph may hold them as int64 or bool. */
    class Ints(val values: IntArray, override val dims: IntArray) : Tensor
}

/** Runs one component of the model: ONNX Runtime on a phone, anything else in a test. */
fun interface Components {
    /** At least the named outputs. */
    fun run(
        component: String, inputs: Map<String, Tensor>, outputs: List<String>,
    ): Map<String, Tensor>
}

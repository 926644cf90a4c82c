package nextomni.edge.flow

/**
 * How a masked model writes its rows, by the names of Python's CommitConfig. (decoding.py)
 *
 * `count`: how many rows a step writes; `score`: what they are ranked by, of tempered logits where
 * `tempered`; `scoreNoise`: how the score is noised; `never`: symbols that are not drawn; `last`:
 * symbols that a score leaves out; `ends`: symbols at which a finished block ends the answer.
 */
data class CommitRule(
    val count: String = "even",
    val score: String = "probability",
    val tempered: Boolean = false,
    val scoreNoise: String = "none",
    val block: Int = 0,
    val threshold: Double = 0.0,
    val topK: Int = 0,
    val topP: Double = 1.0,
    val never: List<Int> = emptyList(),
    val last: List<Int> = emptyList(),
    val total: String = "masked",
    val early: Boolean = false,
    val drawTemperature: Double? = null,
    val ends: List<Int> = emptyList(),
)

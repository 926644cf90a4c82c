package nextomni.edge.generate

import nextomni.edge.Kind
import nextomni.edge.ModelConfig
import nextomni.edge.NextOmniException
import nextomni.edge.PathSettings

/**
 * The options of a generation; those of Python's that only save time, and the caches, are not here.
 * `guidanceUntil`: guidance ends at this time. `guidanceImage`: the second scale, of a picture that
 * is edited. `block`, `threshold`: of the commit step, in place of the model's own.
 * (generate/options.py, faults.py)
 */
data class Options(
    val steps: Int = 32,
    val stepper: String = "euler",
    val temperature: Double = 1.0,
    val topK: Int = 0,
    val topP: Double = 1.0,
    val guidance: Double = 0.0,
    val guidanceUntil: Double = 1.0,
    val guidanceImage: Double = 0.0,
    val block: Int? = null,
    val threshold: Double? = null,
    val seed: ULong = 0uL,
) {
    /** Whether logits are compared with those of a prompt without its condition. */
    val guided: Boolean get() = guidance > 0 || guidanceImage > 0

    /** NextOmniException: names every value that is out of its range, in Python's words. */
    fun check(path: PathSettings) {
        val greedy = temperature == 0.0
        val faults = ranges(steppersOf(path)) + listOf(
            (guidanceUntil < 1 && !guided) to
                "guidance_until is for guidance: give a scale, or leave guidance_until out",
            (greedy && topK > 0) to noDraw("top_k"),
            (greedy && topP < 1) to noDraw("top_p"),
        )
        val found = faults.filter { (wrong) -> wrong }
        if (found.isNotEmpty()) throw NextOmniException(found.joinToString("; ") { it.second })
    }

    /** (wrong, sentence) of each value. No range holds NaN. */
    private fun ranges(steppers: List<String>): List<Pair<Boolean, String>> = listOf(
        (steps < 1) to "steps is $steps, expected at least 1",
        (stepper !in steppers) to
            "stepper is '$stepper', expected one of ${steppers.joinToString(", ")}",
        !finite(temperature) to "temperature is $temperature, expected a finite number from 0",
        (topK < 0) to "top_k is $topK, expected at least 0",
        !(topP > 0 && topP <= 1) to "top_p is $topP, expected over 0 and at most 1",
        !finite(guidance) to "guidance is $guidance, expected a finite number from 0",
        !share(guidanceUntil) to "guidance_until is $guidanceUntil, expected 0 to 1",
        !finite(guidanceImage) to
            "guidance_image is $guidanceImage, expected a finite number from 0",
        (block != null && block < 0) to "block is $block, expected at least 0",
        (threshold != null && !share(threshold)) to "threshold is $threshold, expected 0 to 1",
    )

    companion object {
        /** The names of the steps that a path can be sampled with, the default first. */
        fun steppersOf(path: PathSettings): List<String> {
            val rules = if (path.kind == "metric") listOf("euler", "corrected") else listOf("jump")
            return if (path.commit == null) rules else listOf("commit") + rules
        }

        /** The model's settings for a kind of answer. */
        fun of(config: ModelConfig, kind: Kind): Options {
            val path = config.path(kind)
            return Options(
                path.steps, steppersOf(path)[0], path.temperature, guidance = path.guidance,
            )
        }

        private fun finite(value: Double) = value >= 0 && value < Double.POSITIVE_INFINITY

        private fun share(value: Double) = value >= 0 && value <= 1

        private fun noDraw(name: String) =
            "$name means nothing at temperature 0: raise the temperature or leave $name out"
    }
}

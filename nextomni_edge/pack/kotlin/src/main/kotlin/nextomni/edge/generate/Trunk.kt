package nextomni.edge.generate

import nextomni.edge.Kind
import nextomni.edge.NextOmniException
import nextomni.edge.tokens.TokenSequence

/**
 * Embeddings and backbone over the branches of guidance. `hidden` holds for each branch the states
 * (R·H,) that predict the generated rows. Prompts are embedded once. (generate/trunk.py)
 */
class Trunk(val model: EdgeModel, val sequence: TokenSequence, options: Options) {
    /** A whole sequence (S·H,), and where its generated rows stand. */
    private class Branch(val embeddings: FloatArray, val rows: IntArray)

    /** What is computed once of prompts that see nothing of the response. */
    private class Computed(val hidden: List<FloatArray>, val prompt: Prompt)

    val modality: Kind =
        sequence.generated.map { sequence.segments[it].modality }.distinct().singleOrNull()
            ?: throw NextOmniException(
                "a run generates one modality: append a response, and one at a time",
            )
    var hidden: List<FloatArray> = emptyList()
        private set
    private val codes = model.config.codebooks(modality)
    private val width = model.config.backbone.hiddenSize
    private val guidanceUntil = options.guidanceUntil
    private var branches: List<Branch>
    private var before: IntArray? = null // x_t of the last forward
    private var prompt: Computed? = null

    init {
        if (guidanceUntil < 1 && model.config.backbone.prefix) {
            throw NextOmniException(
                "guidance_until is for models and caches that keep no keys and values",
            )
        }
        if (sequence.promptLength < model.config.logitShift) {
            throw NextOmniException(
                "the first row has none before it to be predicted from: give a prompt before the " +
                    "response",
            )
        }
        val compared = if (options.guided) model.without(sequence, modality) else emptyList()
        branches = (listOf(sequence) + compared).map {
            Branch(model.sequenceEmbeddings(it), it.rows)
        }
    }

    /** Whether predictions will change although no token does: guidance will end. */
    val changesLater: Boolean get() = branches.size > 1 && guidanceUntil < 1

    /**
     * The time of the coming forwards. Behind the end of guidance they have one branch, and all is
     * computed again.
     */
    fun at(t: Double) {
        if (t <= guidanceUntil || branches.size == 1) return
        branches = branches.take(1)
        hidden = hidden.take(1)
        before = null
    }

    /**
     * Bring `hidden` up to tokens (R·K,); false where no token changed since the last forward, so
     * that nothing was computed.
     */
    fun refresh(x_t: IntArray): Boolean {
        val changed = changed(x_t)
        if (changed.isEmpty()) return false
        embed(x_t, changed)
        before = x_t.copyOf()
        val shift = model.config.logitShift
        hidden = states().zip(branches) { found, branch -> rows(found, branch.rows, shift) }
        return true
    }

    /** The states (R·H,) `shift` rows before these, of states (S·H,). */
    private fun rows(states: FloatArray, rows: IntArray, shift: Int): FloatArray {
        val found = FloatArray(rows.size * width)
        rows.forEachIndexed { place, row ->
            val from = (row - shift) * width
            states.copyInto(found, place * width, from, from + width)
        }
        return found
    }

    /** Rows in which a token changed. */
    private fun changed(x_t: IntArray): List<Int> {
        val rows = 0 until x_t.size / codes
        val known = before ?: return rows.toList()
        return rows.filter { row ->
            (row * codes until (row + 1) * codes).any { x_t[it] != known[it] }
        }
    }

    /** Put the embeddings of these generated rows where the backbone reads them, in every branch. */
    private fun embed(x_t: IntArray, changed: List<Int>) {
        val tokens = IntArray(changed.size * codes) {
            x_t[changed[it / codes] * codes + it % codes]
        }
        val found = model.embeddings(modality, tokens)
        for (branch in branches) {
            changed.forEachIndexed { at, row ->
                val place = branch.rows[row] * width
                found.copyInto(branch.embeddings, place, at * width, (at + 1) * width)
            }
        }
    }

    /**
     * Hidden states (S·H,) of each branch. With prefix attention, only the response's rows are
     * computed again.
     */
    private fun states(): List<FloatArray> {
        val all = branches.map { it.embeddings }
        val alike = all.all { it.size == all[0].size }
        val length = if (model.config.backbone.prefix) sequence.promptLength else 0
        if (length > 0 && !alike) {
            throw NextOmniException(
                "guidance: the prompt that it compares with is shorter here; take no guidance",
            )
        }
        if (!alike) return all.map { model.attend(listOf(it)).hidden[0] }
        if (length == 0) return model.attend(all).hidden
        val kept = prompt ?: computed(all.map { it.copyOf(length * width) }).also { prompt = it }
        val behind = all.map { it.copyOfRange(length * width, it.size) }
        val response = model.attend(behind, kept.prompt).hidden
        return kept.hidden.zip(response) { own, later -> own + later }
    }

    private fun computed(prompts: List<FloatArray>): Computed {
        val found = model.attend(prompts, keep = true)
        return Computed(found.hidden, checkNotNull(found.kept))
    }
}

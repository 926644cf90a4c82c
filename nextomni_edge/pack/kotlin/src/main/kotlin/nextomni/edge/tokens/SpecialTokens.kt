package nextomni.edge.tokens

import nextomni.edge.Kind

private val CHATML = listOf(
    "pad", "eos", "null", "im_start", "im_end", "image_start", "image_end", "audio_start",
    "audio_end", "video_start", "video_end",
).associateWith { "<|$it|>" }
private val LLADA = mapOf(
    "pad" to "<|endoftext|>",
    "eos" to "<|endoftext|>",
    "bos" to "<|startoftext|>",
    "mask" to "<|mdm_mask|>",
    "null" to "<|mdm_mask|>",
    "im_start" to "<|start_header_id|>",
    "head_end" to "<|end_header_id|>",
    "im_end" to "<|eot_id|>",
)
private val MMADA = LLADA + mapOf(
    "image_start" to "<|reserved_token_0|>",
    "image_end" to "<|reserved_token_1|>",
    "task_image" to "<|reserved_token_4|>",
    "task_seen" to "<|reserved_token_5|>",
)
private val LUMINA = mapOf(
    "pad" to "<|endoftext|>",
    "eos" to "<|endoftext|>",
    "mask" to "<|mdm_mask|>",
    "null" to "<|mdm_mask|>",
    "image_start" to "<Image>",
    "image_end" to "</Image>",
    "system" to "<system>",
    "system_end" to "</system>",
    "user" to "<user>",
    "user_end" to "</user>",
    "answer" to "<answer>",
    "answer_end" to "</answer>",
    "dropped" to "<uncondition>",
    "newline" to "<|reserved_token_0|>",
)
private val DREAM = mapOf(
    "pad" to "<|endoftext|>",
    "eos" to "<|endoftext|>",
    "mask" to "<|mask|>",
    "null" to "<|mask|>",
    "im_start" to "<|im_start|>",
    "im_end" to "<|im_end|>",
)

/** How special tokens are spelled in tokenizer.json, by template. (tokens/text.py) */
internal val SPELLINGS = mapOf(
    "chatml" to CHATML, "llada" to LLADA, "mmada" to MMADA, "lumina" to LUMINA, "dream" to DREAM,
)
private val MEDIA = listOf(Kind.IMAGE, Kind.AUDIO, Kind.VIDEO)

/** Ids of the format's own tokens by name; −1 for a token that the format lacks. */
class SpecialTokens(private val ids: Map<String, Int>) {
    operator fun get(name: String): Int = ids[name] ?: -1

    val nullToken: Int get() = this["null"]
    val mask: Int get() = this["mask"]

    /** The marker before, or behind, a medium. */
    fun start(kind: Kind): Int = this["${kind.key}_start"]

    fun end(kind: Kind): Int = this["${kind.key}_end"]

    /** Whether the format can hold a kind; text always. */
    fun has(kind: Kind): Boolean = kind == Kind.TEXT || (start(kind) >= 0 && end(kind) >= 0)

    /** Tokens that open the sequence and surround media. The unconditional branch keeps them. */
    val markers: Set<Int> =
        (listOf(this["bos"]) + MEDIA.flatMap { listOf(start(it), end(it)) }).filter { it >= 0 }.toSet()

    /** Tokens at which an answer is over. */
    val ends: Set<Int> = listOf("eos", "im_end", "answer_end").map(::get).filter { it >= 0 }.toSet()
}

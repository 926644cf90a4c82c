package nextomni.edge.tokens

import nextomni.edge.Kind
import nextomni.edge.ModelConfig
import nextomni.edge.NextOmniException

/** A part of what was said. Sub-codes are by rows of `width`. */
sealed interface Part {
    class Text(val text: String) : Part

    /** An image, or a sound. */
    class Coded(val kind: Kind, val codes: IntArray, val width: Int) : Part

    class Video(val frames: List<IntArray>, val width: Int) : Part
}

/** What the "user" or the "assistant" said. */
class Turn(val role: String, val parts: List<Part>)

private fun between(
    tokenizer: TextTokenizer, kind: Kind, inside: List<Segment>,
): List<Segment> {
    val special = tokenizer.special
    if (!special.has(kind)) {
        throw NextOmniException("${kind.key}: this model's conversations hold no ${kind.key}")
    }
    return listOf(given(special.start(kind))) + inside + given(special.end(kind))
}

/** A part between its markers. Text has no markers. */
fun partSegments(
    tokenizer: TextTokenizer, part: Part, frozen: Boolean = true,
): List<Segment> = when (part) {
    is Part.Text ->
        listOf(Segment(Kind.TEXT, tokenizer.encode(part.text).toIntArray(), 1, frozen))
    is Part.Coded -> between(
        tokenizer, part.kind, listOf(Segment(part.kind, part.codes, part.width, frozen)),
    )
    is Part.Video -> between(
        tokenizer,
        Kind.VIDEO,
        part.frames.flatMap {
            partSegments(tokenizer, Part.Coded(Kind.IMAGE, it, part.width), frozen)
        },
    )
}

/**
 * Everything said so far, and the opening of the assistant's next turn, in ChatML or a masked
 * model's template. (tokens/chat.py)
 */
fun conversation(
    tokenizer: TextTokenizer, turns: List<Turn>, answer: Kind = Kind.TEXT,
): List<Segment> {
    if (tokenizer.template != "chatml") return maskedConversation(tokenizer, turns, answer)
    val special = tokenizer.special
    val newline = tokenizer.encode("\n")
    val opening = { role: String ->
        given(listOf(special["im_start"]) + tokenizer.encode(role) + newline)
    }
    val said = turns.flatMap { turn ->
        listOf(opening(turn.role)) +
            turn.parts.flatMap { partSegments(tokenizer, it) } +
            given(listOf(special["im_end"]) + newline)
    }
    return said + opening("assistant")
}

/**
 * Append the segments to generate, all zero for now, or masked: `count` blocks of text, frames of
 * video, or tokens of audio.
 */
fun respond(
    segments: List<Segment>, kind: Kind, config: ModelConfig, tokenizer: TextTokenizer, count: Int,
): TokenSequence {
    val most = config.most(kind)
    if (most == 0 || !tokenizer.special.has(kind)) {
        val able = config.modalities.joinToString(" or ") { it.key }
        throw NextOmniException("modality '${kind.key}': this model answers in $able")
    }
    if (count !in 1..most) {
        throw NextOmniException("${kind.key} response of $count: the model takes 1 to $most")
    }
    if (tokenizer.template != "chatml") {
        return maskedResponse(segments, kind, config, tokenizer, count)
    }
    if (kind == Kind.TEXT) {
        val length = textLength(TokenSequence(segments).length, config, count)
        val path = config.path(kind)
        val fill = if (path.kind == "mixture" && path.source == "mask") config.mask(kind) else 0
        return TokenSequence(segments + Segment(kind, IntArray(length) { fill }, 1, false))
    }
    val width = config.codebooks(kind)
    val positions = if (kind == Kind.AUDIO) count else config.image.positions
    val part =
        if (kind == Kind.VIDEO) Part.Video(List(count) { IntArray(positions * width) }, width)
        else Part.Coded(kind, IntArray(positions * width), width)
    return TokenSequence(segments + partSegments(tokenizer, part, false))
}

/** Tokens of an answer in text, behind a prompt of so many positions. */
private fun textLength(prompt: Int, config: ModelConfig, blocks: Int): Int {
    val canvas = config.text.canvas ?: return blocks * config.text.blockSize
    if (prompt >= canvas) {
        throw NextOmniException("prompt of $prompt positions: the model's canvas has $canvas")
    }
    return canvas - prompt
}

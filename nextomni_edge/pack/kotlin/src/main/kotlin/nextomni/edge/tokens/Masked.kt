package nextomni.edge.tokens

import kotlin.math.sqrt
import nextomni.edge.Kind
import nextomni.edge.ModelConfig
import nextomni.edge.NextOmniException

// Prompts of published masked models as their authors build them, and the prompts that guidance
// compares them with. (tokens/masked.py)

private const val TEXT_LIMIT = 512 // ids of a text that MMaDA draws a picture of, the end included
private const val GENERATE = "Generate an image according to the text prompt."
private const val EDIT =
    "Generate an image applying the following editing instruction based on the original image."
private const val ANSWER =
    "You are a multimodal model that can process both text and images. Answer the following " +
        "question based on the provided images. Analyze each image and combine relevant details " +
        "to answer."
private const val WORDS = 1 // the segment where MMaDA's and Lumina-DiMOO's templates have the text

private fun spoken(parts: List<Part>): String =
    parts.joinToString("") { if (it is Part.Text) it.text else "" }

/** Everything said so far, and the opening of the answer. */
internal fun maskedConversation(
    tokenizer: TextTokenizer, turns: List<Turn>, answer: Kind,
): List<Segment> = when {
    tokenizer.template == "lumina" -> lumina(tokenizer, turns, answer)
    tokenizer.template == "mmada" && answer == Kind.IMAGE -> mmadaImage(tokenizer, turns)
    else -> chat(tokenizer, turns)
}

/**
 * <bos>, then each message between its header and its end. MMaDA's images stand before the
 * conversation. Dream: ChatML.
 */
private fun chat(tokenizer: TextTokenizer, turns: List<Turn>): List<Segment> {
    val special = tokenizer.special
    val dream = tokenizer.template == "dream"
    val images = turns.flatMap { turn ->
        turn.parts.filter { it !is Part.Text }.flatMap { shown(tokenizer, it) }
    }
    val ids = ArrayList<Int>()
    if (!dream) ids.add(special["bos"])
    for (turn in turns) {
        ids += headed(tokenizer, turn.role, stripped(spoken(turn.parts)))
        ids += special["im_end"]
        if (dream) ids += tokenizer.encode("\n")
    }
    ids += headed(tokenizer, "assistant", "")
    val seen = if (images.isEmpty()) emptyList() else listOf(given(special["task_seen"]))
    return seen + images + given(ids)
}

/** A message's ids behind its header, without its end. */
private fun headed(tokenizer: TextTokenizer, role: String, words: String): List<Int> {
    val special = tokenizer.special
    if (tokenizer.template == "dream") {
        return listOf(special["im_start"]) + tokenizer.encode("$role\n$words")
    }
    val between = if (tokenizer.template == "mmada") "\n" else "\n\n"
    return listOf(special["im_start"]) + tokenizer.encode(role) + special["head_end"] +
        tokenizer.encode(between + words)
}

/** An image between its markers; where rows have a newline, each is a segment of its own. */
private fun shown(tokenizer: TextTokenizer, part: Part, frozen: Boolean = true): List<Segment> {
    val special = tokenizer.special
    if (part !is Part.Coded || part.kind != Kind.IMAGE || !special.has(Kind.IMAGE)) {
        val kind = if (part is Part.Coded) part.kind else Kind.VIDEO
        throw NextOmniException("${kind.key}: this model's conversations hold no ${kind.key}")
    }
    val (start, end) = given(special.start(Kind.IMAGE)) to given(special.end(Kind.IMAGE))
    if (special["newline"] < 0) {
        return listOf(start, Segment(Kind.IMAGE, part.codes, 1, frozen), end)
    }
    val side = sqrt(part.codes.size.toDouble()).toInt()
    if (side * side != part.codes.size) {
        throw NextOmniException("an image of ${part.codes.size} codes: expected a square")
    }
    val rows = (0 until side).flatMap { row ->
        val codes = part.codes.copyOfRange(row * side, (row + 1) * side)
        listOf(Segment(Kind.IMAGE, codes, 1, frozen), given(special["newline"]))
    }
    return listOf(start) + rows + end
}

/** <|t2i|> <bos> text <eos>. The text is a segment of its own, which guidance leaves out. */
private fun mmadaImage(tokenizer: TextTokenizer, turns: List<Turn>): List<Segment> {
    val special = tokenizer.special
    if (turns.size != 1 || turns[0].parts.any { it !is Part.Text }) {
        throw NextOmniException("MMaDA draws a picture of one text: give that only")
    }
    val ids = tokenizer.encode(spoken(turns[0].parts)).take(TEXT_LIMIT - 2)
    return listOf(given(special["task_image"], special["bos"]), given(ids), given(special["eos"]))
}

/** <system> words </system> <user> text, images </user> <answer>. */
private fun lumina(tokenizer: TextTokenizer, turns: List<Turn>, answer: Kind): List<Segment> {
    if (turns.size != 1) {
        throw NextOmniException(
            "Lumina-DiMOO answers one turn: start again for another question",
        )
    }
    val special = tokenizer.special
    val parts = turns[0].parts
    val images = parts.filter { it !is Part.Text }
    val role = if (answer == Kind.TEXT) ANSWER else if (images.isEmpty()) GENERATE else EDIT
    val system = listOf(special["system"]) + tokenizer.encode(role) +
        special["system_end"] + special["user"]
    return listOf(given(system), given(tokenizer.encode(spoken(parts)))) +
        images.flatMap { shown(tokenizer, it) } +
        given(special["user_end"]) + given(special["answer"])
}

/** Append what is to be generated, all masked: the blocks' tokens, or a square image. */
internal fun maskedResponse(
    segments: List<Segment>, kind: Kind, config: ModelConfig, tokenizer: TextTokenizer, count: Int,
): TokenSequence {
    val special = tokenizer.special
    val lumina = tokenizer.template == "lumina"
    val closing = if (lumina) listOf(given(special["answer_end"])) else emptyList()
    if (kind == Kind.TEXT) {
        val masks = IntArray(count * config.text.blockSize) { special.mask }
        return TokenSequence(segments + Segment(kind, masks, 1, false) + closing)
    }
    if (kind != Kind.IMAGE) {
        throw NextOmniException("modality '${kind.key}': this model answers in text or an image")
    }
    val codes = IntArray(config.image.positions) { config.imageEntries }
    return TokenSequence(
        segments + shown(tokenizer, Part.Coded(kind, codes, 1), false) + closing,
    )
}

/** The sequences without a condition that guidance compares with, one for each of its scales. */
internal fun maskedUnconditional(
    sequence: TokenSequence, modality: Kind, special: SpecialTokens, entries: Int,
): List<TokenSequence> {
    val segments = sequence.segments
    if (modality == Kind.TEXT) {
        val masked = segments.map {
            val mask = if (it.modality == Kind.TEXT) special.mask else entries
            if (it.frozen) it.holding(IntArray(it.tokens.size) { mask }) else it
        }
        return listOf(TokenSequence(masked))
    }
    val before = segments.take(WORDS)
    val behind = segments.drop(WORDS + 1)
    if (special["dropped"] < 0) return listOf(TokenSequence(before + behind))
    val dropped = TokenSequence(before + given(special["dropped"]) + behind)
    val end = segments.indexOfFirst {
        it.modality == Kind.TEXT && it.tokens.singleOrNull() == special["user_end"]
    }
    if (end == WORDS + 1) return listOf(dropped)
    return listOf(dropped, TokenSequence(segments.take(WORDS + 1) + segments.drop(end)))
}

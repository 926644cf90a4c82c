package nextomni.edge.tokens

import nextomni.edge.Kind

/**
 * Tokens of one modality: ids of `codes` sub-codes each, by rows (1 for text). Frozen segments are
 * given, the others are to be generated.
 */
class Segment(
    val modality: Kind, val tokens: IntArray, val codes: Int = 1, val frozen: Boolean = true,
) {
    /** Its number of positions. */
    val length: Int get() = tokens.size / codes

    /** The same segment with other tokens. */
    fun holding(tokens: IntArray): Segment = Segment(modality, tokens, codes, frozen)
}

/**
 * The datum that crosses layers: segments in order. Positions count 0, 1, 2, … through all of them.
 * (tokens/sequence.py)
 */
class TokenSequence(val segments: List<Segment>) {
    val length: Int get() = segments.sumOf { it.length }

    /** Indices of the segments to generate. */
    val generated: List<Int> get() = segments.indices.filter { !segments[it].frozen }

    /** Positions before the first generated one. */
    val promptLength: Int get() = segments.takeWhile { it.frozen }.sumOf { it.length }

    /** (segment, tokens) of each generated segment, which place its noise. */
    val places: List<Pair<Int, Int>> get() = generated.map { it to segments[it].length }

    /** The position of each generated row. */
    val rows: IntArray
        get() {
            var position = 0
            return segments.flatMap { segment ->
                val own = position until position + segment.length
                position += segment.length
                if (segment.frozen) emptyList() else own.toList()
            }.toIntArray()
        }

    /**
     * The sequence with its generated segments holding the rows x (R·K,), one segment after another.
     */
    fun filled(x: IntArray): TokenSequence {
        var place = 0
        return TokenSequence(segments.map { segment ->
            if (segment.frozen) return@map segment
            place += segment.tokens.size
            segment.holding(x.copyOfRange(place - segment.tokens.size, place))
        })
    }

    /** The guidance branch without its condition: given text becomes the null id, markers stay. */
    fun unconditional(special: SpecialTokens): TokenSequence = TokenSequence(segments.map {
        if (!it.frozen || it.modality != Kind.TEXT) return@map it
        val tokens = it.tokens.map { id -> if (id in special.markers) id else special.nullToken }
        it.holding(tokens.toIntArray())
    })
}

/** A given segment of text ids. */
fun given(vararg ids: Int): Segment = Segment(Kind.TEXT, ids)

/** A given segment of text ids. */
fun given(ids: List<Int>): Segment = Segment(Kind.TEXT, ids.toIntArray())

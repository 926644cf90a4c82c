package nextomni.edge

import nextomni.edge.generate.Components
import nextomni.edge.generate.EdgeModel
import nextomni.edge.generate.OnStep
import nextomni.edge.generate.Options
import nextomni.edge.generate.generate
import nextomni.edge.media.Picture
import nextomni.edge.media.Pixels
import nextomni.edge.media.Sound
import nextomni.edge.media.pictureOf
import nextomni.edge.media.pixelsOf
import nextomni.edge.media.waveformOf
import nextomni.edge.tokens.Part
import nextomni.edge.tokens.TextTokenizer
import nextomni.edge.tokens.TokenSequence
import nextomni.edge.tokens.Turn
import nextomni.edge.tokens.conversation
import nextomni.edge.tokens.logMel
import nextomni.edge.tokens.respond
import nextomni.edge.verify.Report

/** What the model answers. Samples are in [-1, 1]. */
sealed interface Answer {
    class Text(val text: String) : Answer

    class Audio(val samples: FloatArray, val rate: Int) : Answer

    class Image(val picture: Picture) : Answer

    class Video(val frames: List<Picture>) : Answer
}

/**
 * The answer as it stands before step `step` at time t. It is decoded only where it is asked for.
 */
class Partial(val step: Int, val steps: Int, val t: Double, private val decode: () -> Answer) {
    fun answer(): Answer = decode()
}

/**
 * The front door: prompts, and answers that form step by step. (api/) Calls block: make them on one
 * thread of the app's own, never on the one that draws.
 */
class Model(private val bundle: Bundle, components: Components) {
    val config: ModelConfig get() = bundle.config
    val edge: EdgeModel

    init {
        val tables = if (config.needsTables) bundle.metricTables() else null
        edge = EdgeModel(
            config, TextTokenizer(bundle.tokenizer(), config.text), components,
        ) { checkNotNull(tables).floats(it.key) }
    }

    /** The kinds that it answers in. */
    val kinds: List<Kind>
        get() = Kind.entries.filter { kind ->
            val special = edge.tokenizer.special
            val able = special.mask < 0 || kind == Kind.TEXT || kind == Kind.IMAGE
            able && config.most(kind) > 0 && special.has(kind)
        }

    /** The model's settings for a kind of answer. Change them with `copy`. */
    fun options(to: Kind): Options = Options.of(config, to)

    /**
     * The answer to what was said; null where `onStep` answered false, which stops the run. `count`:
     * blocks of text, tokens of audio or frames of video. NextOmniException: what was said, a count
     * or an option is not what the model takes.
     */
    fun generate(
        said: List<Turn>,
        to: Kind = Kind.TEXT,
        options: Options = options(to),
        count: Int = if (to == Kind.TEXT) 1 else config.most(to),
        onStep: (Partial) -> Boolean = { true },
    ): Answer? {
        options.check(config.path(to))
        val prompt = conversation(edge.tokenizer, said, to)
        val sequence = respond(prompt, to, config, edge.tokenizer, count)
        val limit = config.backbone.maxPositions
        if (sequence.length > limit) {
            throw NextOmniException(
                "the conversation and its answer are ${sequence.length} positions, the model " +
                    "takes $limit; shorten it",
            )
        }
        val seen = OnStep { record ->
            val now = { answer(sequence.filled(record.x_t), to) }
            onStep(Partial(record.step, options.steps, record.t, now))
        }
        return generate(edge, sequence, options, seen)?.let { answer(it, to) }
    }

    /** The answer to one text. */
    fun generate(
        prompt: String,
        to: Kind = Kind.TEXT,
        options: Options = options(to),
        onStep: (Partial) -> Boolean = { true },
    ): Answer? =
        generate(listOf(Turn("user", listOf(Part.Text(prompt)))), to, options, onStep = onStep)

    /** A picture as a part of what is said. NextOmniException: the model takes none. */
    fun image(picture: Picture): Part = Part.Coded(Kind.IMAGE, codes(picture), width(Kind.IMAGE))

    /** A sound as a part of what is said; its beginning where it is too long. */
    fun audio(sound: Sound): Part {
        val width = width(Kind.AUDIO)
        val audio = config.audio
        val most = audio.maxTokens * audio.hop * audio.framesPerToken
        val samples = waveformOf(sound, audio.sampleRate, most)
        return Part.Coded(Kind.AUDIO, edge.encodeAudio(logMel(samples, audio)), width)
    }

    /**
     * A film as a part of what is said: as many of its frames as the model takes, each from the
     * middle of an equal share of the time.
     */
    fun video(frames: List<Picture>): Part {
        val width = width(Kind.VIDEO)
        val most = minOf(frames.size, config.image.maxFrames)
        val chosen = List(most) { frames[(2 * it + 1) * frames.size / (2 * most)] }
        return Part.Video(chosen.map(::codes), width)
    }

    private fun codes(picture: Picture): IntArray =
        edge.encodeImage(pixelsOf(picture, config.image))

    /** Sub-codes of a token of a kind that the model takes. */
    private fun width(kind: Kind): Int {
        if (config.most(kind) == 0 || !edge.tokenizer.special.has(kind)) {
            val able = config.modalities.joinToString(" and ") { it.key }
            throw NextOmniException("${kind.key}: this model takes $able")
        }
        return config.codebooks(kind)
    }

    /** Run the golden trace here and compare. `names`: of components and tasks. */
    fun verify(names: List<String>? = null, progress: (String) -> Unit = {}): Report {
        val trace = bundle.golden()
        return trace.replay(edge, names ?: (trace.components + trace.tasks).toList(), progress)
    }

    private fun answer(sequence: TokenSequence, kind: Kind): Answer {
        val parts = sequence.generated.map { sequence.segments[it].tokens }
        return when (kind) {
            Kind.TEXT -> Answer.Text(edge.tokenizer.decode(parts[0]))
            Kind.AUDIO -> Answer.Audio(edge.decodeAudio(parts[0]), config.audio.sampleRate)
            Kind.IMAGE -> {
                val codes = parts.flatMap { it.asList() }.toIntArray()
                Answer.Image(picture(codes))
            }
            Kind.VIDEO -> Answer.Video(parts.map(::picture))
        }
    }

    private fun picture(codes: IntArray): Picture {
        val found = edge.decodeImage(codes)
        val pixels = Pixels(found.values, width = found.dims[3], height = found.dims[2])
        return pictureOf(pixels, config.image.truncated)
    }
}

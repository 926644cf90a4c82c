package nextomni.edge.tokens

import kotlin.math.PI
import kotlin.math.cos
import kotlin.math.exp
import kotlin.math.ln
import kotlin.math.log10
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sin
import nextomni.edge.AudioConfig

/** Slaney's scale: linear below 1 kHz, logarithmic above. */
private fun melOf(hertz: Double): Double =
    if (hertz >= 1000) 15 + ln(hertz / 1000) * (27 / ln(6.4)) else hertz * 3 / 200

private fun hertzOf(mel: Double): Double =
    if (mel >= 15) 1000 * exp((mel - 15) * (ln(6.4) / 27)) else mel * 200 / 3

/** Triangular filters of equal area, (n_fft/2+1,) each. */
private fun melFilters(config: AudioConfig): List<FloatArray> {
    val top = melOf(config.sampleRate / 2.0)
    val edges = List(config.mels + 2) { hertzOf(top * it / (config.mels + 1)) }
    return List(config.mels) { mel ->
        val (low, centre, high) = edges.subList(mel, mel + 3)
        FloatArray(config.nFft / 2 + 1) { bin ->
            val hertz = bin.toDouble() * config.sampleRate / config.nFft
            val rise = min((hertz - low) / (centre - low), (high - hertz) / (high - centre))
            (max(0.0, rise) * (2 / (high - low))).toFloat()
        }
    }
}

/**
 * Whisper's log-mel spectrogram of a waveform (samples,) at the config's rate, the audio encoder's
 * input, cut into tokens: (length·frames_per_token·mels,). (tokens/audio.py)
 *
 * Power spectrum of a periodic Hann window with reflected borders, log10 floored at 1e-10 and at 8
 * under the clip's maximum, then (x + 4) / 4. Silence pads the waveform to a whole token.
 */
fun logMel(waveform: FloatArray, config: AudioConfig): FloatArray {
    val unit = config.hop * config.framesPerToken
    val length = (waveform.size + unit - 1) / unit * unit
    val (half, frames) = config.nFft / 2 to length / config.hop
    val filters = melFilters(config)
    val spectrum = Spectrum(config.nFft)
    val logarithm = DoubleArray(frames * config.mels)
    for (frame in 0 until frames) {
        val power = spectrum.power { x ->
            val place = reflected(frame * config.hop + x - half, length)
            (waveform.getOrNull(place) ?: 0f).toDouble()
        }
        filters.forEachIndexed { mel, filter ->
            var total = 0.0
            for (bin in power.indices) total += power[bin] * filter[bin]
            logarithm[frame * config.mels + mel] = log10(max(total, 1e-10))
        }
    }
    val floor = logarithm.fold(Double.NEGATIVE_INFINITY, ::max) - 8
    return FloatArray(logarithm.size) { ((max(logarithm[it], floor) + 4) / 4).toFloat() }
}

/** A place of a signal of this length that is mirrored at its ends. */
private fun reflected(place: Int, length: Int): Int =
    if (place < 0) -place else if (place < length) place else 2 * (length - 1) - place

/**
 * The power spectrum of a windowed frame, by the definition: frames are few, and n_fft is no power
 * of 2.
 */
private class Spectrum(private val size: Int) {
    private val window = DoubleArray(size) { 0.5 - 0.5 * cos(turn(it)) }
    private val cosine = DoubleArray(size) { cos(turn(it)) }
    private val sine = DoubleArray(size) { sin(turn(it)) }

    private fun turn(at: Int) = 2 * PI * at / size

    /** (size/2+1,). */
    fun power(sample: (Int) -> Double): DoubleArray {
        val frame = DoubleArray(size) { window[it] * sample(it) }
        return DoubleArray(size / 2 + 1) { bin ->
            var real = 0.0
            var imaginary = 0.0
            var angle = 0
            for (place in 0 until size) {
                real += frame[place] * cosine[angle]
                imaginary += frame[place] * sine[angle]
                angle += bin
                if (angle >= size) angle -= size
            }
            real * real + imaginary * imaginary
        }
    }
}

package nextomni.edge.media

import kotlin.math.PI
import kotlin.math.ceil
import kotlin.math.cos
import kotlin.math.min
import kotlin.math.sin
import nextomni.edge.NextOmniException

private const val CANCELLED = 0.01 // of the channels' power: less is left where they cancel
private const val CROSSINGS = 6 // zero crossings of the sinc on either side
private const val ROLL_OFF = 0.99 // of the lower of both Nyquist frequencies

/** Samples in [-1, 1] of each channel, at `rate` hertz, as AudioRecord and MediaCodec give them. */
class Sound(val channels: List<FloatArray>, val rate: Int)

/**
 * A sound as (samples,) at `rate`, its beginning where it has more than `most` samples.
 * NextOmniException: no sound, or samples that are not finite. (media/audio.py, tokens/resample.py)
 */
fun waveformOf(sound: Sound, rate: Int, most: Int): FloatArray {
    val length = sound.channels.firstOrNull()?.size ?: 0
    if (length == 0 || sound.channels.any { it.size != length } || sound.rate <= 0) {
        throw NextOmniException("no sound in it")
    }
    val found = resampled(mono(sound.channels), sound.rate, rate)
    val cut = found.copyOf(min(found.size, most))
    if (!cut.all { it.isFinite() }) {
        throw NextOmniException("samples that are not finite numbers")
    }
    return cut
}

/** The mean of the channels, or the loudest where they cancel each other. */
private fun mono(channels: List<FloatArray>): FloatArray {
    if (channels.size == 1) return channels[0]
    val mean = FloatArray(channels[0].size) { at ->
        channels.fold(0f) { total, channel -> total + channel[at] } / channels.size
    }
    val power = { samples: FloatArray ->
        samples.fold(0.0) { found, x -> found + x.toDouble() * x } / samples.size
    }
    val powers = channels.map(power)
    val cancelled = power(mean) < CANCELLED * powers.sum() / channels.size
    return if (cancelled) channels[powers.indexOf(powers.max())] else mean
}

/** Band-limited resampling by a windowed sinc. */
internal fun resampled(samples: FloatArray, source: Int, target: Int): FloatArray {
    if (source == target) return samples
    val common = divisor(source, target)
    val (from, to) = source / common to target / common
    val cutoff = min(from, to) * ROLL_OFF
    val width = ceil(CROSSINGS * from / cutoff).toInt()
    val kernels = List(to) { taps(from, to, it, width, cutoff) }
    val length = (samples.size.toLong() * to + from - 1) / from
    return FloatArray(length.toInt()) { at ->
        val first = at / to * from - width
        val kernel = kernels[at % to]
        var total = 0.0
        for (x in kernel.indices) {
            total += kernel[x].toDouble() * (samples.getOrNull(first + x) ?: 0f)
        }
        total.toFloat()
    }
}

private fun taps(from: Int, to: Int, phase: Int, width: Int, cutoff: Double): FloatArray =
    FloatArray(2 * width + from) { x ->
        val time = (((x - width).toDouble() / from - phase.toDouble() / to) * cutoff)
            .coerceIn(-CROSSINGS.toDouble(), CROSSINGS.toDouble())
        val window = cos(time * PI / CROSSINGS / 2).let { it * it }
        val sinc = if (time == 0.0) 1.0 else sin(time * PI) / (time * PI)
        (sinc * window * (cutoff / from)).toFloat()
    }

private tailrec fun divisor(a: Int, b: Int): Int = if (b == 0) a else divisor(b, a % b)

package nextomni.edge.media

import kotlin.math.floor
import kotlin.math.max
import kotlin.math.round
import nextomni.edge.ImageConfig
import nextomni.edge.NextOmniException

/** Colours (height·width,), 8 bits each of alpha, red, green and blue, as Bitmap.getPixels has them. */
class Picture(val argb: IntArray, val width: Int, val height: Int)

/** Pixels (3,height,width) in [-1, 1]. */
class Pixels(val values: FloatArray, val width: Int, val height: Int)

/**
 * A picture as (3,size,size) in [-1, 1], in the middle of a square; transparency becomes white.
 * NextOmniException: no pixels, or a model that crops its pictures. (media/image.py)
 */
fun pixelsOf(picture: Picture, config: ImageConfig): FloatArray =
    pixelsOf(picture, config.size, config.fitting)

internal fun pixelsOf(picture: Picture, size: Int, fitting: String): FloatArray {
    if (fitting != "white" && fitting != "janus") {
        throw NextOmniException(
            "a picture as the prompt of this model (fitting '$fitting') is not supported on Android",
        )
    }
    val (width, height) = picture.width to picture.height
    if (width <= 0 || height <= 0 || picture.argb.size != width * height) {
        throw NextOmniException("a picture of $width × $height with ${picture.argb.size} pixels")
    }
    val janus = fitting == "janus"
    val scale = size.toDouble() / max(width, height)
    val side = { length: Int ->
        max(1, (length * scale).let { if (janus) it.toInt() else round(it).toInt() })
    }
    val (toWidth, toHeight) = side(width) to side(height)
    val kernel = if (janus) BILINEAR else BICUBIC
    val small = resized(onWhite(picture), width, height, toWidth, toHeight, kernel)
    val square = IntArray(size * size * 3) { if (janus) 127 else 255 }
    val (left, top) = (size - toWidth) / 2 to (size - toHeight) / 2
    for (row in 0 until toHeight) {
        val place = ((row + top) * size + left) * 3
        small.copyInto(square, place, row * toWidth * 3, (row + 1) * toWidth * 3)
    }
    return FloatArray(square.size) { at ->
        square[at % (size * size) * 3 + at / (size * size)] / 127.5f - 1f
    }
}

/** (height,width,3) levels, transparency laid on white. */
private fun onWhite(picture: Picture): IntArray {
    val levels = IntArray(picture.argb.size * 3)
    picture.argb.forEachIndexed { at, colour ->
        val alpha = colour ushr 24
        for (channel in 0 until 3) {
            val level = colour ushr (16 - 8 * channel) and 0xff
            levels[at * 3 + channel] = (level * alpha + 255 * (255 - alpha) + 127) / 255
        }
    }
    return levels
}

/** A decoded picture. `truncated`: levels are cut, not rounded, as the config says. */
fun pictureOf(pixels: Pixels, truncated: Boolean): Picture {
    val count = pixels.width * pixels.height
    val argb = IntArray(count) { at ->
        (0 until 3).fold(0xff) { colour, channel ->
            val level = ((pixels.values[channel * count + at] + 1f) * 127.5f).toDouble()
            val whole = if (truncated) floor(level) else round(level)
            colour shl 8 or whole.toInt().coerceIn(0, 255)
        }
    }
    return Picture(argb, pixels.width, pixels.height)
}

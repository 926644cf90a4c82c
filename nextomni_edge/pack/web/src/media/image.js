/**
 * Pictures: to the square that the image encoder sees, and back. (media/image.py)
 *
 * @typedef {{data: Uint8ClampedArray, width: number, height: number}} Picture RGBA as a canvas's
 *   ImageData has it
 */
import { NextOmniError } from "../errors.js";
import { BICUBIC, BILINEAR, resized } from "./resize.js";

const { fround } = Math;

/**
 * A picture as (3,size,size) in [-1, 1]; transparency becomes white.
 * @param {Picture} picture
 * @param {import("../config.js").ImageConfig} config
 */
export function pixelsOf(picture, { size, fitting }) {
  if (fitting !== "white" && fitting !== "janus") {
    throw new NextOmniError(
      `a picture as the prompt of this model (fitting '${fitting}') is not supported in a browser`,
    );
  }
  const { width, height } = picture;
  if (!(width > 0 && height > 0)) throw new NextOmniError("a picture without pixels");
  const janus = fitting === "janus";
  const scale = size / Math.max(width, height);
  const [toWidth, toHeight] = [width, height].map((side) =>
    Math.max(1, janus ? Math.trunc(side * scale) : halfEven(side * scale)),
  );
  const small = resized(
    onWhite(picture),
    width,
    height,
    toWidth,
    toHeight,
    janus ? BILINEAR : BICUBIC,
  );
  const square = new Uint8ClampedArray(size * size * 3).fill(janus ? 127 : 255);
  const [left, top] = [Math.floor((size - toWidth) / 2), Math.floor((size - toHeight) / 2)];
  for (let row = 0; row < toHeight; row++) {
    square.set(
      small.subarray(row * toWidth * 3, (row + 1) * toWidth * 3),
      ((row + top) * size + left) * 3,
    );
  }
  return planes(square, size);
}

/** (height,width,3) levels, transparency laid on white. @param {Picture} picture */
function onWhite({ data, width, height }) {
  const levels = new Uint8ClampedArray(width * height * 3);
  for (let at = 0, from = 0; at < levels.length; from += 4) {
    const alpha = data[from + 3];
    for (let channel = 0; channel < 3; channel++, at++) {
      levels[at] = Math.round((data[from + channel] * alpha + 255 * (255 - alpha)) / 255);
    }
  }
  return levels;
}

/**
 * Levels (size,size,3) as (3,size,size) float32 in [-1, 1].
 * @param {Uint8ClampedArray} levels
 * @param {number} size
 */
function planes(levels, size) {
  const found = new Float32Array(levels.length);
  for (let channel = 0; channel < 3; channel++) {
    for (let at = 0; at < size * size; at++) {
      found[channel * size * size + at] = fround(levels[at * 3 + channel] / 127.5) - 1;
    }
  }
  return found;
}

/**
 * Pixels (3,height,width) in [-1, 1] as RGBA.
 * @param {Float32Array} pixels
 * @param {number} width
 * @param {boolean} truncated
 * @returns {Picture & {data: Uint8ClampedArray<ArrayBuffer>}}
 */
export function pictureOf(pixels, width, truncated = false) {
  const count = pixels.length / 3;
  const data = new Uint8ClampedArray(count * 4).fill(255);
  for (let at = 0; at < count; at++) {
    for (let channel = 0; channel < 3; channel++) {
      const level = fround(fround(pixels[channel * count + at] + 1) * 127.5);
      data[at * 4 + channel] = truncated ? Math.floor(level) : halfEven(level);
    }
  }
  return { data, width, height: count / width };
}

/** To the nearest whole number, halves to the even one. @param {number} x */
function halfEven(x) {
  const below = Math.floor(x);
  return x - below === 0.5 ? below + (below % 2) : Math.round(x);
}

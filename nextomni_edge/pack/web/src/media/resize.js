/**
 * Resampling of 8-bit pictures as Pillow does it: a kernel that widens when it shrinks, fixed-point
 * weights, and 8 bits between the two passes, of which the horizontal one is first. So a picture
 * gives the same pixels here as in Python. Pillow from 13 takes the vertical pass first of a
 * picture that is much higher than wide, which may move a level.
 */

const PRECISION = 22; // bits behind the point of a weight

/** @typedef {{support: number, weight: (x: number) => number}} Kernel */

/** @type {Kernel} */
export const BILINEAR = { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) };
const A = -0.5; // of Keys' cubic
/** @type {Kernel} */
export const BICUBIC = {
  support: 2,
  weight: (x) => {
    const d = Math.abs(x);
    if (d < 1) return ((A + 2) * d - (A + 3)) * d * d + 1;
    return d < 2 ? (((d - 5) * d + 8) * d - 4) * A : 0;
  },
};

/**
 * (height·width·3,) levels → (toHeight·toWidth·3,).
 * @param {Uint8ClampedArray} levels
 * @param {number} width
 * @param {number} height
 * @param {number} toWidth
 * @param {number} toHeight
 * @param {Kernel} kernel
 */
export function resized(levels, width, height, toWidth, toHeight, kernel) {
  const across =
    toWidth === width ? levels : pass(levels, [height, 3 * width, 3], width, toWidth, kernel);
  if (toHeight === height) return across;
  return pass(across, [toWidth, 3, 3 * toWidth], height, toHeight, kernel);
}

/**
 * One direction: `lines` lines, the next `line` numbers behind the one before in the input, of
 * samples `stride` numbers apart.
 * @param {Uint8ClampedArray} levels
 * @param {[number, number, number]} layout
 * @param {number} from
 * @param {number} to
 * @param {Kernel} kernel
 */
function pass(levels, [lines, line, stride], from, to, kernel) {
  const out = new Uint8ClampedArray(lines * to * 3);
  const horizontal = stride === 3;
  const [outLine, outStride] = horizontal ? [3 * to, 3] : [3, stride];
  taps(from, to, kernel).forEach(({ first, weights }, at) => {
    for (let each = 0; each < lines; each++) {
      for (let channel = 0; channel < 3; channel++) {
        let total = 2 ** (PRECISION - 1);
        let place = each * line + first * stride + channel;
        for (const weight of weights) {
          total += weight * levels[place];
          place += stride;
        }
        out[each * outLine + at * outStride + channel] = Math.floor(total / 2 ** PRECISION);
      }
    }
  });
  return out;
}

/**
 * For each output sample the first input sample that it reads, and the weights from there on.
 * @param {number} from
 * @param {number} to
 * @param {Kernel} kernel
 */
function taps(from, to, kernel) {
  const scale = from / to;
  const widened = Math.max(scale, 1);
  const support = kernel.support * widened;
  return Array.from({ length: to }, (_, at) => {
    const centre = (at + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(from, Math.trunc(centre + support + 0.5));
    const weights = Array.from({ length: last - first }, (_, x) =>
      kernel.weight((x + first - centre + 0.5) / widened),
    );
    const total = weights.reduce((left, right) => left + right, 0) || 1;
    return { first, weights: weights.map((weight) => rounded((weight / total) * 2 ** PRECISION)) };
  });
}

/** To the nearest whole number, halves away from 0. @param {number} x */
function rounded(x) {
  return Math.trunc(x < 0 ? x - 0.5 : x + 0.5);
}

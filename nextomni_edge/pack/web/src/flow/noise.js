/**
 * Counter-based noise: a value only depends on its use, so no shortcut, batch or runtime shifts it.
 * (flow/noise.py)
 */
import { NextOmniError } from "../errors.js";

/** What a uniform decides. The numbers are part of every golden trace. */
export const Use = Object.freeze({ START: 0, X_1: 1, JUMP: 2, TARGET: 3, SYMBOL: 4, SCORE: 5 });

const ROUNDS = 10;
const TO_UNIT = 2 ** -53;

/**
 * The upper half of a product of two words of 32 bits, from products of 16 bits, which a double
 * holds.
 * @param {number} a
 * @param {number} b
 * @returns {number}
 */
function mulHigh(a, b) {
  // plain constants: a destructured array costs more than the products
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const low = aLow * bLow;
  const cross = aLow * bHigh;
  const other = aHigh * bLow;
  const middle = (low >>> 16) + (cross & 0xffff) + (other & 0xffff);
  return (aHigh * bHigh + (cross >>> 16) + (other >>> 16) + (middle >>> 16)) >>> 0;
}

/** What a sum of three words of 32 bits and a carry has above 32 bits. @param {number} sum */
function carry(sum) {
  return Math.floor(sum / 2 ** 32);
}

// the multipliers of Philox4x64 and the steps of its keys, the lower half first
const [A0, A1, B0, B1] = [0xe14c6c93, 0xd2e7470e, 0x95121157, 0xca5a8263];
const [STEP0, STEP1, STEP2, STEP3] = [0x7f4a7c15, 0x9e3779b9, 0x84caa73b, 0xbb67ae85];

/**
 * Ten rounds of Philox4x64 (Salmon et al., SC 2011) in place. Words of 64 bits are pairs of 32, the
 * lower half first.
 * @param {Uint32Array} counter (8,)
 * @param {Uint32Array} key (4,), not changed
 */
export function philox(counter, key) {
  let [c0, c1, c2, c3, c4, c5, c6, c7] = counter;
  let [k0, k1, k2, k3] = key;
  for (let round = 0; round < ROUNDS; round++) {
    // (a3 a2 a1 a0) = (c1 c0)·(A1 A0), and (b3 b2 b1 b0) = (c5 c4)·(B1 B0)
    const a1 = mulHigh(c0, A0) + (Math.imul(c0, A1) >>> 0) + (Math.imul(c1, A0) >>> 0);
    const a2 = mulHigh(c0, A1) + mulHigh(c1, A0) + (Math.imul(c1, A1) >>> 0) + carry(a1);
    const a3 = mulHigh(c1, A1) + carry(a2);
    const b1 = mulHigh(c4, B0) + (Math.imul(c4, B1) >>> 0) + (Math.imul(c5, B0) >>> 0);
    const b2 = mulHigh(c4, B1) + mulHigh(c5, B0) + (Math.imul(c5, B1) >>> 0) + carry(b1);
    const b3 = mulHigh(c5, B1) + carry(b2);
    const a0 = Math.imul(c0, A0);
    c0 = b2 ^ c2 ^ k0;
    c1 = b3 ^ c3 ^ k1;
    c2 = Math.imul(c4, B0);
    c3 = b1 | 0;
    c4 = a2 ^ c6 ^ k2;
    c5 = a3 ^ c7 ^ k3;
    c6 = a0;
    c7 = a1 | 0;
    const low = k0 + STEP0;
    const other = k2 + STEP2;
    k1 = (k1 + STEP1 + carry(low)) >>> 0;
    k3 = (k3 + STEP3 + carry(other)) >>> 0;
    k0 = low >>> 0;
    k2 = other >>> 0;
  }
  counter[0] = c0;
  counter[1] = c1;
  counter[2] = c2;
  counter[3] = c3;
  counter[4] = c4;
  counter[5] = c5;
  counter[6] = c6;
  counter[7] = c7;
}

/** Uniform values by (seed, segment, step, position, code, use), from Philox4x64-10. */
export class Noise {
  /** @param {number | bigint | string} seed from 0 to 2^64 − 1 */
  constructor(seed) {
    const word = whole(seed);
    if (word === null || word < 0n || word >= 1n << 64n) {
      throw new NextOmniError(`seed is ${seed}, expected 0 to 2**64 - 1`);
    }
    this.low = Number(word & 0xffffffffn);
    this.high = Number(word >> 32n);
  }

  /**
   * In [0, 1), multiples of 2^-53: (positions, codes) by rows.
   * @param {number} segment
   * @param {number} step
   * @param {number} use
   * @param {number} positions
   * @param {number} codes
   */
  uniform(segment, step, use, positions, codes = 1) {
    const out = new Float64Array(positions * codes);
    for (let code = 0; code < codes; code++)
      this.#fill(out, [segment, step, use, code], code, codes);
    return out;
  }

  /**
   * In [0, 1), one for each symbol of one row.
   * @param {number} segment
   * @param {number} step
   * @param {number} use
   * @param {number} row
   * @param {number} vocabulary
   */
  symbols(segment, step, use, row, vocabulary) {
    const out = new Float64Array(vocabulary);
    this.#fill(out, [segment, step, use, row], 0, 1);
    return out;
  }

  /**
   * @param {Float64Array} out
   * @param {number[]} place
   * @param {number} first
   * @param {number} stride
   */
  #fill(out, [segment, step, use, code], first, stride) {
    const key = Uint32Array.of(this.low, this.high, use, 0);
    const words = new Uint32Array(8);
    for (let at = first, block = 1; at < out.length; block++) {
      words[0] = block;
      words[2] = code;
      words[4] = step;
      words[6] = segment;
      words[1] = words[3] = words[5] = words[7] = 0;
      philox(words, key);
      for (let word = 0; word < 8 && at < out.length; word += 2, at += stride) {
        // the upper 53 of 64 bits
        out[at] = (words[word + 1] * 2 ** 21 + (words[word] >>> 11)) * TO_UNIT;
      }
    }
  }
}

/** @param {number | bigint | string} seed */
function whole(seed) {
  try {
    return BigInt(seed);
  } catch {
    return null;
  }
}

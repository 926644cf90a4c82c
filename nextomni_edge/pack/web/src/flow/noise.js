/**
 * Counter-based noise: a value only depends on its use, so no shortcut, batch or runtime shifts it. (flow/noise.py)
 */
import { NextOmniError } from "../errors.js";

/** What a uniform decides. The numbers are part of every golden trace. */
export const Use = Object.freeze({ START: 0, X_1: 1, JUMP: 2, TARGET: 3, SYMBOL: 4, SCORE: 5 });

const ROUNDS = 10;
const TO_UNIT = 2 ** -53;

/**
 * The upper half of a product of two words of 32 bits, from products of 16 bits, which a double holds.
 * @param {number} a @param {number} b @returns {number}
 */
function mulHigh(a, b) {
  const [aLow, aHigh, bLow, bHigh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const [low, cross, other] = [aLow * bLow, aLow * bHigh, aHigh * bLow];
  const middle = (low >>> 16) + (cross & 0xffff) + (other & 0xffff);
  return (aHigh * bHigh + (cross >>> 16) + (other >>> 16) + (middle >>> 16)) >>> 0;
}

/**
 * Writes the four words of 32 bits, the lowest first, of a product of two words of 64 bits.
 * @param {Uint32Array} out
 * @param {number} a0 @param {number} a1 low and high half @param {number} b0 @param {number} b1
 */
function multiply(out, a0, a1, b0, b1) {
  out[0] = Math.imul(a0, b0);
  const first = mulHigh(a0, b0) + (Math.imul(a0, b1) >>> 0) + (Math.imul(a1, b0) >>> 0);
  out[1] = first;
  const carry = Math.floor(first / 2 ** 32);
  const second = mulHigh(a0, b1) + mulHigh(a1, b0) + (Math.imul(a1, b1) >>> 0) + carry;
  out[2] = second;
  out[3] = mulHigh(a1, b1) + Math.floor(second / 2 ** 32);
}

const [FIRST, SECOND] = [new Uint32Array(4), new Uint32Array(4)];

/**
 * Ten rounds of Philox4x64 (Salmon et al., SC 2011) in place. Words of 64 bits are pairs of 32, the lower half first.
 * @param {Uint32Array} counter (8,) @param {Uint32Array} key (4,), not changed
 */
export function philox(counter, key) {
  let [k0, k1, k2, k3] = key;
  for (let round = 0; round < ROUNDS; round++) {
    multiply(FIRST, counter[0], counter[1], 0xe14c6c93, 0xd2e7470e);
    multiply(SECOND, counter[4], counter[5], 0x95121157, 0xca5a8263);
    const [c2, c3, c6, c7] = [counter[2], counter[3], counter[6], counter[7]];
    counter[0] = SECOND[2] ^ c2 ^ k0;
    counter[1] = SECOND[3] ^ c3 ^ k1;
    counter[2] = SECOND[0];
    counter[3] = SECOND[1];
    counter[4] = FIRST[2] ^ c6 ^ k2;
    counter[5] = FIRST[3] ^ c7 ^ k3;
    counter[6] = FIRST[0];
    counter[7] = FIRST[1];
    // the Weyl sequence of the key, added to words of 64 bits
    const [low, other] = [k0 + 0x7f4a7c15, k2 + 0x84caa73b];
    k1 = (k1 + 0x9e3779b9 + (low > 0xffffffff ? 1 : 0)) >>> 0;
    k3 = (k3 + 0xbb67ae85 + (other > 0xffffffff ? 1 : 0)) >>> 0;
    [k0, k2] = [low >>> 0, other >>> 0];
  }
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
   * @param {number} segment @param {number} step @param {number} use @param {number} positions @param {number} codes
   */
  uniform(segment, step, use, positions, codes = 1) {
    const out = new Float64Array(positions * codes);
    for (let code = 0; code < codes; code++) this.#fill(out, [segment, step, use, code], code, codes);
    return out;
  }

  /**
   * In [0, 1), one for each symbol of one row.
   * @param {number} segment @param {number} step @param {number} use @param {number} row @param {number} vocabulary
   */
  symbols(segment, step, use, row, vocabulary) {
    const out = new Float64Array(vocabulary);
    this.#fill(out, [segment, step, use, row], 0, 1);
    return out;
  }

  /** @param {Float64Array} out @param {number[]} place @param {number} first @param {number} stride */
  #fill(out, [segment, step, use, code], first, stride) {
    const key = Uint32Array.of(this.low, this.high, use, 0);
    const words = new Uint32Array(8);
    for (let at = first, block = 1; at < out.length; block++) {
      words.set([block, 0, code, 0, step, 0, segment, 0]);
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

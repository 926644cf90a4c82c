/** What every path computes with: draws from a vocabulary. (flow/arrays.py) */

/** @typedef {Float32Array | Float64Array} Floats */

/** The place of the largest value, the first of equals. @param {Floats} values */
export function argmax(values) {
  let best = 0;
  for (let at = 1; at < values.length; at++) if (values[at] > values[best]) best = at;
  return best;
}

/** @param {Floats} values */
export function sum(values) {
  let total = 0;
  for (let at = 0; at < values.length; at++) total += values[at];
  return total;
}

/**
 * An id uniform over the symbols, of a uniform in [0, 1).
 * @param {number} uniform @param {number} vocabulary
 */
export function uniformId(uniform, vocabulary) {
  return Math.floor(uniform * vocabulary);
}

/**
 * The symbol x with CDF(x−1) ≤ uniform·total < CDF(x).
 * @param {Float64Array} weight (V,) @param {number} uniform
 */
export function inverseCdf(weight, uniform) {
  const total = sum(weight);
  const border = uniform * total;
  let cumulative = 0;
  for (let at = 0; at < weight.length; at++) {
    cumulative += weight[at];
    if (cumulative > border) return at;
  }
  // Rounding put the border on the total: take the last symbol with mass.
  return weight.findLastIndex((mass) => mass > 0);
}

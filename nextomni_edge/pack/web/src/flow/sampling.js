/** From a head's logits to x_1: temperature, top-k, top-p, argmax. (flow/sampling.py) */
import { argmax, inverseCdf } from "./arrays.js";

/** @typedef {{temperature: number, top_k: number, top_p: number}} Sampling */

/**
 * x_1 ~ softmax(logits / temperature), truncated; temperature 0 is the argmax, of which the lowest
 * id wins ties.
 * @param {Float32Array} logits (V,), finite
 * @param {number} uniform in [0, 1)
 * @param {Sampling} options
 */
export function sampleX1(logits, uniform, options) {
  if (options.temperature === 0) return argmax(logits);
  return inverseCdf(truncatedWeight(logits, options), uniform);
}

/**
 * What `sampleX1` draws from: unnormalised probabilities, 0 where truncated. Among equals the lower
 * id is kept.
 * @param {Float32Array} logits
 * @param {Sampling} options
 * @returns {Float64Array}
 */
export function truncatedWeight(logits, { temperature, top_k, top_p }) {
  const [weight, peak] = [new Float64Array(logits.length), logits[argmax(logits)]];
  for (let x = 0; x < weight.length; x++) weight[x] = Math.exp((logits[x] - peak) / temperature);
  const count = top_k ? Math.min(top_k, logits.length) : logits.length;
  if (count === logits.length && top_p === 1) return weight;
  const ordered = largest(logits, count);
  const mass = Float64Array.from(ordered, (logit) => Math.exp((logit - peak) / temperature));
  const kept = shortest(mass, top_p);
  const threshold = ordered[kept - 1];
  let room = kept;
  for (const logit of logits) if (logit > threshold) room--;
  for (let x = 0; x < weight.length; x++) {
    if (logits[x] > threshold || (logits[x] === threshold && room-- > 0)) continue;
    weight[x] = 0;
  }
  return weight;
}

/**
 * The length of the shortest run whose mass reaches p, at least 1.
 * @param {Float64Array} mass falling
 * @param {number} p
 */
function shortest(mass, p) {
  const total = mass.reduce((left, right) => left + right, 0);
  let [cumulative, kept] = [0, 0];
  for (const each of mass) {
    cumulative += each;
    // the mass before a symbol falls short of p
    if (cumulative - each < p * total) kept++;
  }
  return kept;
}

const MOST_IN_HEAP = 1024; // from here on a sort costs less

/** The `count` largest values, falling. @param {Float32Array} values @param {number} count */
export function largest(values, count) {
  if (count > MOST_IN_HEAP) return values.slice().sort().reverse().subarray(0, count);
  // a heap whose top is the least value that is kept
  const heap = values.slice(0, count).sort();
  for (let at = count; at < values.length; at++) {
    if (!(values[at] > heap[0])) continue;
    let place = 0;
    for (;;) {
      let next = 2 * place + 1;
      if (next >= count) break;
      if (next + 1 < count && heap[next + 1] < heap[next]) next++;
      if (heap[next] >= values[at]) break;
      heap[place] = heap[next];
      place = next;
    }
    heap[place] = values[at];
  }
  return heap.sort().reverse();
}

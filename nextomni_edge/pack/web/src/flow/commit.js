/**
 * The commit step: every masked row draws x_1 and gets a score, and the best rows are written and
 * stay. (flow/commit.py)
 *
 * @typedef {import("../config.js").CommitRule} CommitRule
 * @typedef {{x_1: number, score: number}} Proposal
 * @typedef {{start: number, stop: number, step: number, steps: number}} Turn step `step` of `steps`
 *   of rows [start, stop)
 */
import { NextOmniError } from "../errors.js";
import { argmax } from "./arrays.js";

const SMALLEST = 1e-20; // under which a probability or a uniform is not told from 0 in a logarithm
const ENTROPY_FLOOR = 1e-10; // Dream's: sum p·ln(p + floor)
const [FIRST_TIME, LAST_TIME] = [1, 1e-3]; // Dream counts time down: t_0 and t_n
const { fround } = Math;

/** −ln(−ln u), standard Gumbel noise from u in [0, 1). @param {number} u */
export function gumbel(u) {
  return -Math.log(-Math.log(Math.max(u, SMALLEST)));
}

/**
 * x_1 = argmax(l + T·G) of a row, and its score.
 * @param {Float32Array} logits (V,)
 * @param {CommitRule} rule
 * @param {number} temperature
 * @param {() => Float64Array} noise uniforms (V,), read at a temperature above 0 only
 * @returns {Proposal}
 */
export function propose(logits, rule, temperature, noise) {
  const plain = without(Float64Array.from(logits), rule.never);
  let drawnFrom = temperature > 0 ? plain.map((logit) => logit / temperature) : plain;
  if (rule.top_k || rule.top_p < 1) drawnFrom = truncated(drawnFrom, rule.top_k, rule.top_p);
  let noised = drawnFrom;
  if (temperature > 0) {
    const uniform = noise();
    noised = drawnFrom.map((logit, x) => logit + gumbel(uniform[x]));
  }
  const x_1 = argmax(noised);
  const scored = without(rule.tempered ? drawnFrom.slice() : plain.slice(), rule.last);
  return { x_1, score: confidence(scored, x_1, rule) };
}

/**
 * The score of x_1 under logits, without noise; 0 for "random".
 * @param {Float64Array} logits
 * @param {number} x_1
 * @param {CommitRule} rule
 */
function confidence(logits, x_1, rule) {
  if (rule.score === "random") return 0;
  const highest = logits[argmax(logits)];
  const peak = Number.isFinite(highest) ? highest : 0;
  const weight = logits.map((logit) => Math.exp(logit - peak));
  const total = weight.reduce((left, right) => left + right, 0) || 1; // rule.last may leave none
  if (rule.score === "probability") return weight[x_1] / total;
  if (rule.score === "log_probability") return Math.log(Math.max(weight[x_1] / total, SMALLEST));
  const shares = weight.map((each) => each / total);
  if (rule.score === "entropy") {
    return shares.reduce((found, p) => found + p * Math.log(p + ENTROPY_FLOOR), 0);
  }
  const best = argmax(shares);
  const next = shares.reduce((found, p, x) => (x === best ? found : Math.max(found, p)), -Infinity);
  return shares[best] - next; // of "margin"
}

/**
 * The score that rows are ranked by, at this step's temperature, with a uniform draw for the row.
 * @param {number} score
 * @param {CommitRule} rule
 * @param {number} temperature
 * @param {number} uniform
 */
export function noised(score, rule, temperature, uniform) {
  if (rule.score === "random") return uniform;
  return rule.score_noise === "none" || temperature === 0
    ? score
    : score + temperature * gumbel(uniform);
}

/**
 * Rows to write: of the eligible ones the `count` with the largest score, the earlier of equals;
 * with a threshold above 0 all whose score is over it, and at least the best one.
 * @param {Float64Array} score
 * @param {boolean[]} eligible
 * @param {number} count
 * @param {number} threshold
 */
export function chosen(score, eligible, count, threshold) {
  const order = [...eligible.keys()].filter((row) => eligible[row]);
  order.sort((left, right) =>
    score[left] === score[right] ? left - right : score[right] - score[left],
  );
  const over = order.filter((row) => score[row] > threshold).length;
  return order.slice(0, Math.max(0, threshold > 0 ? Math.max(1, over) : count));
}

/**
 * The steps of a run over R rows, block by block. NextOmniError: numbers that do not divide.
 * @param {CommitRule} rule @param {number} rows @param {number} steps @returns {Turn[]}
 */
export function turns(rule, rows, steps) {
  const block = rule.block || rows;
  /** @type {[number, number][]} */
  const spans = [];
  for (let start = 0; start < rows; start += block)
    spans.push([start, Math.min(start + block, rows)]);
  if (rule.count === "even") checkWhole(rows, block, steps, spans.length);
  const shares = spans.map(([start, stop]) =>
    Math.trunc(
      rule.count === "even" ? steps / spans.length : fround(fround((stop - start) / rows) * steps),
    ),
  );
  if (Math.min(1, ...shares) < 1) {
    throw new NextOmniError(
      `${steps} steps for ${spans.length} blocks: expected at least one step each`,
    );
  }
  return spans.flatMap(([start, stop], at) =>
    Array.from({ length: shares[at] }, (_, step) => ({ start, stop, step, steps: shares[at] })),
  );
}

/** @param {number} rows @param {number} block @param {number} steps @param {number} blocks */
function checkWhole(rows, block, steps, blocks) {
  /** @param {number} value @param {number} unit */
  const near = (value, unit) =>
    [...new Set([Math.max(1, Math.floor(value / unit)) * unit, Math.ceil(value / unit) * unit])]
      .sort((left, right) => left - right)
      .join(" or ");
  if (rows % block) {
    throw new NextOmniError(
      `an answer of ${rows} tokens is no whole number of blocks of ${block}: ask for` +
        ` ${near(rows, block)} tokens, or another block`,
    );
  }
  if (steps % blocks) {
    throw new NextOmniError(
      `${steps} steps are not shared evenly by ${blocks} blocks: ask for` +
        ` ${near(steps, blocks)} steps, or another block`,
    );
  }
}

/**
 * How many rows step `step` of `steps` writes, of `masked` that are left of `total`.
 * @param {CommitRule} rule
 * @param {number} total
 * @param {number} masked
 * @param {number} step
 * @param {number} steps
 * @param {number} shift
 */
export function stepCount(rule, total, masked, step, steps, shift = 1) {
  if (rule.count === "even") return Math.floor(total / steps) + (step < total % steps ? 1 : 0);
  if (step === steps - 1) return masked;
  if (rule.count === "path") {
    const share = kappa(step + 1, steps, shift) - kappa(step, steps, shift);
    return Math.min(Math.ceil(total * share), masked);
  }
  if (rule.count === "time") {
    const left = fround(1 - fround(time(step + 1, steps) / time(step, steps)));
    return Math.max(1, Math.trunc(fround(masked * left)));
  }
  const share = maskedShare(fround((step + 1) / steps), rule.count);
  const kept = Math.min(masked - 1, Math.max(1, Math.floor(fround(total * share))));
  return Math.max(0, masked - (rule.early ? kept : Math.max(1, kept)));
}

/**
 * The share of the rows that is masked at the share r of the steps, in float32.
 * @param {number} r
 * @param {string} count
 */
function maskedShare(r, count) {
  if (count === "linear") return fround(1 - r);
  if (count === "pow2") return fround(1 - fround(r * r));
  if (count === "sigmoid") {
    const [high, low, now] = [3, -3, fround(fround(6 * r) - 3)].map((x) =>
      fround(1 / fround(1 + fround(Math.exp(-x)))),
    );
    return fround(fround(high - now) / fround(high - low));
  }
  return fround(Math.cos(fround(fround(r * fround(Math.PI)) * 0.5)));
}

/**
 * T_i of the score's noise. "compounding": T·Π_{j ≤ i}(1 − (j+1)/S).
 * @param {CommitRule} rule
 * @param {number} temperature
 * @param {number} step
 * @param {number} steps
 */
export function scoreTemperature(rule, temperature, step, steps) {
  if (rule.score_noise === "none") return 0;
  if (rule.score_noise === "constant") return temperature;
  for (let at = 0; at <= step; at++) temperature *= 1 - (at + 1) / steps;
  return temperature;
}

/**
 * Logits with −inf where Dream removes a symbol: behind a mass of more than top_p, then under the
 * k-th largest.
 * @param {Float64Array} logits
 * @param {number} top_k
 * @param {number} top_p
 */
function truncated(logits, top_k, top_p) {
  const ordered = logits.slice().sort().reverse();
  const weight = ordered.map((logit) => Math.exp(logit - ordered[0]));
  const total = weight.reduce((left, right) => left + right, 0);
  let [kept, cumulative] = [0, 0];
  for (const each of weight) {
    cumulative += each / total;
    if (cumulative - each / total <= top_p) kept++;
  }
  const least = ordered[Math.max(1, top_k ? Math.min(kept, top_k) : kept) - 1];
  return logits.map((logit) => (logit >= least ? logit : -Infinity));
}

/**
 * κ_t = τ·t / (1 + (τ − 1)·t) at step i of n even times, in float32.
 * @param {number} step
 * @param {number} steps
 * @param {number} shift
 */
function kappa(step, steps, shift) {
  const t = linspace(0, 1, step, steps);
  return fround(fround(fround(shift) * t) / fround(1 + fround(fround(shift - 1) * t)));
}

/**
 * t_i of Dream's grid, n + 1 float32 times from 1 down to 0.001.
 * @param {number} step
 * @param {number} steps
 */
function time(step, steps) {
  return linspace(FIRST_TIME, LAST_TIME, step, steps);
}

/**
 * Number i of n + 1 even float32 numbers, counted from the nearer end.
 * @param {number} start
 * @param {number} stop
 * @param {number} step
 * @param {number} steps
 */
function linspace(start, stop, step, steps) {
  const [first, last] = [fround(start), fround(stop)];
  const spacing = fround(fround(last - first) / fround(steps));
  return fround(step < (steps + 1) >> 1 ? first + step * spacing : last - (steps - step) * spacing);
}

/** @param {Float64Array} logits changed in place @param {number[]} ids */
function without(logits, ids) {
  for (const id of ids) logits[id] = -Infinity;
  return logits;
}

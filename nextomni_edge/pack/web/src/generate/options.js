/**
 * The options of a generation, by their names on the command line; those that only save time are
 * not here. (generate/options.py, faults.py)
 *
 * @typedef {{ steps: number, stepper: string, temperature: number, top_k: number, top_p: number,
 *   guidance: number, guidance_until: number, guidance_image: number, block: number | null,
 *   threshold: number | null, seed: number | bigint | string, }} Options
 */
import { NextOmniError } from "../errors.js";

/** @type {Options} */
const UNSET = {
  steps: 32,
  stepper: "euler",
  temperature: 1,
  top_k: 0,
  top_p: 1,
  guidance: 0,
  guidance_until: 1,
  guidance_image: 0,
  block: null,
  threshold: null,
  seed: 0,
};

/**
 * The names of the steps that a path can be sampled with, the default first.
 * @param {import("../config.js").PathSettings} path
 */
export function steppersOf(path) {
  const rules = path.kind === "metric" ? ["euler", "corrected"] : ["jump"];
  return path.commit ? ["commit", ...rules] : rules;
}

/**
 * The model's settings for a kind of answer, and in their place those that are given.
 * @param {import("../config.js").ModelConfig} config @param {import("../config.js").Kind} kind
 * @param {Partial<Options>} given @returns {Options}
 */
export function optionsOf(config, kind, given = {}) {
  const path = config.path(kind);
  const { steps, temperature, guidance } = path;
  const named = Object.entries(given).filter(([, value]) => value !== undefined && value !== null);
  const options = {
    ...UNSET,
    steps,
    temperature,
    guidance,
    stepper: steppersOf(path)[0],
    ...Object.fromEntries(named),
  };
  check(options, steppersOf(path));
  return options;
}

/**
 * NextOmniError: names every value that is out of its range. A comparison with NaN is false.
 * @param {Options} options @param {string[]} steppers
 */
function check(options, steppers) {
  const {
    steps,
    stepper,
    temperature,
    top_k,
    top_p,
    guidance,
    guidance_until,
    guidance_image,
    block,
    threshold,
  } = options;
  const noDraw = (/** @type {string} */ name) =>
    `${name} means nothing at temperature 0: raise the temperature or leave ${name} out`;
  const finite = (/** @type {number} */ value) => value >= 0 && value < Infinity;
  /** @type {[boolean, string][]} */
  const faults = [
    [!(Number.isInteger(steps) && steps >= 1), `steps is ${steps}, expected at least 1`],
    [
      !steppers.includes(stepper),
      `stepper is '${stepper}', expected one of ${steppers.join(", ")}`,
    ],
    [!finite(temperature), `temperature is ${temperature}, expected a finite number from 0`],
    [!(Number.isInteger(top_k) && top_k >= 0), `top_k is ${top_k}, expected at least 0`],
    [!(top_p > 0 && top_p <= 1), `top_p is ${top_p}, expected over 0 and at most 1`],
    [!finite(guidance), `guidance is ${guidance}, expected a finite number from 0`],
    [
      !(guidance_until >= 0 && guidance_until <= 1),
      `guidance_until is ${guidance_until}, expected 0 to 1`,
    ],
    [
      !finite(guidance_image),
      `guidance_image is ${guidance_image}, expected a finite number from 0`,
    ],
    [
      block !== null && !(Number.isInteger(block) && block >= 0),
      `block is ${block}, expected at least 0`,
    ],
    [
      threshold !== null && !(threshold >= 0 && threshold <= 1),
      `threshold is ${threshold}, expected 0 to 1`,
    ],
    [
      guidance_until < 1 && !(guidance > 0 || guidance_image > 0),
      "guidance_until is for guidance: give a scale, or leave guidance_until out",
    ],
    [temperature === 0 && top_k > 0, noDraw("top_k")],
    [temperature === 0 && top_p < 1, noDraw("top_p")],
  ];
  const found = faults.filter(([wrong]) => wrong).map(([, sentence]) => sentence);
  if (found.length) throw new NextOmniError(found.join("; "));
}

/**
 * The sampling loop: from noise to tokens. (generate/loop.py, stepper.py)
 *
 * @typedef {import("./model.js").EdgeModel} EdgeModel
 * @typedef {import("./options.js").Options} Options
 * @typedef {import("../tokens/sequence.js").Sequence} Sequence
 * @typedef {{step: number, t: number, x_t: Int32Array, x_1: Int32Array | null}} StepRecord x_t
 *   before a step and the predicted x_1, (R·K,) each
 */
import { NextOmniError } from "../errors.js";
import { Noise, Use } from "../flow/noise.js";
import { Draw } from "./draw.js";
import { Trunk } from "./trunk.js";
import { unmask } from "./unmask.js";

/**
 * A record of each step, and in the end the sequence with its generated segments filled, as the
 * generator's value. Closing the generator stops the computation.
 * @param {EdgeModel} model
 * @param {Sequence} sequence
 * @param {Options} options
 * @returns {AsyncGenerator<StepRecord, Sequence, void>}
 */
export async function* steps(model, sequence, options) {
  checkTokens(model, sequence);
  const trunk = await Trunk.of(model, sequence, options);
  if (options.stepper === "commit") return yield* unmask(trunk, options);
  const run = new Run(trunk, options);
  for (let step = 0; step < options.steps; step++) {
    const x_1 = run.idle(step) ? null : await run.predict(step);
    yield { step, t: step / options.steps, x_t: run.x_t.slice(), x_1: x_1 && x_1.slice() };
    if (!x_1) continue;
    if (!trunk.changesLater && run.settled(x_1)) break;
    run.advance(x_1, step);
  }
  return sequence.filled(run.x_t);
}

/**
 * NextOmniError: a token that the model does not have.
 * @param {EdgeModel} model
 * @param {Sequence} sequence
 */
function checkTokens(model, sequence) {
  sequence.segments.forEach((segment, index) => {
    const [codes, symbols] = model.config.symbols(segment.modality);
    const most = Math.max(symbols, model.config.mask(segment.modality) + 1);
    if (segment.codes !== codes || segment.tokens.some((token) => token < 0 || token >= most)) {
      throw new NextOmniError(
        `segment ${index}: expected ${codes} numbers from 0 to ${most - 1} for each token of` +
          ` ${segment.modality}`,
      );
    }
  });
}

/**
 * A sequence on its way: `x_t` (R·K,) holds the rows of all generated segments, one after another.
 */
class Run {
  /** @param {Trunk} trunk @param {Options} options */
  constructor(trunk, options) {
    this.trunk = trunk;
    this.options = options;
    this.places = trunk.sequence.places;
    this.paths = trunk.model.paths(trunk.modality, options.stepper);
    this.noise = new Noise(options.seed);
    const start = this.#uniform(0, Use.START);
    this.x_t = Int32Array.from(start, (uniform, at) => this.#path(at).start(uniform));
    this.draw = new Draw(trunk, options, this.x_t.length / this.paths.length);
  }

  /** The path of place `at` in x_t. @param {number} at */
  #path(at) {
    return this.paths[at % this.paths.length];
  }

  /** @param {number} step @param {number} use */
  #uniform(step, use) {
    const parts = this.places.map(([segment, rows]) =>
      this.noise.uniform(segment, step, use, rows, this.paths.length),
    );
    return Float64Array.from(parts.flatMap((part) => [...part]));
  }

  /** Whether no token changes in this step, whatever x_1 is. @param {number} step */
  idle(step) {
    const { steps } = this.options;
    return step < steps - 1 && this.paths.every((path) => path.idle(step / steps, 1 / steps));
  }

  /** Whether no later step changes a token. @param {Int32Array} x_1 */
  settled(x_1) {
    const greedy = this.options.temperature === 0;
    return this.x_t.every((x_t, at) => this.#path(at).settled(x_t, x_1[at], greedy));
  }

  /** x_1 ~ p(· | x_t). @param {number} step */
  async predict(step) {
    this.trunk.at(step / this.options.steps);
    const fresh = await this.trunk.refresh(this.x_t);
    await this.draw.draw(this.#uniform(step, Use.X_1), fresh);
    return this.draw.x_1;
  }

  /** x_{t+h}, each sub-code a step of its own path. @param {Int32Array} x_1 @param {number} step */
  advance(x_1, step) {
    const { steps } = this.options;
    const [jump, target] = [this.#uniform(step, Use.JUMP), this.#uniform(step, Use.TARGET)];
    this.x_t = this.x_t.map((x_t, at) =>
      this.#path(at).step(
        x_t,
        x_1[at],
        step / steps,
        1 / steps,
        jump[at],
        target[at],
        step === steps - 1,
      ),
    );
  }
}

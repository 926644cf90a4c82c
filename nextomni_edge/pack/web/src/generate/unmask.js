/**
 * Decoding by commits: masked rows draw x_1, the best are written and stay. (generate/unmask.py)
 *
 * @typedef {import("./loop.js").StepRecord} StepRecord
 * @typedef {import("../config.js").CommitRule} CommitRule
 * @typedef {import("../flow/commit.js").Turn} Turn
 */
import { NextOmniError } from "../errors.js";
import { chosen, noised, propose, scoreTemperature, stepCount, turns } from "../flow/commit.js";
import { Noise, Use } from "../flow/noise.js";
import { Draw } from "./draw.js";

const LOGARITHMIC = ["entropy", "log_probability"]; // scores that are no probabilities

/**
 * All steps. A threshold may take more of them than were asked for.
 * @param {import("./trunk.js").Trunk} trunk @param {import("./options.js").Options} options
 * @returns {AsyncGenerator<StepRecord, import("../tokens/sequence.js").Sequence, void>}
 */
export async function* unmask(trunk, options) {
  const run = new Unmasking(trunk, options);
  for (let step = 0; ; step++) {
    const turn = run.turn();
    if (!turn) break;
    yield* run.step(step, turn);
  }
  return trunk.sequence.filled(run.x_t);
}

/**
 * A sequence on its way: `x_t` (R,) begins with what its generated segments hold, where a mask is
 * to be filled.
 */
class Unmasking {
  at = 0; // in the plan

  /** @param {import("./trunk.js").Trunk} trunk @param {import("./options.js").Options} options */
  constructor(trunk, options) {
    const path = trunk.model.config.path(trunk.modality);
    if (!path.commit)
      throw new NextOmniError(`stepper commit: ${trunk.modality} of this model has no commit step`);
    const { sequence } = trunk;
    this.trunk = trunk;
    this.options = options;
    this.shift = path.shift;
    this.mask = trunk.model.config.mask(trunk.modality);
    this.noise = new Noise(options.seed);
    this.rule = ruled(path.commit, options);
    this.places = sequence.places.flatMap(([segment, length]) =>
      Array.from({ length }, (_, row) => ({ segment, row })),
    );
    this.x_t = Int32Array.from(
      sequence.generated.flatMap((index) => [...sequence.segments[index].tokens]),
    );
    this.draw = new Draw(trunk, options, this.x_t.length);
    this.plan = turns(this.rule, this.x_t.length, options.steps);
    this.total = this.rule.total === "all" ? this.x_t.length : this.masked.filter(Boolean).length;
  }

  /** Rows that are still to be written. */
  get masked() {
    return Array.from(this.x_t, (token) => token === this.mask);
  }

  /**
   * The next step; null where nothing is left to write, or where a finished block has ended the
   * answer.
   */
  turn() {
    const { rule, plan, masked } = this;
    const first = masked.indexOf(true);
    if (first < 0) return null;
    // with a threshold a block goes on until it is full
    if (rule.threshold > 0) this.at = plan.findIndex((turn) => first < turn.stop);
    if (this.at >= plan.length) return null;
    const turn = plan[this.at];
    if (turn.step === 0 && turn.start && rule.ends.includes(this.x_t[turn.start - 1])) return null;
    if (turn.step === 0 && rule.count === "even" && rule.total !== "all") {
      this.total = masked.slice(turn.start, turn.stop).filter(Boolean).length;
    }
    return turn;
  }

  /** One step. @param {number} step @param {Turn} turn @returns {AsyncGenerator<StepRecord>} */
  async *step(step, turn) {
    const { rule, options } = this;
    const eligible = this.masked.map((masked, row) => masked && row < turn.stop);
    this.trunk.at(step / options.steps);
    await this.trunk.refresh(this.x_t);
    const { x_1, score } = await this.#propose(step, eligible);
    const temperature = scoreTemperature(rule, options.temperature, turn.step, turn.steps);
    const uniform = this.#scores(step);
    const ranked = score.map((each, row) => noised(each, rule, temperature, uniform[row]));
    const left = eligible.filter(Boolean).length;
    const count = stepCount(rule, this.total, left, turn.step, turn.steps, this.shift);
    yield { step, t: Math.min(1, step / options.steps), x_t: this.x_t.slice(), x_1 };
    for (const row of chosen(ranked, eligible, count, rule.threshold)) this.x_t[row] = x_1[row];
    this.at++;
  }

  /**
   * x_1 and its score of the rows that may be written; elsewhere x_t stands, and 0.
   * @param {number} step
   * @param {boolean[]} eligible
   */
  async #propose(step, eligible) {
    const temperature = this.rule.draw_temperature ?? this.options.temperature;
    const [x_1, score] = [this.x_t.slice(), new Float64Array(this.x_t.length)];
    const { entries } = this.draw;
    for await (const { rows, logits } of this.draw.blocks(
      [...eligible.keys()].filter((row) => eligible[row]),
    )) {
      rows.forEach((row, at) => {
        const place = this.places[row];
        const noise = () => this.noise.symbols(place.segment, step, Use.SYMBOL, place.row, entries);
        const found = propose(
          logits.subarray(at * entries, (at + 1) * entries),
          this.rule,
          temperature,
          noise,
        );
        [x_1[row], score[row]] = [found.x_1, found.score];
      });
    }
    return { x_1, score };
  }

  /** A uniform draw for the score of every generated row. @param {number} step */
  #scores(step) {
    return this.trunk.sequence.places.flatMap(([segment, rows]) => [
      ...this.noise.uniform(segment, step, Use.SCORE, rows),
    ]);
  }
}

/**
 * The model's rule with what the options say in place of it.
 * @param {CommitRule} rule
 * @param {import("./options.js").Options} options
 * @returns {CommitRule}
 */
function ruled(rule, options) {
  const found = {
    ...rule,
    block: options.block ?? rule.block,
    threshold: options.threshold ?? rule.threshold,
  };
  if (options.threshold && LOGARITHMIC.includes(found.score)) {
    Object.assign(found, { score: "probability", score_noise: "none" });
  }
  if (options.top_k || options.top_p < 1)
    Object.assign(found, { top_k: options.top_k, top_p: options.top_p });
  return found;
}

/**
 * The mixture path p_t(x | x_1) = (1 − κ_t)·p_0(x) + κ_t·δ_{x_1}(x), from the mask or a uniform
 * draw. (flow/mixture.py)
 */
import { uniformId } from "./arrays.js";

/** κ_t, which rises from 0 at t = 0 to 1 at t = 1: "linear", "cosine" or "shifted". */
export class MixtureSchedule {
  /** @param {string} kind @param {number} shift */
  constructor(kind = "linear", shift = 1) {
    this.kind = kind;
    this.shift = shift;
  }

  /** κ_t. @param {number} t */
  kappa(t) {
    if (t >= 1) return 1;
    if (this.kind === "cosine") return 1 - Math.cos((Math.PI / 2) * t);
    return this.kind === "linear" ? t : (this.shift * t) / (1 + (this.shift - 1) * t);
  }
}

export class MixturePath {
  /**
   * @param {number} vocabulary
   * @param {MixtureSchedule} schedule
   * @param {number | null} mask null: p_0 is uniform
   */
  constructor(vocabulary, schedule, mask) {
    this.vocabulary = vocabulary;
    this.schedule = schedule;
    this.mask = mask;
  }

  /** x_0 ~ p_0. @param {number} uniform */
  start(uniform) {
    return this.mask ?? uniformId(uniform, this.vocabulary);
  }

  /**
   * The probability that a row off x_1 moves to x_1 in [t, t+h].
   * @param {number} t
   * @param {number} h
   */
  probability(t, h) {
    const [now, then] = [
      this.schedule.kappa(Math.min(t, 1)),
      this.schedule.kappa(Math.min(t + h, 1)),
    ];
    return then >= 1 ? 1 : (then - now) / (1 - now);
  }

  /** Whether κ does not rise in the step. @param {number} t @param {number} h */
  idle(t, h) {
    return this.probability(t, h) === 0;
  }

  /**
   * Whether no later step moves the row.
   * @param {number} x_t
   * @param {number} x_1
   * @param {boolean} greedy
   */
  settled(x_t, x_1, greedy) {
    return this.mask !== null ? x_t !== this.mask : greedy && x_t === x_1;
  }

  /**
   * x_{t+h}: a row that may move becomes x_1 with `probability`, in the last step in any case.
   * @param {number} x_t @param {number} x_1 @param {number} t @param {number} h
   * @param {number} jump a uniform @param {number} _target not read @param {boolean} last
   */
  step(x_t, x_1, t, h, jump, _target, last) {
    const moves = this.mask !== null ? x_t === this.mask : x_t !== x_1;
    return moves && (last || jump < this.probability(t, h)) ? x_1 : x_t;
  }
}

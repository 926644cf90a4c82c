/**
 * The metric-induced path p_t(x | x_1) = softmax_x(−beta_t·d(x, x_1)), and a step along it.
 * (flow/metric.py, jump.py, velocity.py)
 */
import { inverseCdf, sum, uniformId } from "./arrays.js";
import { MetricTable } from "./distance.js";
import { MetricSchedule, RISES } from "./schedule.js";

const LARGEST_BETA = 1e30; // stands for beta_1 = inf, whose product with d = 0 would be NaN
const BOUND_ROUNDING = 1e-5; // a distance may exceed what `MetricTable.between` says by this

export class MetricPath {
  /**
   * @param {Float32Array} table (V, D)
   * @param {number} vocabulary
   * @param {MetricSchedule} schedule
   * @param {string} rule
   */
  constructor(table, vocabulary, schedule, rule = "euler") {
    this.metric = new MetricTable(table, vocabulary);
    this.vocabulary = vocabulary;
    this.schedule = schedule;
    this.rule = rule;
  }

  /** x_0, uniform over the symbols. @param {number} uniform */
  start(uniform) {
    return uniformId(uniform, this.vocabulary);
  }

  /**
   * Whether beta does not rise in this step, as in Euler's at t = 0.
   * @param {number} t
   * @param {number} h
   */
  idle(t, h) {
    return RISES[this.rule](this.schedule, t, h).rise === 0;
  }

  /**
   * Whether x_t stays: a draw may move any row again.
   * @param {number} x_t
   * @param {number} x_1
   * @param {boolean} greedy
   */
  settled(x_t, x_1, greedy) {
    return greedy && x_t === x_1;
  }

  /**
   * x_{t+h}: with probability 1 − exp(−rise·Σ weight) a draw from the weights, else x_t; in the
   * last step x_1.
   * @param {number} x_t
   * @param {number} x_1
   * @param {number} t
   * @param {number} h
   * @param {number} jump
   * @param {number} target uniforms
   * @param {boolean} last
   */
  step(x_t, x_1, t, h, jump, target, last) {
    if (last) return x_1;
    const found = RISES[this.rule](this.schedule, t, h);
    if (found.rise === 0 || x_t === x_1) return x_t;
    const [beta, rise] = [Math.min(found.beta, LARGEST_BETA), Math.min(found.rise, LARGEST_BETA)];
    const bound = this.metric.between(x_t, x_1) * (1 + BOUND_ROUNDING) + BOUND_ROUNDING ** 2;
    if (!(jump < -Math.expm1(-rise * bound))) return x_t;
    const weight = jumpWeight(this.metric.distance(x_1), x_t, beta);
    return jump < -Math.expm1(-rise * sum(weight)) ? inverseCdf(weight, target) : x_t;
  }
}

/**
 * p_t(x | x_1)·max(0, d(x_t, x_1) − d(x, x_1)): the velocity without its factor beta'_t.
 * @param {Float32Array} distance (V,) of x_1 @param {number} x_t @param {number} beta
 */
export function jumpWeight(distance, x_t, beta) {
  const [here, weight] = [distance[x_t], new Float64Array(distance.length)];
  let nearest = Infinity;
  for (let x = 0; x < distance.length; x++) if (distance[x] < nearest) nearest = distance[x];
  let total = 0;
  for (let x = 0; x < distance.length; x++) {
    weight[x] = Math.exp(-beta * (distance[x] - nearest));
    total += weight[x];
  }
  for (let x = 0; x < distance.length; x++) {
    weight[x] = here > distance[x] ? (weight[x] / total) * (here - distance[x]) : 0;
  }
  return weight;
}

/**
 * When a path moves: the schedule beta_t of the metric path, and what one step reads of it.
 * (flow/schedule.py)
 */

/** beta_t = c·(t/(1−t))^a: 0 at t = 0, infinite at t = 1. */
export class MetricSchedule {
  /** @param {number} c @param {number} a */
  constructor(c = 3, a = 0.9) {
    this.c = c;
    this.a = a;
  }

  /** beta_t. @param {number} t */
  beta(t) {
    return t === 1 ? Infinity : this.c * (t / (1 - t)) ** this.a;
  }

  /** d beta_t/dt, taken as 0 at t = 0. @param {number} t */
  derivative(t) {
    if (t === 0) return 0;
    if (t === 1) return Infinity;
    return (this.c * this.a * (t / (1 - t)) ** (this.a - 1)) / (1 - t) ** 2;
  }
}

/**
 * By the name of a step rule: at which beta a step from t to t+h sees p, and by how much beta rises
 * in it.
 * @type {Record<string, (schedule: MetricSchedule, t: number, h: number) => {beta: number, rise:
 *   number}>}
 */
export const RISES = {
  euler: (schedule, t, h) => ({ beta: schedule.beta(t), rise: h * schedule.derivative(t) }),
  corrected: (schedule, t, h) => ({
    beta: schedule.beta(Math.min(t + h / 2, 1)),
    rise: t < 1 ? schedule.beta(Math.min(t + h, 1)) - schedule.beta(t) : Infinity,
  }),
};

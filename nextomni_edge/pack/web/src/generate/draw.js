/**
 * From hidden states to x_1: the head of the generated modality on the rows that need it, and the
 * draw. (generate/draw.py)
 */
import { NonFiniteError } from "../errors.js";
import { guided } from "../flow/guidance.js";
import { sampleX1 } from "../flow/sampling.js";

const LOGITS_AT_ONCE = 1 << 22; // numbers of a head's output that are looked at together

/**
 * Keeps x_1 (R·K,) and the logits of its rows.
 *
 * An autoregressive head reads the sub-codes before each. With the last draw's sub-codes as a
 * guess, one call draws all K. Rows in which an earlier sub-code differs are drawn again, so k
 * calls settle k sub-codes, and the draws are the same.
 */
export class Draw {
  /**
   * @param {import("./trunk.js").Trunk} trunk
   * @param {import("./options.js").Options} options
   * @param {number} rows
   */
  constructor(trunk, options, rows) {
    this.trunk = trunk;
    this.options = options;
    this.rows = rows;
    const [codebooks, entries] = trunk.model.config.symbols(trunk.modality);
    this.codebooks = codebooks;
    this.entries = entries;
    this.autoregressive = trunk.model.config.autoregressive(trunk.modality);
    this.x_1 = new Int32Array(rows * this.codebooks);
    this.logits = new Float32Array(0);
  }

  /**
   * Draw every row with uniform (R·K,). `fresh`: the hidden states are new since the last call.
   * @param {Float64Array} uniform
   * @param {boolean} fresh
   */
  async draw(uniform, fresh) {
    const every = Array.from({ length: this.rows }, (_, row) => row);
    let pending = fresh ? every : [];
    let redrawn = this.options.temperature === 0 ? pending : every;
    if (!this.logits.length) this.logits = new Float32Array(this.x_1.length * this.entries);
    for (let turn = 0; turn < (this.autoregressive ? this.codebooks : 1); turn++) {
      for await (const { rows, logits } of this.blocks(pending)) {
        const size = this.codebooks * this.entries;
        rows.forEach((row, at) =>
          this.logits.set(logits.subarray(at * size, (at + 1) * size), row * size),
        );
      }
      redrawn = redrawn.filter((row) => this.#drawRow(row, uniform));
      pending = redrawn;
      if (!redrawn.length) break;
    }
  }

  /**
   * Draw the sub-codes of a row; whether one that others read has changed.
   * @param {number} row
   * @param {Float64Array} uniform
   */
  #drawRow(row, uniform) {
    let changed = false;
    for (let k = 0; k < this.codebooks; k++) {
      const at = row * this.codebooks + k;
      const drawn = sampleX1(
        this.logits.subarray(at * this.entries, (at + 1) * this.entries),
        uniform[at],
        this.options,
      );
      if (drawn !== this.x_1[at] && k < this.codebooks - 1) changed = true;
      this.x_1[at] = drawn;
    }
    return changed;
  }

  /** Guided logits (n·K·C,) of some rows, a block at a time. @param {number[]} rows */
  async *blocks(rows) {
    const size = Math.max(1, Math.floor(LOGITS_AT_ONCE / (this.codebooks * this.entries)));
    for (let start = 0; start < rows.length; start += size) {
      const block = rows.slice(start, start + size);
      yield { rows: block, logits: await this.#computed(block) };
    }
  }

  /** @param {number[]} rows */
  async #computed(rows) {
    const { trunk, codebooks } = this;
    const [batch, width] = [trunk.hidden.length, trunk.model.config.backbone.hidden_size];
    const hidden = new Float32Array(batch * rows.length * width);
    const codes = new Int32Array(batch * rows.length * codebooks);
    trunk.hidden.forEach((states, branch) => {
      rows.forEach((row, at) => {
        const place = branch * rows.length + at;
        hidden.set(states.subarray(row * width, (row + 1) * width), place * width);
        codes.set(this.x_1.subarray(row * codebooks, (row + 1) * codebooks), place * codebooks);
      });
    });
    const logits = await trunk.model.head(trunk.modality, hidden, batch, codes);
    return batch > 1 ? this.#guided(logits, batch) : logits;
  }

  /** @param {Float32Array} logits @param {number} batch */
  #guided(logits, batch) {
    const size = logits.length / batch;
    const branches = Array.from({ length: batch }, (_, at) =>
      logits.subarray(at * size, (at + 1) * size),
    );
    const found = guided(branches, [this.options.guidance, this.options.guidance_image]);
    if (!found.every(Number.isFinite)) {
      throw new NonFiniteError(`${this.trunk.modality}_head: a logit under guidance is not finite`);
    }
    return found;
  }
}

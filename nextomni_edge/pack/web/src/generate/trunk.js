/**
 * Embeddings and backbone over the branches of guidance: the hidden states that predictions read.
 * (generate/trunk.py)
 */
import { NextOmniError } from "../errors.js";

/**
 * @typedef {{embeddings: Float32Array, rows: number[]}} Branch a whole sequence (S·H,), and where
 *   its generated rows stand
 */

/**
 * hidden: for each branch the states (R·H,) that predict the generated rows. Prompts are embedded
 * once.
 */
export class Trunk {
  /** @type {Branch[]} */
  branches = [];
  /** @type {Float32Array[]} */
  hidden = [];
  /** @type {Int32Array | null} x_t of the last forward */
  #computed = null;
  /** @type {{length: number, hidden: Float32Array[], kept: import("./model.js").Prompt} | null} */
  #prompt = null;

  /**
   * @param {import("./model.js").EdgeModel} model
   * @param {import("../tokens/sequence.js").Sequence} sequence
   * @param {import("../config.js").Modality} modality
   * @param {number} guidanceUntil
   */
  constructor(model, sequence, modality, guidanceUntil) {
    this.model = model;
    this.sequence = sequence;
    this.modality = modality;
    this.guidanceUntil = guidanceUntil;
    if (guidanceUntil < 1 && model.config.prefix) {
      throw new NextOmniError(
        "guidance_until is for models and caches that keep no keys and values",
      );
    }
    this.codes = model.config.symbols(modality)[0];
    if (sequence.promptLength < model.config.logitShift) {
      throw new NextOmniError(
        "the first row has none before it to be predicted from: give a prompt before the" +
          " response",
      );
    }
  }

  /**
   * A trunk of a sequence, and with guidance of those that it is compared with.
   * @param {import("./model.js").EdgeModel} model
   * @param {import("../tokens/sequence.js").Sequence} sequence
   * @param {import("./options.js").Options} options
   */
  static async of(model, sequence, options) {
    const modalities = new Set(
      sequence.generated.map((index) => sequence.segments[index].modality),
    );
    const [modality] = modalities;
    if (modalities.size !== 1) {
      throw new NextOmniError("a run generates one modality: append a response, and one at a time");
    }
    const trunk = new Trunk(model, sequence, modality, options.guidance_until);
    const guided = options.guidance > 0 || options.guidance_image > 0;
    for (const branch of [sequence, ...(guided ? model.without(sequence, modality) : [])]) {
      trunk.branches.push({
        embeddings: await model.sequenceEmbeddings(branch),
        rows: branch.rows,
      });
    }
    return trunk;
  }

  /** Whether predictions will change although no token does: guidance will end. */
  get changesLater() {
    return this.branches.length > 1 && this.guidanceUntil < 1;
  }

  /**
   * The time of the coming forwards. Behind the end of guidance they have one branch, and all is
   * computed again.
   * @param {number} t
   */
  at(t) {
    if (t <= this.guidanceUntil || this.branches.length === 1) return;
    this.branches.length = this.hidden.length = 1;
    this.#computed = null;
  }

  /**
   * Bring `hidden` up to tokens (R·K,); false where no token changed since the last forward, so
   * that nothing was computed.
   * @param {Int32Array} x_t
   */
  async refresh(x_t) {
    const changed = this.#changed(x_t);
    if (!changed.length) return false;
    await this.#embed(x_t, changed);
    this.#computed = x_t.slice();
    const [width, shift] = [this.model.config.backbone.hidden_size, this.model.config.logitShift];
    const states = await this.#states(width);
    this.hidden = states.map((found, at) => {
      const { rows } = this.branches[at];
      const hidden = new Float32Array(rows.length * width);
      rows.forEach((row, place) =>
        hidden.set(found.subarray((row - shift) * width, (row - shift + 1) * width), place * width),
      );
      return hidden;
    });
    return true;
  }

  /** Rows in which a token changed. @param {Int32Array} x_t */
  #changed(x_t) {
    const rows = Array.from({ length: x_t.length / this.codes }, (_, row) => row);
    const before = this.#computed;
    if (!before) return rows;
    return rows.filter((row) => {
      for (let at = row * this.codes; at < (row + 1) * this.codes; at++)
        if (x_t[at] !== before[at]) return true;
      return false;
    });
  }

  /**
   * Put the embeddings of these generated rows where the backbone reads them, in every branch.
   * @param {Int32Array} x_t
   * @param {number[]} changed
   */
  async #embed(x_t, changed) {
    const [width, codes] = [this.model.config.backbone.hidden_size, this.codes];
    const tokens = new Int32Array(changed.length * codes);
    changed.forEach((row, at) =>
      tokens.set(x_t.subarray(row * codes, (row + 1) * codes), at * codes),
    );
    const found = await this.model.embeddings(this.modality, tokens);
    for (const { embeddings, rows } of this.branches) {
      changed.forEach((row, at) =>
        embeddings.set(found.subarray(at * width, (at + 1) * width), rows[row] * width),
      );
    }
  }

  /**
   * Hidden states (S·H,) of each branch. With prefix attention, only the response's rows are
   * computed again.
   * @param {number} width
   */
  async #states(width) {
    const { model } = this;
    const all = this.branches.map((branch) => branch.embeddings);
    const alike = all.every((each) => each.length === all[0].length);
    const prompt = model.config.prefix ? this.sequence.promptLength : 0;
    if (prompt && !alike)
      throw new NextOmniError(
        "guidance: the prompt that it compares with is shorter here; take no guidance",
      );
    if (!alike) return Promise.all(all.map(async (each) => (await model.attend([each])).hidden[0]));
    if (!prompt) return (await model.attend(all)).hidden;
    if (!this.#prompt) {
      const { hidden, kept } = await model.attend(
        all.map((each) => each.subarray(0, prompt * width)),
        null,
        true,
      );
      if (kept) this.#prompt = { length: prompt, hidden: hidden.map((each) => each.slice()), kept };
    }
    const behind = await model.attend(
      all.map((each) => each.subarray(prompt * width)),
      this.#prompt?.kept,
    );
    return behind.hidden.map((response, at) => {
      const whole = new Float32Array(all[at].length);
      whole.set(this.#prompt?.hidden[at] ?? []);
      whole.set(response, prompt * width);
      return whole;
    });
  }
}

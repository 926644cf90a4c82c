/**
 * The golden trace replayed here: what the exported model computed, by component and by whole
 * generation. (verify/golden.py, replay.py, comparison.py, trajectory.py)
 *
 * @typedef {import("../generate/model.js").EdgeModel} EdgeModel
 * @typedef {import("../formats/tensor_file.js").TensorFile} TensorFile
 * @typedef {{components: Record<string, number>, draws: Record<string, number>, ties: string[],
 *   failures: string[]}} Report the largest error of each component relative to its output's scale,
 *   the draws of each task that are the same
 */
import { NextOmniError } from "../errors.js";
import { optionsOf } from "../generate/options.js";
import { steps } from "../generate/loop.js";
import { Segment, Sequence } from "../tokens/sequence.js";

const FLOAT32 = { limit: 1e-4, tie: 1e-4 }; // a graph of float16 weights widens them
// WebAssembly is another kind of processor to a component that multiplies integers: a value on the
// border of two may fall to either
const INTEGERS = { limit: 1e-1, tie: 1 };
/**
 * @type {Record<string, number>} Griffin-Lim turns rounding into phase where a bin is all but
 *   silent
 */
const LIMITS = { audio_decoder: 5e-3 };
const NOT_DRAWN = -1; // in place of x_1 where none was drawn

export class GoldenTrace {
  /** @param {import("../bundle/bundle.js").Bundle} bundle @param {TensorFile} file */
  constructor(bundle, file) {
    this.file = file;
    this.manifest = bundle.manifest;
    this.data = bundle.manifest.golden.data;
    const records = Object.values(bundle.manifest.components);
    const integers = records.some(multipliesIntegers);
    this.tie = (integers ? INTEGERS : FLOAT32).tie;
  }

  /** @param {import("../bundle/bundle.js").Bundle} bundle */
  static async of(bundle) {
    if (!bundle.manifest.golden)
      throw new NextOmniError("the bundle has no golden trace; export the model again");
    return new GoldenTrace(bundle, await bundle.tensors(bundle.manifest.golden.file));
  }

  /** @returns {string[]} */
  get components() {
    return Object.keys(this.data.cases);
  }

  /** @returns {string[]} */
  get tasks() {
    return Object.keys(this.data.tasks);
  }

  /**
   * Run all of it, or the named components and tasks, and compare.
   * @param {EdgeModel} model
   * @param {string[]} names
   * @param {(name: string) => void | Promise<void>} progress
   * @returns {Promise<Report>}
   */
  async replay(model, names = [...this.components, ...this.tasks], progress = () => {}) {
    /** @type {Report} */
    const report = { components: {}, draws: {}, ties: [], failures: [] };
    for (const name of names) {
      await progress(name);
      try {
        await (this.data.cases[name]
          ? this.#component(model, name, report)
          : this.#task(model, name, report));
      } catch (error) {
        if (!(error instanceof NextOmniError)) throw error;
        report.failures.push(`${name}: ${error.message}`);
      }
    }
    return report;
  }

  /** @param {EdgeModel} model @param {string} name @param {Report} report */
  async #component(model, name, report) {
    const record = this.manifest.components[name];
    const limit = multipliesIntegers(record) ? INTEGERS.limit : (LIMITS[name] ?? FLOAT32.limit);
    report.components[name] = 0;
    for (const [index, kind] of this.data.cases[name].entries()) {
      const inputs = this.#arrays(`component/${name}/${index}/input/`);
      const expected = this.#arrays(`component/${name}/${index}/output/`);
      const margins = expected.margins?.data;
      const outputs = Object.keys(expected).filter((output) => output !== "margins");
      const found = await model.outputs(name, inputs, outputs);
      for (const output of outputs) {
        const [ours, theirs] = [found[output].data, expected[output].data];
        if (theirs instanceof Int32Array)
          this.#codes(`${name}: ${kind}`, ours, theirs, margins, report);
        else {
          const measured = difference(ours, theirs);
          report.components[name] = Math.max(report.components[name], measured);
          if (!(measured <= limit))
            report.failures.push(
              `${name}: ${output} differs by ${measured} of its scale, limit ${limit} (${kind})`,
            );
        }
      }
    }
  }

  /**
   * @param {string} where
   * @param {ArrayLike<number>} ours
   * @param {Int32Array} theirs
   * @param {ArrayLike<number> | undefined} margins
   * @param {Report} report
   */
  #codes(where, ours, theirs, margins, report) {
    theirs.forEach((code, at) => {
      if (ours[at] === code) return;
      const near = (margins?.[at] ?? Infinity) <= this.tie;
      (near ? report.ties : report.failures).push(
        `${where}: code ${at} is ${ours[at]}, recorded ${code}`,
      );
    });
  }

  /** @param {string} prefix @returns {Record<string, import("../generate/model.js").Tensor>} */
  #arrays(prefix) {
    const names = this.file.names.filter((name) => name.startsWith(prefix));
    return Object.fromEntries(
      names.map((name) => {
        const { dtype, shape, data } = this.file.tensor(name);
        const own =
          dtype === "I64" ? this.file.ids(name) : /** @type {Float32Array | Uint8Array} */ (data);
        return [name.slice(prefix.length), { data: own, dims: shape }];
      }),
    );
  }

  /** A task's sequence and options. @param {EdgeModel} model @param {string} name */
  task(model, name) {
    const { segments, options } = this.data.tasks[name];
    const sequence = new Sequence(
      segments.map(
        (
          /** @type {[import("../config.js").Modality, boolean]} */ [modality, frozen],
          /** @type {number} */ index,
        ) => {
          const codes = model.config.symbols(modality)[0];
          return new Segment(
            modality,
            this.file.ids(`task/${name}/segment/${index}`),
            codes,
            frozen,
          );
        },
      ),
    );
    const [modality] = sequence.generated.map((index) => sequence.segments[index].modality);
    return { sequence, options: optionsOf(model.config, modality, options) };
  }

  /**
   * Every token of every step, up to the first draw at a tie.
   * @param {EdgeModel} model
   * @param {string} name
   * @param {Report} report
   */
  async #task(model, name, report) {
    const { sequence, options } = this.task(model, name);
    const recorded = (/** @type {string} */ kind) =>
      sequence.generated.map((_, at) => `task/${name}/${kind}/${at}`);
    const [x_t, x_1] = [recorded("x_t"), recorded("x_1")].map(
      (names) => new Steps(names.map((each) => this.file.ids(each))),
    );
    const margins = new Steps(
      recorded("margins").map((each) => /** @type {Float32Array} */ (this.file.tensor(each).data)),
    );
    const count = this.file.tensor(recorded("x_t")[0]).shape[0];
    report.draws[name] = 0;
    const run = steps(model, sequence, options);
    let found = await run.next();
    let step = 0;
    for (; !found.done; step++, found = await run.next()) {
      if (step >= count)
        return void report.failures.push(
          `${name}: more than the ${count} steps that were recorded`,
        );
      const fault = compared(found.value, x_t.at(step, count), x_1.at(step, count));
      if (fault) {
        const margin = fault.kind === "x_1" ? margins.at(step, count)[fault.at] : Infinity;
        const line = `${name}: ${fault.kind} differs at step ${step}, place ${fault.at}`;
        return void (margin <= this.tie ? report.ties : report.failures).push(
          `${line} (margin ${margin})`,
        );
      }
      report.draws[name] += found.value.x_1?.length ?? 0;
    }
    if (step !== count)
      return void report.failures.push(`${name}: ${step} steps were run, ${count} are recorded`);
    const finished = found.value.generated.flatMap((index) => [
      ...found.value.segments[index].tokens,
    ]);
    const expected = recorded("tokens").flatMap((each) => [...this.file.ids(each)]);
    if (finished.some((token, at) => token !== expected[at]))
      report.failures.push(`${name}: the tokens at the end differ`);
  }
}

/**
 * Arrays of several segments, (steps, R, K) each, read step by step.
 * @template {Int32Array | Float32Array} T
 */
class Steps {
  /** @param {T[]} parts */
  constructor(parts) {
    this.parts = parts;
  }

  /**
   * The step of all segments, one after another.
   * @param {number} step
   * @param {number} count
   * @returns {number[]}
   */
  at(step, count) {
    return this.parts.flatMap((part) => {
      const size = part.length / count;
      return [...part.subarray(step * size, (step + 1) * size)];
    });
  }
}

/**
 * The first difference of a step.
 * @param {import("../generate/loop.js").StepRecord} record
 * @param {number[]} x_t
 * @param {number[]} x_1
 */
function compared(record, x_t, x_1) {
  let at = x_t.findIndex((token, place) => record.x_t[place] !== token);
  if (at >= 0) return { kind: "x_t", at };
  at = x_1.findIndex((token, place) => (record.x_1 ? record.x_1[place] : NOT_DRAWN) !== token);
  return at >= 0 ? { kind: "x_1", at } : null;
}

/**
 * Largest absolute difference over the larger of 1 and the largest expected value.
 * @param {ArrayLike<number>} ours
 * @param {ArrayLike<number>} theirs
 */
function difference(ours, theirs) {
  if (ours.length !== theirs.length) return NaN;
  let [largest, scale] = [0, 1];
  for (let at = 0; at < theirs.length; at++) {
    const found = Math.abs(ours[at] - theirs[at]);
    if (!(found <= largest)) largest = found;
    scale = Math.max(scale, Math.abs(theirs[at]));
  }
  return largest / scale;
}

const ROUNDING = ["per_token", "per_tensor", "static", "blocks"];
const LOOKUPS = ["gather", "einsum"];

/** Whether a layer of the component multiplies 8-bit integers while it runs. @param {any} record */
function multipliesIntegers(record) {
  return Object.values(record.quantisation).some(
    (/** @type {any} */ { scheme, operator }) =>
      ROUNDING.includes(scheme) && !LOOKUPS.includes(operator),
  );
}

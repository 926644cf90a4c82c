/**
 * Components on onnxruntime-web: a session for each, loaded on first use.
 * (runtimes/onnx/runtime.py)
 *
 * @typedef {import("../generate/model.js").Tensor} Tensor
 * @typedef {import("onnxruntime-common").InferenceSession} Session
 */
import { NextOmniError } from "../errors.js";

export class OnnxComponents {
  /** @type {Map<string, Promise<Session>>} */
  #sessions = new Map();

  /**
   * @param {typeof import("onnxruntime-common")} ort
   * @param {import("../bundle/bundle.js").Bundle} bundle
   * @param {string[]} providers of onnxruntime-web; WebAssembly is what the page is tested with
   */
  constructor(ort, bundle, providers = ["wasm"]) {
    this.ort = ort;
    this.bundle = bundle;
    this.providers = providers;
  }

  /**
   * Outputs by name.
   * @param {string} component
   * @param {Record<string, Tensor>} inputs
   * @param {string[]} outputs
   * @returns {Promise<Record<string, Tensor>>}
   */
  async run(component, inputs, outputs) {
    const session = await this.session(component);
    const feeds = Object.fromEntries(
      session.inputNames.map((name) => {
        if (!inputs[name]) throw new NextOmniError(`${component}: input ${name} is missing`);
        return [name, this.#given(inputs[name])];
      }),
    );
    const found = await session.run(feeds, outputs);
    return Object.fromEntries(outputs.map((name) => [name, taken(found[name])]));
  }

  /** A component's session, loaded now if it was not before. @param {string} component */
  session(component) {
    if (!this.#sessions.has(component)) this.#sessions.set(component, this.#load(component));
    return /** @type {Promise<Session>} */ (this.#sessions.get(component));
  }

  /** Free what the sessions hold. */
  async close() {
    const sessions = [...this.#sessions.values()];
    this.#sessions.clear();
    for (const session of sessions) await (await session).release();
  }

  /** @param {string} component */
  async #load(component) {
    const record = this.bundle.manifest.components[component];
    if (!record) throw new NextOmniError(`the bundle has no ${component}`);
    const weights = this.bundle.index.weights[component];
    const externalData = await Promise.all(
      weights.map(async (path) => ({ path, data: await this.bundle.read(path) })),
    );
    const graph = await this.bundle.read(record.file);
    return this.ort.InferenceSession.create(graph, {
      executionProviders: this.providers,
      externalData,
    });
  }

  /** @param {Tensor} tensor */
  #given({ data, dims }) {
    if (data instanceof Int32Array)
      return new this.ort.Tensor("int64", BigInt64Array.from(data, BigInt), dims);
    if (data instanceof Uint8Array) return new this.ort.Tensor("bool", data, dims);
    return new this.ort.Tensor("float32", data, dims);
  }
}

/** @param {any} tensor @returns {Tensor} */
function taken({ data, dims }) {
  return {
    data: data instanceof BigInt64Array ? Int32Array.from(data, Number) : data,
    dims: [...dims],
  };
}

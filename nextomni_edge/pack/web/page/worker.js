/**
 * The model in a worker of its own, so that the page never freezes.
 *
 * @typedef {{id: number, do: "load"} | {id: number, do: "verify"} | {id: number, do: "stop"} | {id:
 *   number, do: "generate", said: import("../src/api.js").Said[], settings:
 *   import("../src/api.js").Settings, watch: boolean}} Request
 * @typedef {{id: number, is: "download", received: number, total: number} | {id: number, is:
 *   "loaded", kinds: string[], name: string} | {id: number, is: "step", step: number, steps:
 *   number, t: number, answer: import("../src/api.js").Answer | null} | {id: number, is:
 *   "checking", name: string} | {id: number, is: "report", report:
 *   import("../src/verify/golden.js").Report} | {id: number, is: "stopped"} | {id: number, is:
 *   "error", sentence: string}} Reply
 */
import { Model, NextOmniError } from "../src/index.js";

const scope = /** @type {any} */ (self);
/** @param {Reply} message */
const reply = (message) => scope.postMessage(message);
// A turn of the event loop, in which a message that says stop may come.
const turn = () => new Promise((done) => setTimeout(done));
const SHOWN = ["text", "image", "video"]; // a sound that is half done is only noise

/** @type {Promise<Model> | null} */
let loading = null;
/** @type {Set<number>} */
const stopped = new Set();

/** @param {MessageEvent<Request>} event */
scope.onmessage = async ({ data: request }) => {
  if (request.do === "stop") {
    stopped.add(request.id);
    return;
  }
  try {
    const model = await (loading ??= load(request.id));
    if (request.do === "load")
      reply({ id: request.id, is: "loaded", kinds: model.kinds, name: document(model) });
    else if (request.do === "verify") await verify(model, request.id);
    else await generate(model, request);
  } catch (error) {
    if (request.do === "load") loading = null;
    reply({ id: request.id, is: "error", sentence: sentenceOf(error) });
  }
};

/** @param {number} id */
async function load(id) {
  const [module, wasm] = ["ort.js", "ort.wasm"].map(
    (name) => new URL(`../ort/${name}`, import.meta.url).href,
  );
  const ort = await import(module);
  ort.env.wasm.numThreads = 1; // more need headers that a plain server does not send
  ort.env.wasm.wasmPaths = { wasm };
  return Model.load(new URL("../model/", import.meta.url), {
    ort,
    progress: (_, received, total) => reply({ id, is: "download", received, total }),
  });
}

/** What the model is, in one line. @param {Model} model */
function document(model) {
  const size = model.bundle.index.shards.reduce((total, shard) => total + shard.size, 0);
  return `${(size / 1e6).toFixed(0)} MB, ${model.kinds.join(", ")}`;
}

/** @param {Model} model @param {Request & {do: "generate"}} request */
async function generate(model, { id, said, settings, watch }) {
  for await (const { step, steps, t, answer } of model.generate(said, settings)) {
    const shown = t === 1 || (watch && SHOWN.includes(settings.to ?? "text"));
    reply({ id, is: "step", step, steps, t, answer: shown ? await answer() : null });
    await turn();
    if (t < 1 && stopped.delete(id)) return reply({ id, is: "stopped" });
  }
}

/** @param {Model} model @param {number} id */
async function verify(model, id) {
  let stop = false;
  const report = await model.verify(undefined, async (name) => {
    reply({ id, is: "checking", name });
    await turn();
    stop ||= stopped.delete(id);
    if (stop) throw new NextOmniError("stopped");
  });
  reply({ id, is: "report", report });
}

/** @param {unknown} error */
function sentenceOf(error) {
  const line = error instanceof Error ? error.message : String(error);
  return error instanceof NextOmniError ? line : `the page failed: ${line}`;
}

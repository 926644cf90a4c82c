/**
 * The front door: a model, prompts of text and media, and answers that form step by step. (api/)
 *
 * @typedef {import("./config.js").Kind} Kind
 * @typedef {import("./media/image.js").Picture} Picture
 * @typedef {import("./media/audio.js").Sound} Sound
 * @typedef {string | {image: Picture} | {audio: Sound} | {video: Picture[]}} Given a part of a
 *   prompt
 * @typedef {{role: "user" | "assistant", given: Given[]}} Said
 * @typedef {{kind: "text", text: string} | {kind: "image", picture: Picture} | {kind: "audio",
 *   samples: Float32Array, rate: number} | {kind: "video", frames: Picture[]}} Answer
 * @typedef {Partial<import("./generate/options.js").Options> & {to?: Kind, count?: number}}
 *   Settings `count`: blocks of text, tokens of audio or frames of video
 * @typedef {{step: number, steps: number, t: number, answer: () => Promise<Answer>}} Step the
 *   answer as it stands before a step; decoded only where it is looked at. The last one has t = 1
 *   and holds the finished answer.
 */
import { Bundle } from "./bundle/bundle.js";
import { NextOmniError } from "./errors.js";
import { steps } from "./generate/loop.js";
import { EdgeModel } from "./generate/model.js";
import { optionsOf } from "./generate/options.js";
import { waveformOf } from "./media/audio.js";
import { pictureOf, pixelsOf } from "./media/image.js";
import { OnnxComponents } from "./runtime/onnx.js";
import { logMel } from "./tokens/audio.js";
import { conversation, respond } from "./tokens/chat.js";
import { Sequence } from "./tokens/sequence.js";
import { TextTokenizer } from "./tokens/text.js";
import { GoldenTrace } from "./verify/golden.js";

/** A packed model in this browser's memory. Its components are loaded on first use. */
export class Model {
  /** @param {Bundle} bundle @param {EdgeModel} edge @param {OnnxComponents} components */
  constructor(bundle, edge, components) {
    this.bundle = bundle;
    this.edge = edge;
    this.components = components;
  }

  /**
   * @param {string | URL} url of the folder `model/` that `pack --for web` wrote
   * @param {import("./bundle/bundle.js").Access & {ort: typeof import("onnxruntime-common"),
   *   providers?: string[]}} access `ort` is the module onnxruntime-web; `providers` of it, by
   *   default WebAssembly
   */
  static async load(url, { ort, providers, ...access }) {
    const bundle = await Bundle.open(url, access);
    const { tokenizer, metric_tables } = bundle.manifest;
    const components = new OnnxComponents(ort, bundle, providers);
    const tables = await bundle.tensors(metric_tables);
    const edge = new EdgeModel(
      bundle.config,
      new TextTokenizer(await bundle.json(tokenizer), bundle.config.text),
      (component, inputs, outputs) => components.run(component, inputs, outputs),
      (modality) => tables.floats(modality),
    );
    return new Model(bundle, edge, components);
  }

  /** The kinds that it answers in. @returns {Kind[]} */
  get kinds() {
    const { config, tokenizer } = this.edge;
    return /** @type {Kind[]} */ (["text", "image", "audio", "video"]).filter(
      (kind) =>
        config.most(kind) &&
        tokenizer.special.has(kind) &&
        (tokenizer.special.mask < 0 || kind === "text" || kind === "image"),
    );
  }

  /**
   * The answer to what was said, step by step. Closing the generator stops the computation.
   * @param {Given | Said[]} said a prompt, or a conversation
   * @param {Settings} settings
   * @returns {AsyncGenerator<Step, void, void>}
   */
  async *generate(said, { to = "text", count, ...settings } = {}) {
    const { edge } = this;
    const options = optionsOf(edge.config, to, settings);
    const turns = [];
    for (const { role, given } of Array.isArray(said)
      ? said
      : [{ role: /** @type {const} */ ("user"), given: [said] }]) {
      turns.push({ role, parts: await this.#parts(given) });
    }
    const length = count ?? (to === "text" ? 1 : edge.config.most(to));
    const sequence = respond(
      conversation(edge.tokenizer, turns, to),
      to,
      edge.config,
      edge.tokenizer,
      length,
    );
    const limit = edge.config.backbone.max_positions;
    if (sequence.length > limit) {
      throw new NextOmniError(
        `the conversation and its answer are ${sequence.length} positions, the model takes` +
          ` ${limit}; shorten it`,
      );
    }
    const run = steps(edge, sequence, options);
    for (;;) {
      const { done, value } = await run.next();
      const found = done ? value : sequence.filled(value.x_t);
      const [step, t] = done ? [options.steps, 1] : [value.step, value.t];
      yield { step, steps: options.steps, t, answer: () => this.#answer(found, to) };
      if (done) return;
    }
  }

  /**
   * Run the golden trace here and compare.
   * @param {string[]} [names] of components and tasks
   * @param {(name: string) => void | Promise<void>} [progress]
   */
  async verify(names, progress) {
    return (await GoldenTrace.of(this.bundle)).replay(this.edge, names, progress);
  }

  /** Free what the runtime holds. */
  async close() {
    await this.components.close();
  }

  /** @param {Given[]} given */
  async #parts(given) {
    const parts = [];
    for (const each of given) parts.push(await this.#part(each));
    return parts;
  }

  /** @param {Given} given @returns {Promise<import("./tokens/chat.js").Part>} */
  async #part(given) {
    if (typeof given === "string") return { kind: "text", text: given };
    const { edge } = this;
    const kind = "image" in given ? "image" : "audio" in given ? "audio" : "video";
    if (!edge.config.most(kind))
      throw new NextOmniError(`${kind}: this model takes ${edge.config.modalities.join(" and ")}`);
    const [width] = edge.config.symbols(kind === "video" ? "image" : kind);
    if ("image" in given) {
      return {
        kind: "image",
        codes: await edge.encodeImage(pixelsOf(given.image, edge.config.image)),
        width,
      };
    }
    if ("audio" in given) {
      const { sample_rate: rate, hop, frames_per_token } = edge.config.audio;
      const samples = waveformOf(
        given.audio,
        rate,
        edge.config.maxAudioTokens * hop * frames_per_token,
      );
      return {
        kind: "audio",
        codes: await edge.encodeAudio(logMel(samples, edge.config.audio)),
        width,
      };
    }
    const frames = [];
    for (const frame of sampled(given.video, edge.config.image.max_frames)) {
      frames.push(await edge.encodeImage(pixelsOf(frame, edge.config.image)));
    }
    return { kind: "video", frames, width };
  }

  /** @param {Sequence} sequence @param {Kind} kind @returns {Promise<Answer>} */
  async #answer(sequence, kind) {
    const { config, tokenizer } = this.edge;
    const parts = sequence.generated.map((index) => sequence.segments[index].tokens);
    if (kind === "text") return { kind, text: tokenizer.decode(parts[0]) };
    if (kind === "audio")
      return {
        kind,
        samples: await this.edge.decodeAudio(parts[0]),
        rate: config.audio.sample_rate,
      };
    if (kind === "image")
      return {
        kind,
        picture: await this.#picture(Int32Array.from(parts.flatMap((part) => [...part]))),
      };
    const frames = [];
    for (const codes of parts) frames.push(await this.#picture(codes));
    return { kind, frames };
  }

  /** @param {Int32Array} codes */
  async #picture(codes) {
    const { data, dims } = await this.edge.decodeImage(codes);
    return pictureOf(/** @type {Float32Array} */ (data), dims[3], this.edge.config.image.truncated);
  }
}

/**
 * `count` of the frames, each from the middle of an equal share of the time; all of them where
 * there are fewer.
 * @template T
 * @param {T[]} frames
 * @param {number} count
 * @returns {T[]}
 */
function sampled(frames, count) {
  const most = Math.min(frames.length, count);
  return Array.from(
    { length: most },
    (_, at) => frames[Math.floor(((2 * at + 1) * frames.length) / (2 * most))],
  );
}

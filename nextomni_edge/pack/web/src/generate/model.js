/**
 * A model as the browser runs it: sessions by component, a tokenizer, paths. (generate/model.py)
 *
 * @typedef {import("../config.js").ModelConfig} ModelConfig
 * @typedef {import("../config.js").Modality} Modality
 * @typedef {import("../tokens/text.js").TextTokenizer} TextTokenizer
 * @typedef {import("../tokens/sequence.js").Sequence} Sequence
 * @typedef {{data: Float32Array | Int32Array | Uint8Array, dims: number[]}} Tensor ids are int32
 *   here, int64 in the graph; booleans uint8
 * @typedef {(component: string, inputs: Record<string, Tensor>, outputs: string[]) =>
 *   Promise<Record<string, Tensor>>} Run
 * @typedef {(modality: Modality) => Float32Array} Table (V, D) of text, (K, C, D) of a coded
 *   modality
 * @typedef {{length: number, keys: Tensor, values: Tensor}} Prompt what is kept of prompts that see
 *   none of the response
 */
import { NextOmniError, NonFiniteError } from "../errors.js";
import { MetricPath } from "../flow/metric.js";
import { MixturePath, MixtureSchedule } from "../flow/mixture.js";
import { MetricSchedule } from "../flow/schedule.js";
import { maskedUnconditional } from "../tokens/masked.js";
import { unconditional } from "../tokens/sequence.js";

export class EdgeModel {
  /** @type {Map<Modality, (MetricPath | MixturePath)[]>} */
  #paths = new Map();

  /**
   * @param {ModelConfig} config
   * @param {TextTokenizer} tokenizer
   * @param {Run} run
   * @param {Table} table
   */
  constructor(config, tokenizer, run, table) {
    this.config = config;
    this.tokenizer = tokenizer;
    this.run = run;
    this.table = table;
  }

  /**
   * One path for each of the K sub-codes of a modality's token, stepped by a rule.
   * @param {Modality} modality
   * @param {string} rule
   */
  paths(modality, rule) {
    const found = this.#paths.get(modality) ?? this.#made(modality);
    this.#paths.set(modality, found);
    for (const path of found) if (path instanceof MetricPath) path.rule = rule;
    return found;
  }

  /** @param {Modality} modality */
  #made(modality) {
    const settings = this.config.path(modality);
    const [codebooks, entries] = this.config.symbols(modality);
    if (settings.kind === "mixture") {
      const schedule = new MixtureSchedule(settings.kappa, settings.shift);
      const mask = settings.source === "mask" ? this.config.mask(modality) : null;
      return Array.from({ length: codebooks }, () => new MixturePath(entries, schedule, mask));
    }
    const table = this.table(modality);
    const size = table.length / codebooks;
    const schedule = new MetricSchedule(settings.c, settings.a);
    return Array.from(
      { length: codebooks },
      (_, k) => new MetricPath(table.subarray(k * size, (k + 1) * size), entries, schedule),
    );
  }

  /**
   * The sequences without a condition that guidance compares with.
   * @param {Sequence} sequence
   * @param {Modality} modality
   */
  without(sequence, modality) {
    if (this.tokenizer.special.mask < 0) return [unconditional(sequence, this.tokenizer.special)];
    return maskedUnconditional(
      sequence,
      modality,
      this.tokenizer,
      this.config.image.codebook?.entries ?? 0,
    );
  }

  /**
   * One output of a component.
   * @param {string} component
   * @param {Record<string, Tensor>} inputs
   * @param {string} name
   */
  async output(component, inputs, name) {
    return (await this.outputs(component, inputs, [name]))[name];
  }

  /** @param {string} component @param {Record<string, Tensor>} inputs @param {string[]} names */
  async outputs(component, inputs, names) {
    const found = await this.run(component, inputs, names);
    for (const name of names) {
      const { data } = found[name];
      if (data instanceof Float32Array && !data.every(Number.isFinite)) {
        throw new NonFiniteError(`${component}: ${name} holds a value that is not finite`);
      }
    }
    return found;
  }

  /**
   * The backbone's input rows (n·H,) of tokens (n·K,).
   * @param {Modality} modality
   * @param {Int32Array} tokens
   */
  async embeddings(modality, tokens) {
    const [codes] = this.config.symbols(modality);
    const dims = modality === "text" ? [1, tokens.length] : [1, tokens.length / codes, codes];
    const name = modality === "text" ? "tokens" : "codes";
    const found = await this.output(
      `embed_${modality}`,
      { [name]: { data: tokens, dims } },
      "embeddings",
    );
    return /** @type {Float32Array} */ (found.data);
  }

  /** Rows (S·H,) of a whole sequence. @param {Sequence} sequence */
  async sequenceEmbeddings(sequence) {
    const width = this.config.backbone.hidden_size;
    const found = new Float32Array(sequence.length * width);
    let place = 0;
    for (const segment of sequence.segments) {
      if (!segment.length) continue;
      found.set(await this.embeddings(segment.modality, segment.tokens), place);
      place += segment.length * width;
    }
    return found;
  }

  /**
   * Hidden states (B·R·H,) of one forward of B sequences of one length, behind kept prompts where
   * there are any; and on request their keys and values.
   * @param {Float32Array[]} branches (R·H,) each
   * @param {Prompt | null} prompt
   * @param {boolean} keep
   */
  async attend(branches, prompt = null, keep = false) {
    const {
      hidden_size: width,
      layers,
      kv_heads: heads,
      query_heads: queries,
    } = this.config.backbone;
    const [batch, rows, past] = [branches.length, branches[0].length / width, prompt?.length ?? 0];
    const limit = this.config.backbone.max_positions;
    if (rows + past > limit) {
      throw new NextOmniError(
        `sequence of ${rows + past} positions: the model takes at most ${limit}; give it less or` +
          " ask for less",
      );
    }
    const embeddings = new Float32Array(batch * rows * width);
    branches.forEach((branch, at) => embeddings.set(branch, at * rows * width));
    const empty = {
      data: new Float32Array(0),
      dims: [layers, batch, heads, 0, this.config.backbone.head_dim ?? width / queries],
    };
    const inputs = {
      embeddings: { data: embeddings, dims: [batch, rows, width] },
      positions: {
        data: Int32Array.from({ length: batch * rows }, (_, at) => past + (at % rows)),
        dims: [batch, rows],
      },
      attention_mask: {
        data: new Uint8Array(batch * (past + rows)).fill(1),
        dims: [batch, past + rows],
      },
      past_keys: prompt?.keys ?? empty,
      past_values: prompt?.values ?? empty,
    };
    const found = await this.outputs(
      "backbone",
      inputs,
      keep ? ["hidden", "keys", "values"] : ["hidden"],
    );
    const hidden = /** @type {Float32Array} */ (found.hidden.data);
    const size = rows * width;
    return {
      hidden: branches.map((_, at) => hidden.subarray(at * size, (at + 1) * size)),
      kept: keep ? { length: rows, keys: found.keys, values: found.values } : null,
    };
  }

  /**
   * Logits (B·R·K·C,) of hidden states (B·R·H,); an autoregressive head reads the sub-codes
   * (B·R·K,) before each.
   * @param {Modality} modality
   * @param {Float32Array} hidden
   * @param {number} batch
   * @param {Int32Array} codes
   */
  async head(modality, hidden, batch, codes) {
    const width = this.config.backbone.hidden_size;
    const rows = hidden.length / (batch * width);
    /** @type {Record<string, Tensor>} */
    const inputs = { hidden: { data: hidden, dims: [batch, rows, width] } };
    if (this.config.autoregressive(modality)) {
      inputs.codes = { data: codes, dims: [batch, rows, this.config.symbols(modality)[0]] };
    }
    const found = await this.output(`${modality}_head`, inputs, "logits");
    return /** @type {Float32Array} */ (found.data);
  }

  /** Pixels (3,size,size) in [-1,1] → sub-codes (n·K,). @param {Float32Array} pixels */
  async encodeImage(pixels) {
    const { size } = this.config.image;
    const found = await this.output(
      "image_encoder",
      { pixels: { data: pixels, dims: [1, 3, size, size] } },
      "codes",
    );
    return /** @type {Int32Array} */ (found.data);
  }

  /** Log-mel (n,frames_per_token,mels) → sub-codes (n·K,). @param {Float32Array} logMel */
  async encodeAudio(logMel) {
    const { frames_per_token: frames, mels } = this.config.audio;
    const dims = [1, logMel.length / (frames * mels), frames, mels];
    const found = await this.output("audio_encoder", { log_mel: { data: logMel, dims } }, "codes");
    return /** @type {Int32Array} */ (found.data);
  }

  /**
   * Sub-codes (n·K,) → pixels (3,height,width) in [-1,1]. A code that is still masked is shown as
   * 0.
   * @param {Int32Array} codes
   */
  async decodeImage(codes) {
    const [width, entries] = this.config.symbols("image");
    const side = Math.sqrt(codes.length);
    const dims = this.config.sharesVocabulary
      ? [1, side, side, 1]
      : [1, codes.length / width, width];
    const data = codes.map((code) => (code < entries ? code : 0));
    return this.output("image_decoder", { codes: { data, dims } }, "pixels");
  }

  /** Sub-codes (n·K,) → a waveform (samples,) in [-1,1]. @param {Int32Array} codes */
  async decodeAudio(codes) {
    const [width] = this.config.symbols("audio");
    const found = await this.output(
      "audio_decoder",
      { codes: { data: codes, dims: [1, codes.length / width, width] } },
      "waveform",
    );
    return /** @type {Float32Array} */ (found.data);
  }
}

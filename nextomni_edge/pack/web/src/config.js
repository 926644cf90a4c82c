/**
 * A bundle's model config, with what JSON leaves out where it is the default. (config/,
 * decoding.py)
 *
 * @typedef {"text" | "image" | "audio"} Modality of a segment
 * @typedef {Modality | "video"} Kind of an answer or of a part of a prompt
 * @typedef {{ count: string, score: string, tempered: boolean, score_noise: string, block: number,
 *   threshold: number, top_k: number, top_p: number, never: number[], last: number[], total:
 *   string, early: boolean, draw_temperature: number | null, ends: number[], }} CommitRule how a
 *   masked model writes its rows
 * @typedef {{ kind: string, source: string, mask: number | null, kappa: string, shift: number,
 *   commit: CommitRule | null, c: number, a: number, steps: number, temperature: number, guidance:
 *   number, }} PathSettings
 * @typedef {{codebooks: number, entries: number}} Codebook
 * @typedef {{ size: number, patch: number, max_frames: number, codebook: Codebook, head: {kind:
 *   string}, given: string, fitting: string, truncated: boolean, }} ImageConfig
 * @typedef {{ sample_rate: number, n_fft: number, hop: number, mels: number, frames_per_token:
 *   number, max_seconds: number, codebook: Codebook, head: {kind: string}, }} AudioConfig
 * @typedef {{ vocabulary_size: number, block_size: number, max_blocks: number, template: string,
 *   canvas: number | null, null_token: number | null, }} TextConfig
 */

/** What a commit rule leaves out. */
export const COMMIT = {
  tempered: false,
  score_noise: "none",
  block: 0,
  threshold: 0,
  top_k: 0,
  top_p: 1,
  never: [],
  last: [],
  total: "masked",
  early: false,
  draw_temperature: null,
  ends: [],
};
const PATH = {
  kind: "metric",
  source: "mask",
  mask: null,
  kappa: "linear",
  shift: 1,
  commit: null,
  c: 3,
  a: 0.9,
  steps: 32,
  temperature: 1,
  guidance: 0,
};
const TEXT = { template: "chatml", canvas: null, null_token: null };
const IMAGE = { given: "codes", fitting: "white", truncated: false };

export class ModelConfig {
  /** @param {any} data the manifest's */
  constructor(data) {
    /** @type {Modality[]} */
    this.modalities = data.modalities ?? ["text", "image", "audio"];
    this.network = data.network ?? "native";
    this.logitShift = data.logit_shift ?? 0;
    this.backbone = { attention: "full", ...data.backbone };
    /** @type {TextConfig} */
    this.text = { ...TEXT, ...data.text };
    /** @type {ImageConfig} */
    this.image = { ...IMAGE, ...data.image };
    /** @type {AudioConfig} */
    this.audio = data.audio;
    this.flow = data.flow;
  }

  /** The path of a kind; a video's frames are images. @param {Kind} kind @returns {PathSettings} */
  path(kind) {
    const own = { ...PATH, ...this.flow[kind === "video" ? "image" : kind] };
    return { ...own, commit: own.commit && { ...COMMIT, ...own.commit } };
  }

  /**
   * (K, C): sub-codes of a token, and the number of values of each.
   * @param {Modality} modality
   * @returns {[number, number]}
   */
  symbols(modality) {
    if (modality === "text") return [1, this.text.vocabulary_size];
    const { codebooks, entries } = this[modality].codebook;
    return [codebooks, entries];
  }

  /** The id of a masked token: by default the one behind the symbols. @param {Modality} modality */
  mask(modality) {
    return this.path(modality).mask ?? this.symbols(modality)[1];
  }

  /**
   * Whether the head predicts a position's sub-codes one after another.
   * @param {Modality} modality
   */
  autoregressive(modality) {
    return modality !== "text" && this[modality].head.kind === "autoregressive";
  }

  /** Whether codes are ids of the text's vocabulary, in one table. */
  get sharesVocabulary() {
    return this.network === "unified";
  }

  /** Whether the prompt sees nothing of the response. */
  get prefix() {
    return this.backbone.attention === "prefix";
  }

  /** Tokens of a picture. */
  get positions() {
    return Math.floor(this.image.size / this.image.patch) ** 2;
  }

  /** Tokens of the longest sound. */
  get maxAudioTokens() {
    const { max_seconds, sample_rate, hop, frames_per_token } = this.audio;
    return Math.ceil((max_seconds * sample_rate) / (hop * frames_per_token));
  }

  /**
   * The longest answer of a kind in its own unit: blocks, tokens, frames; a picture is 1. 0: the
   * model does not answer so.
   * @param {Kind} kind
   */
  most(kind) {
    if (!this.modalities.includes(kind === "video" ? "image" : kind)) return 0;
    if (kind === "text") return this.text.max_blocks;
    if (kind === "audio") return this.maxAudioTokens;
    return kind === "image" ? 1 : this.image.max_frames;
  }
}

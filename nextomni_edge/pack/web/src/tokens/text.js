/**
 * Text to ids and back, by byte-level BPE from a tokenizer.json, and the special tokens of a chat
 * format. (tokens/text.py)
 */
import { NextOmniError } from "../errors.js";
import { patternOf } from "./pattern.js";

const MAX_TEXT = 2 ** 20; // characters
/** @type {Record<string, string>} */
const CHATML = Object.fromEntries(
  [
    "pad",
    "eos",
    "null",
    "im_start",
    "im_end",
    "image_start",
    "image_end",
    "audio_start",
    "audio_end",
    "video_start",
    "video_end",
  ].map((name) => [name, `<|${name}|>`]),
);
const LLADA = {
  pad: "<|endoftext|>",
  eos: "<|endoftext|>",
  bos: "<|startoftext|>",
  mask: "<|mdm_mask|>",
  null: "<|mdm_mask|>",
  im_start: "<|start_header_id|>",
  head_end: "<|end_header_id|>",
  im_end: "<|eot_id|>",
};
const MMADA = {
  ...LLADA,
  image_start: "<|reserved_token_0|>",
  image_end: "<|reserved_token_1|>",
  task_image: "<|reserved_token_4|>",
  task_seen: "<|reserved_token_5|>",
};
const LUMINA = {
  pad: "<|endoftext|>",
  eos: "<|endoftext|>",
  mask: "<|mdm_mask|>",
  null: "<|mdm_mask|>",
  image_start: "<Image>",
  image_end: "</Image>",
  system: "<system>",
  system_end: "</system>",
  user: "<user>",
  user_end: "</user>",
  answer: "<answer>",
  answer_end: "</answer>",
  dropped: "<uncondition>",
  newline: "<|reserved_token_0|>",
};
const DREAM = {
  pad: "<|endoftext|>",
  eos: "<|endoftext|>",
  mask: "<|mask|>",
  null: "<|mask|>",
  im_start: "<|im_start|>",
  im_end: "<|im_end|>",
};
/**
 * How special tokens are spelled in tokenizer.json, by template.
 * @type {Record<string, Record<string, string>>}
 */
const SPELLINGS = { chatml: CHATML, llada: LLADA, mmada: MMADA, lumina: LUMINA, dream: DREAM };
const MEDIA = ["image", "audio", "video"];

/** Ids of the format's own tokens by name; -1 for a token that the format lacks. */
export class SpecialTokens {
  /** @param {Record<string, number>} ids */
  constructor(ids) {
    this.ids = ids;
  }

  /** @param {string} name */
  of(name) {
    return this.ids[name] ?? -1;
  }

  get null() {
    return this.of("null");
  }

  get mask() {
    return this.of("mask");
  }

  /** Whether the format can hold a kind; text always. @param {string} kind */
  has(kind) {
    return kind === "text" || (this.of(`${kind}_start`) >= 0 && this.of(`${kind}_end`) >= 0);
  }

  /** Tokens that open the sequence and surround media. The unconditional branch keeps them. */
  get markers() {
    const media = MEDIA.flatMap((kind) => [this.of(`${kind}_start`), this.of(`${kind}_end`)]);
    return [this.of("bos"), ...media].filter((id) => id >= 0);
  }

  /** Tokens at which an answer is over. */
  get ends() {
    return [this.of("eos"), this.of("im_end"), this.of("answer_end")].filter((id) => id >= 0);
  }
}

/**
 * A tokenizer.json in one of the chat templates. Special tokens in a user's text are plain text,
 * never control.
 */
export class TextTokenizer {
  /**
   * @param {any} file the parsed tokenizer.json
   * @param {import("../config.js").TextConfig} config
   */
  constructor(file, config) {
    this.template = config.template;
    this.pattern = patternOf(file.pre_tokenizer);
    this.composes = file.normalizer?.type === "NFC";
    /** @type {Map<string, number>} */
    this.ids = new Map(Object.entries(file.model.vocab));
    for (const added of file.added_tokens) this.ids.set(added.content, added.id);
    this.pieces = new Map([...this.ids].map(([piece, id]) => [id, piece]));
    this.controls = new Set(
      file.added_tokens
        .filter((/** @type {any} */ each) => each.special)
        .map((/** @type {any} */ each) => each.id),
    );
    /** @type {Map<string, number>} how early a pair "left right" is merged */
    this.ranks = new Map(
      file.model.merges.map((/** @type {string | string[]} */ pair, /** @type {number} */ rank) => [
        typeof pair === "string" ? pair : pair.join(" "),
        rank,
      ]),
    );
    const added = file.added_tokens.map((/** @type {any} */ each) => each.content);
    /** @type {string[]} spellings that a user's text must not make */
    this.split =
      config.template === "chatml"
        ? ["<|"]
        : added.filter((/** @type {string} */ each) => [...each].length > 1).sort();
    this.special = this.#special(config);
  }

  /** @param {import("../config.js").TextConfig} config */
  #special(config) {
    /** @type {Record<string, number>} */
    const found = config.null_token === null ? {} : { null: config.null_token };
    for (const [name, spelling] of Object.entries(SPELLINGS[config.template] ?? {})) {
      const id = this.ids.get(spelling);
      if (id === undefined)
        throw new NextOmniError(`tokenizer.json: special token ${spelling} is missing`);
      found[name] = id;
    }
    return new SpecialTokens(found);
  }

  /**
   * Ids of a text; a special token's spelling becomes ordinary characters.
   * @param {string} text
   * @returns {number[]}
   */
  encode(text) {
    if (text.length > MAX_TEXT) {
      throw new NextOmniError(
        `a text of ${text.length} characters, at most ${MAX_TEXT} are read; shorten it`,
      );
    }
    const mask = SPELLINGS[this.template].mask;
    if (mask && text.includes(mask)) {
      throw new NextOmniError(
        `the text holds ${mask}, the mask that the model fills in; leave it out`,
      );
    }
    for (const spelling of this.split) {
      const [first] = spelling;
      text = text.replaceAll(spelling, () => `${first} ${spelling.slice(first.length)}`);
    }
    const normal = this.composes ? text.normalize("NFC") : text;
    return words(normal, this.pattern).flatMap((word) => this.#merged(word));
  }

  /**
   * One word: its bytes as symbols, the pair that was learnt first merged first.
   * @param {string} word
   */
  #merged(word) {
    let parts = Array.from(new TextEncoder().encode(word), (byte) => SYMBOLS[byte]);
    for (;;) {
      let [best, rank] = [-1, Infinity];
      for (let at = 0; at + 1 < parts.length; at++) {
        const found = this.ranks.get(`${parts[at]} ${parts[at + 1]}`) ?? Infinity;
        if (found < rank) [best, rank] = [at, found];
      }
      if (best < 0) break;
      parts.splice(best, 2, parts[best] + parts[best + 1]);
    }
    return parts.map((part) => this.ids.get(part)).filter((id) => id !== undefined);
  }

  /**
   * The text up to <EOS>, or another end of a masked model's answer, special tokens left out.
   * @param {Iterable<number>} ids
   */
  decode(ids) {
    const ends = this.special.mask >= 0 ? this.special.ends : [this.special.of("eos")];
    let symbols = "";
    for (const id of ids) {
      if (ends.includes(id)) break;
      if (!this.controls.has(id)) symbols += this.pieces.get(id) ?? "";
    }
    const bytes = Array.from(symbols, (symbol) => BYTES.get(symbol)).filter(
      (byte) => byte !== undefined,
    );
    return stripped(new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes)));
  }
}

/** A text without white space around it, as Python's `strip` leaves it. @param {string} text */
export function stripped(text) {
  const space = String.raw`[\t-\r\x1c- \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+`;
  return text.replace(new RegExp(`^${space}|${space}$`, "gu"), "");
}

/**
 * What the pattern finds, and what stands between, each by itself.
 * @param {string} text
 * @param {RegExp} pattern
 */
function words(text, pattern) {
  const found = [];
  let place = 0;
  for (const match of text.matchAll(pattern)) {
    if (match.index > place) found.push(text.slice(place, match.index));
    if (match[0]) found.push(match[0]);
    place = match.index + match[0].length;
  }
  if (place < text.length) found.push(text.slice(place));
  return found;
}

/**
 * GPT-2's printable stand-in for each byte: itself where it is printable, else a letter from 256
 * on.
 */
const SYMBOLS = (() => {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    return String.fromCodePoint(printable ? byte : next++);
  });
})();
const BYTES = new Map(SYMBOLS.map((symbol, byte) => [symbol, byte]));

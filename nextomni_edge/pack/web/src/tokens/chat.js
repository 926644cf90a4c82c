/**
 * Conversations as sequences, in ChatML or a masked model's template. (tokens/chat.py)
 *
 * @typedef {import("../config.js").Kind} Kind
 * @typedef {import("./text.js").TextTokenizer} TextTokenizer
 * @typedef {{kind: "text", text: string}} TextPart
 * @typedef {{kind: "image" | "audio", codes: Int32Array, width: number}} CodedPart sub-codes by
 *   rows of `width`
 * @typedef {{kind: "video", frames: Int32Array[], width: number}} VideoPart
 * @typedef {TextPart | CodedPart | VideoPart} Part
 * @typedef {{role: "user" | "assistant", parts: Part[]}} Turn
 */
import { NextOmniError } from "../errors.js";
import { maskedConversation, maskedResponse } from "./masked.js";
import { Segment, Sequence } from "./sequence.js";

/** A given segment of text ids. @param {number[]} ids */
export function text(...ids) {
  return new Segment("text", ids);
}

/** @param {TextTokenizer} tokenizer @param {Kind} kind @param {Segment[]} inside */
function between(tokenizer, kind, inside) {
  const { special } = tokenizer;
  if (!special.has(kind))
    throw new NextOmniError(`${kind}: this model's conversations hold no ${kind}`);
  return [text(special.of(`${kind}_start`)), ...inside, text(special.of(`${kind}_end`))];
}

/**
 * A part between its markers. Text has no markers.
 * @param {TextTokenizer} tokenizer
 * @param {Part} part
 * @param {boolean} frozen
 * @returns {Segment[]}
 */
export function partSegments(tokenizer, part, frozen = true) {
  if (part.kind === "text") return [new Segment("text", tokenizer.encode(part.text), 1, frozen)];
  if (part.kind === "video") {
    const frames = part.frames.flatMap((codes) =>
      partSegments(tokenizer, { kind: "image", codes, width: part.width }, frozen),
    );
    return between(tokenizer, "video", frames);
  }
  return between(tokenizer, part.kind, [new Segment(part.kind, part.codes, part.width, frozen)]);
}

/**
 * Everything said so far, and the opening of the assistant's next turn.
 * @param {TextTokenizer} tokenizer
 * @param {Turn[]} turns
 * @param {Kind} answer
 * @returns {Segment[]}
 */
export function conversation(tokenizer, turns, answer = "text") {
  if (tokenizer.template !== "chatml") return maskedConversation(tokenizer, turns, answer);
  const { special } = tokenizer;
  const newline = tokenizer.encode("\n");
  const opening = (/** @type {string} */ role) =>
    text(special.of("im_start"), ...tokenizer.encode(role), ...newline);
  const said = turns.flatMap((turn) => [
    opening(turn.role),
    ...turn.parts.flatMap((part) => partSegments(tokenizer, part)),
    text(special.of("im_end"), ...newline),
  ]);
  return [...said, opening("assistant")];
}

/**
 * Append the segments to generate, all zero for now, or masked: `count` blocks of text, frames of
 * video, or tokens of audio.
 * @param {Segment[]} segments
 * @param {Kind} kind
 * @param {import("../config.js").ModelConfig} config
 * @param {TextTokenizer} tokenizer
 * @param {number} count
 */
export function respond(segments, kind, config, tokenizer, count) {
  const most = config.most(kind);
  if (!most || !tokenizer.special.has(kind)) {
    throw new NextOmniError(
      `modality '${kind}': this model answers in ${config.modalities.join(" or ")}`,
    );
  }
  if (!(count >= 1 && count <= most)) {
    throw new NextOmniError(`${kind} response of ${count}: the model takes 1 to ${most}`);
  }
  if (tokenizer.template !== "chatml")
    return maskedResponse(segments, kind, config, tokenizer, count);
  if (kind === "text") {
    const length = textLength(new Sequence(segments).length, config, count);
    const path = config.path("text");
    const fill = path.kind === "mixture" && path.source === "mask" ? config.mask("text") : 0;
    return new Sequence([
      ...segments,
      new Segment("text", new Int32Array(length).fill(fill), 1, false),
    ]);
  }
  const modality = kind === "video" ? "image" : kind;
  const [width] = config.symbols(modality);
  const empty = () => new Int32Array((modality === "image" ? config.positions : count) * width);
  /** @type {Part} */
  const part =
    kind === "video"
      ? { kind, frames: Array.from({ length: count }, empty), width }
      : { kind, codes: empty(), width };
  return new Sequence([...segments, ...partSegments(tokenizer, part, false)]);
}

/**
 * Tokens of an answer in text.
 * @param {number} prompt positions
 * @param {import("../config.js").ModelConfig} config
 * @param {number} blocks
 */
function textLength(prompt, config, blocks) {
  const { canvas, block_size } = config.text;
  if (canvas === null) return blocks * block_size;
  if (prompt >= canvas)
    throw new NextOmniError(`prompt of ${prompt} positions: the model's canvas has ${canvas}`);
  return canvas - prompt;
}

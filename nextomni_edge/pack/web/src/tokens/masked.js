/**
 * Prompts of published masked models as their authors build them, and the prompts that guidance
 * compares them with. (tokens/masked.py)
 *
 * @typedef {import("./chat.js").Part} Part
 * @typedef {import("./chat.js").Turn} Turn
 * @typedef {import("./text.js").TextTokenizer} TextTokenizer
 * @typedef {import("../config.js").Kind} Kind
 */
import { NextOmniError } from "../errors.js";
import { Segment, Sequence } from "./sequence.js";
import { stripped } from "./text.js";

const TEXT_LIMIT = 512; // ids of a text that MMaDA draws a picture of, the end included
const GENERATE = "Generate an image according to the text prompt.";
const EDIT =
  "Generate an image applying the following editing instruction based on the original image.";
const ANSWER =
  "You are a multimodal model that can process both text and images. Answer the following question" +
  " based on the provided images." +
  " Analyze each image and combine relevant details to answer.";
const WORDS = 1; // the segment where MMaDA's and Lumina-DiMOO's templates have the text

/** @param {number[]} ids */
const text = (...ids) => new Segment("text", ids);
/** @param {Part[]} parts */
const spoken = (parts) => parts.map((part) => (part.kind === "text" ? part.text : "")).join("");

/**
 * Everything said so far, and the opening of the answer.
 * @param {TextTokenizer} tokenizer
 * @param {Turn[]} turns
 * @param {Kind} answer
 */
export function maskedConversation(tokenizer, turns, answer) {
  if (tokenizer.template === "lumina") return lumina(tokenizer, turns, answer);
  if (tokenizer.template === "mmada" && answer === "image") return mmadaImage(tokenizer, turns);
  return chat(tokenizer, turns);
}

/**
 * <bos>, then each message between its header and its end. MMaDA's images stand before the
 * conversation. Dream: ChatML.
 * @param {TextTokenizer} tokenizer
 * @param {Turn[]} turns
 */
function chat(tokenizer, turns) {
  const { special } = tokenizer;
  const dream = tokenizer.template === "dream";
  const images = turns.flatMap((turn) =>
    turn.parts.filter((part) => part.kind !== "text").flatMap((part) => shown(tokenizer, part)),
  );
  const ids = dream ? [] : [special.of("bos")];
  for (const turn of turns) {
    ids.push(...headed(tokenizer, turn.role, stripped(spoken(turn.parts))), special.of("im_end"));
    if (dream) ids.push(...tokenizer.encode("\n"));
  }
  ids.push(...headed(tokenizer, "assistant", ""));
  return [...(images.length ? [text(special.of("task_seen"))] : []), ...images, text(...ids)];
}

/**
 * A message's ids behind its header, without its end.
 * @param {TextTokenizer} tokenizer
 * @param {string} role
 * @param {string} words
 */
function headed(tokenizer, role, words) {
  const { special } = tokenizer;
  if (tokenizer.template === "dream")
    return [special.of("im_start"), ...tokenizer.encode(`${role}\n${words}`)];
  const between = tokenizer.template === "mmada" ? "\n" : "\n\n";
  return [
    special.of("im_start"),
    ...tokenizer.encode(role),
    special.of("head_end"),
    ...tokenizer.encode(between + words),
  ];
}

/**
 * An image between its markers; where rows have a newline, each is a segment of its own.
 * @param {TextTokenizer} tokenizer
 * @param {Part} part
 * @param {boolean} frozen
 */
function shown(tokenizer, part, frozen = true) {
  const { special } = tokenizer;
  if (part.kind !== "image" || !special.has("image")) {
    throw new NextOmniError(`${part.kind}: this model's conversations hold no ${part.kind}`);
  }
  const around = [text(special.of("image_start")), text(special.of("image_end"))];
  if (special.of("newline") < 0)
    return [around[0], new Segment("image", part.codes, 1, frozen), around[1]];
  const side = Math.sqrt(part.codes.length);
  if (!Number.isInteger(side))
    throw new NextOmniError(`an image of ${part.codes.length} codes: expected a square`);
  const rows = Array.from({ length: side }, (_, row) => [
    new Segment("image", part.codes.subarray(row * side, (row + 1) * side), 1, frozen),
    text(special.of("newline")),
  ]);
  return [around[0], ...rows.flat(), around[1]];
}

/**
 * <|t2i|> <bos> text <eos>. The text is a segment of its own, which guidance leaves out.
 * @param {TextTokenizer} tokenizer
 * @param {Turn[]} turns
 */
function mmadaImage(tokenizer, turns) {
  const { special } = tokenizer;
  if (turns.length !== 1 || turns[0].parts.some((part) => part.kind !== "text")) {
    throw new NextOmniError("MMaDA draws a picture of one text: give that only");
  }
  const ids = tokenizer.encode(spoken(turns[0].parts)).slice(0, TEXT_LIMIT - 2);
  return [text(special.of("task_image"), special.of("bos")), text(...ids), text(special.of("eos"))];
}

/**
 * <system> words </system> <user> text, images </user> <answer>.
 * @param {TextTokenizer} tokenizer
 * @param {Turn[]} turns
 * @param {Kind} answer
 */
function lumina(tokenizer, turns, answer) {
  if (turns.length !== 1)
    throw new NextOmniError("Lumina-DiMOO answers one turn: start again for another question");
  const { special } = tokenizer;
  const [{ parts }] = turns;
  const images = parts.filter((part) => part.kind !== "text");
  const role = answer === "text" ? ANSWER : images.length ? EDIT : GENERATE;
  const system = [
    special.of("system"),
    ...tokenizer.encode(role),
    special.of("system_end"),
    special.of("user"),
  ];
  return [
    text(...system),
    text(...tokenizer.encode(spoken(parts))),
    ...images.flatMap((part) => shown(tokenizer, part)),
    text(special.of("user_end")),
    text(special.of("answer")),
  ];
}

/**
 * Append what is to be generated, all masked: as many tokens as the blocks have, or a square image.
 * @param {Segment[]} segments
 * @param {Kind} kind
 * @param {import("../config.js").ModelConfig} config
 * @param {TextTokenizer} tokenizer
 * @param {number} count
 */
export function maskedResponse(segments, kind, config, tokenizer, count) {
  const { special, template } = tokenizer;
  const closing = template === "lumina" ? [text(special.of("answer_end"))] : [];
  if (kind === "text") {
    const masks = new Int32Array(count * config.text.block_size).fill(special.mask);
    return new Sequence([...segments, new Segment("text", masks, 1, false), ...closing]);
  }
  if (kind !== "image")
    throw new NextOmniError(`modality '${kind}': this model answers in text or an image`);
  const codes = new Int32Array(config.positions).fill(config.image.codebook.entries);
  return new Sequence([
    ...segments,
    ...shown(tokenizer, { kind, codes, width: 1 }, false),
    ...closing,
  ]);
}

/**
 * The sequences without a condition that guidance compares with, one for each of its scales.
 * @param {Sequence} sequence
 * @param {string} modality
 * @param {TextTokenizer} tokenizer
 * @param {number} entries
 */
export function maskedUnconditional(sequence, modality, tokenizer, entries) {
  const { segments } = sequence;
  const { special } = tokenizer;
  if (modality === "text") {
    return [
      new Sequence(
        segments.map((segment) => {
          if (!segment.frozen) return segment;
          return segment.holding(
            segment.tokens.map(() => (segment.modality === "text" ? special.mask : entries)),
          );
        }),
      ),
    ];
  }
  const [before, behind] = [segments.slice(0, WORDS), segments.slice(WORDS + 1)];
  if (special.of("dropped") < 0) return [new Sequence([...before, ...behind])];
  const dropped = new Sequence([...before, text(special.of("dropped")), ...behind]);
  const end = segments.findIndex(
    (segment) =>
      segment.modality === "text" &&
      segment.length === 1 &&
      segment.tokens[0] === special.of("user_end"),
  );
  if (end === WORDS + 1) return [dropped];
  return [dropped, new Sequence([...segments.slice(0, WORDS + 1), ...segments.slice(end)])];
}

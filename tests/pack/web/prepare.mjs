/**
 * Prepares what standard input lists as the page does, for test_web_media.py: one JSON object a
 * line, one answer a line.
 */
import { createInterface } from "node:readline";
import { source } from "./vectors.mjs";

const { pixelsOf, pictureOf } = await source("media/image.js");
const { soundOfWav, wavOf, waveformOf } = await source("media/audio.js");
const { logMel } = await source("tokens/audio.js");
const { TextTokenizer } = await source("tokens/text.js");

const KINDS = {
  picture: ({ levels, width, height, size, fitting }) => [
    ...pixelsOf({ data: Uint8ClampedArray.from(levels), width, height }, { size, fitting }),
  ],
  levels: ({ pixels, width, truncated }) => [
    ...pictureOf(Float32Array.from(pixels), width, truncated).data,
  ],
  sound: ({ wav, rate, most }) => [...waveformOf(soundOfWav(Uint8Array.from(wav)), rate, most)],
  wav: ({ samples, rate }) => [...wavOf(Float32Array.from(samples), rate)],
  logMel: ({ samples, config }) => [...logMel(Float32Array.from(samples), config)],
  text: ({ texts, tokenizer }) => {
    const made = new TextTokenizer(tokenizer, { template: "chatml", null_token: null });
    return texts.map((text) => made.encode(text));
  },
  decode: ({ ids, tokenizer }) => {
    const made = new TextTokenizer(tokenizer, { template: "chatml", null_token: null });
    return ids.map((each) => made.decode(each));
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  process.stdout.write(`${JSON.stringify(KINDS[asked.kind](asked))}\n`);
}

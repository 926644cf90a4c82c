/**
 * Runs a graph on onnxruntime-web for browser_integers.py: the request on standard input, arrays in
 * files of its folder.
 */
import { readFile, writeFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import * as ort from "onnxruntime-web";

const TYPES = {
  float32: ["float32", Float32Array],
  int64: ["int64", BigInt64Array],
  bool: ["bool", Uint8Array],
  uint8: ["uint8", Uint8Array],
};

ort.env.wasm.numThreads = 1;
const { graph, folder, inputs, outputs } = JSON.parse(await text(process.stdin));
const session = await ort.InferenceSession.create(new Uint8Array(await readFile(graph)));
const feeds = {};
for (const [name, [dtype, dims]] of Object.entries(inputs)) {
  const [type, Values] = TYPES[dtype];
  const bytes = await readFile(`${folder}/${name}`);
  feeds[name] = new ort.Tensor(
    type,
    new Values(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)),
    dims,
  );
}
const found = await session.run(feeds, outputs);
for (const [at, name] of outputs.entries()) await writeFile(`${folder}/out${at}`, found[name].data);

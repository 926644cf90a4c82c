import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { source, vectors } from "./vectors.mjs";

const { Bundle } = await source("bundle/bundle.js");
const { TensorFile } = await source("formats/tensor_file.js");

const CONTENT = { "a.onnx": Uint8Array.of(1, 2, 3), "weights/b": Uint8Array.of(4, 5, 6, 7) };
const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** The files of a packed folder, and what a test changes in them. */
function folder(changed = {}) {
  const files = Object.fromEntries(
    Object.entries(CONTENT).map(([name, bytes]) => [
      name,
      { size: bytes.length, sha256: digest(bytes) },
    ]),
  );
  const shards = [{ file: "one.bin", size: 7 }];
  const places = { "a.onnx": [0, 0], "weights/b": [0, 3] };
  return {
    "manifest.json": JSON.stringify({ config: vectors("config.json"), files }),
    "index.json": JSON.stringify({ version: 1, shards, files: places, weights: {} }),
    "one.bin": Uint8Array.of(1, 2, 3, 4, 5, 6, 7),
    ...changed,
  };
}

async function opened(files) {
  const asked = [];
  const fetch = async (url) => {
    const name = url.href.split("/").at(-1);
    asked.push(name);
    return name in files ? new Response(files[name]) : new Response("", { status: 404 });
  };
  return { bundle: await Bundle.open("http://here/model", { fetch, caches: null }), asked };
}

const refused = (files, message) =>
  assert.rejects(
    async () => {
      const { bundle } = await opened(files);
      await bundle.read("a.onnx");
    },
    { name: "NextOmniError", message },
  );

test("a file is read out of its shard, which is downloaded once", async () => {
  const { bundle, asked } = await opened(folder());
  assert.deepEqual([...(await bundle.read("weights/b"))], [4, 5, 6, 7]);
  assert.deepEqual([...(await bundle.read("a.onnx"))], [1, 2, 3]);
  assert.deepEqual(asked.sort(), ["index.json", "manifest.json", "one.bin"]);
});

test("every byte of a shard is checked", async () => {
  for (let at = 0; at < 7; at++) {
    const bytes = Uint8Array.of(1, 2, 3, 4, 5, 6, 7);
    bytes[at] ^= 0x10;
    const name = at < 3 ? "a.onnx" : "weights/b";
    await refused(
      folder({ "one.bin": bytes }),
      `one.bin: ${name} is not what the manifest says (SHA-256); copy the folder again`,
    );
  }
});

test("a folder that is not whole is refused in a sentence", async () => {
  await refused(folder({ "one.bin": new Uint8Array(6) }), /6 of 7 bytes arrived; load the page/);
  await refused(folder({ "one.bin": new Uint8Array(8) }), /more than the 7 bytes that the index/);
  await refused(folder({ "index.json": "<html>" }), /index.json: expected JSON/);
  await refused(folder({ "index.json": '{"version": 2}' }), /packed in form 2, expected 1/);
  await refused(folder({ "manifest.json": '{"files": {"c": {}}}' }), /are of different bundles/);
  const missing = folder();
  delete missing["one.bin"];
  await refused(missing, /one.bin: the server answers 404/);
  const { bundle } = await opened(folder());
  await assert.rejects(bundle.read("other"), { message: /the bundle has no file other/ });
});

test("no connection is told in a sentence", async () => {
  const fetch = async () => {
    throw new TypeError("fetch failed");
  };
  await assert.rejects(Bundle.open("http://here/model", { fetch, caches: null }), {
    name: "NextOmniError",
    message: /no connection \(fetch failed\)$/,
  });
});

/** A safetensors file of these entries. */
function tensors(entries, size = 8) {
  const header = new TextEncoder().encode(JSON.stringify(entries));
  const bytes = new Uint8Array(8 + header.length + size);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
  bytes.set(header, 8);
  return bytes;
}

test("a tensor that its file does not hold is refused", () => {
  const whole = new TensorFile(tensors({ a: { dtype: "F32", shape: [2], data_offsets: [0, 8] } }));
  assert.deepEqual([...whole.floats("a")], [0, 0]);
  assert.throws(() => whole.tensor("b"), { message: "there is no tensor b" });
  for (const [dtype, start, stop] of [
    ["F32", 0, 16],
    ["F32", 8, 4],
    ["F8", 0, 8],
  ]) {
    const file = new TensorFile(tensors({ a: { dtype, shape: [2], data_offsets: [start, stop] } }));
    assert.throws(() => file.tensor("a"), { name: "NextOmniError", message: /does not hold/ });
  }
  const fault = { name: "NextOmniError", message: /its header is/ };
  for (const bytes of [new Uint8Array(3), new Uint8Array(9).fill(255), tensors({}).fill(1, 8)]) {
    assert.throws(() => new TensorFile(bytes), fault);
  }
});

/**
 * The golden trace of packed folders through the npm package in Node.js: `node
 * tests/pack/web/replay.mjs FOLDER...`, which `make test-web` runs. A difference in any token ends
 * it with exit code 1.
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { source } from "./vectors.mjs";

const { Model } = await source("index.js");
const ort = await import("onnxruntime-web");
ort.env.wasm.numThreads = 1;
const fetch = async (url) => new Response(await readFile(fileURLToPath(url)));

for (const folder of process.argv.slice(2)) {
  const model = await Model.load(`${pathToFileURL(folder)}/model/`, { ort, fetch, caches: null });
  const { components, draws, ties, failures } = await model.verify();
  const all = Object.values(draws).reduce((left, right) => left + right, 0);
  const worst = Object.entries(components).sort((left, right) => right[1] - left[1])[0];
  console.log(
    `${folder}: ${Object.keys(draws).length} tasks, ${all} draws the same, ${ties.length} at a tie`,
  );
  console.log(
    `${folder}: ${Object.keys(components).length} components, largest error` +
      ` ${worst[1].toExponential(1)} of ${worst[0]}`,
  );
  for (const line of [...ties, ...failures]) console.log(line);
  if (failures.length) process.exitCode = 1;
}

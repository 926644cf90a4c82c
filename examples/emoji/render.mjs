// Renders icons of the pinned artist packages to raw, non-premultiplied RGBA.
//
//   node render.mjs JOB.json
//
// JOB.json: {"npm": folder with node_modules, "out": folder, "size": 64, "skip": {artist: [icon, ...]},
//            "items": [{"key": "1f680_noto", "artist": "noto", "icon": "rocket"}, ...]}
// Writes OUT/KEY.rgba (size * size * 4 bytes, rows top to bottom) for each item that is not there yet and prints one
// JSON line per batch: {"done": n, "total": n} and, at the end, {"failed": [key, ...]}.
//
// The renderer aborts the whole process on a few drawings (a panic in native code, which JavaScript cannot catch), so
// the drawings are rendered by child processes in batches; a child that dies names its culprit by the file it left out.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const BATCH = 64;
const TRANSFORMS = ["hFlip", "vFlip", "rotate"];

function fail(message) {
  process.stderr.write(`render: ${message}\n`);
  process.exit(3);
}

function readJob(file) {
  const job = JSON.parse(readFileSync(file, "utf8"));
  for (const key of ["npm", "out", "size", "items"]) {
    if (job[key] === undefined) fail(`the job has no "${key}"`);
  }
  return { skip: {}, ...job };
}

function outputPath(job, item) {
  return path.join(job.out, `${item.key}.rgba`);
}

/** The icon's SVG as a square picture of `size` pixels; an alias is followed to the drawing that it names. */
function svgOf(set, name, size) {
  let icon = set.icons[name];
  let hops = 0;
  let at = name;
  while (icon === undefined && set.aliases?.[at] !== undefined && hops < 8) {
    const alias = set.aliases[at];
    if (TRANSFORMS.some((key) => alias[key])) fail(`${set.prefix}:${name} is a turned alias, which is not supported`);
    at = alias.parent;
    icon = set.icons[at];
    hops += 1;
  }
  if (icon === undefined) fail(`${set.prefix} has no icon "${name}"`);
  const width = icon.width ?? set.width ?? 16;
  const height = icon.height ?? set.height ?? 16;
  const box = `${icon.left ?? set.left ?? 0} ${icon.top ?? set.top ?? 0} ${width} ${height}`;
  return `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" `
    + `width="${size}" height="${size}" viewBox="${box}">${icon.body}</svg>`;
}

/** The renderer's pixels are premultiplied by alpha; the stored ones are not. */
function unpremultiply(pixels) {
  const out = Buffer.from(pixels);
  for (let i = 0; i < out.length; i += 4) {
    const alpha = out[i + 3];
    if (alpha === 0 || alpha === 255) continue;
    for (let c = 0; c < 3; c += 1) out[i + c] = Math.min(255, Math.round((out[i + c] * 255) / alpha));
  }
  return out;
}

function renderBatch(job, items) {
  const require = createRequire(path.join(path.resolve(job.npm), "package.json"));
  const { Resvg } = require("@resvg/resvg-js");
  const sets = new Map();
  for (const item of items) {
    if (!sets.has(item.artist)) sets.set(item.artist, require(`@iconify-json/${item.artist}/icons.json`));
    const svg = svgOf(sets.get(item.artist), item.icon, job.size);
    const image = new Resvg(svg, { font: { loadSystemFonts: false } }).render();
    if (image.width !== job.size || image.height !== job.size) fail(`${item.key}: rendered ${image.width}x${image.height}`);
    const file = outputPath(job, item);
    writeFileSync(`${file}.tmp`, unpremultiply(image.pixels));
    renameSync(`${file}.tmp`, file);
  }
}

/** Renders a batch in a child; after an abort, goes on behind the drawing that caused it. */
function renderGuarded(job, jobFile, batch, failed) {
  let items = batch;
  while (items.length > 0) {
    const child = spawnSync(process.execPath, [fileURLToPath(import.meta.url), jobFile, "--child"], {
      input: JSON.stringify(items), stdio: ["pipe", "ignore", "pipe"], encoding: "utf8",
    });
    if (child.status === 3) fail(child.stderr.trim().replace(/^render: /, ""));
    const missing = items.findIndex((item) => !existsSync(outputPath(job, item)));
    if (missing < 0) return;
    failed.push(items[missing].key);
    items = items.slice(missing + 1);
  }
}

function main(jobFile, isChild) {
  if (jobFile === undefined) fail("usage: node render.mjs JOB.json");
  const job = readJob(jobFile);
  if (isChild) {
    renderBatch(job, JSON.parse(readFileSync(0, "utf8")));
    return;
  }
  mkdirSync(job.out, { recursive: true });
  const wanted = job.items.filter((item) => !(job.skip[item.artist] ?? []).includes(item.icon));
  const open = wanted.filter((item) => !existsSync(outputPath(job, item)));
  const failed = [];
  for (let i = 0; i < open.length; i += BATCH) {
    renderGuarded(job, jobFile, open.slice(i, i + BATCH), failed);
    const done = wanted.length - open.length + Math.min(open.length, i + BATCH);
    process.stdout.write(`${JSON.stringify({ done, total: wanted.length })}\n`);
  }
  process.stdout.write(`${JSON.stringify({ failed })}\n`);
}

main(process.argv[2], process.argv[3] === "--child");

/**
 * The numbers that Python computed for the Swift package (tests/pack/vectors.py): the browser's
 * loop must give the same.
 */
import { readFileSync } from "node:fs";

export const PACKAGE = new URL("../../../nextomni_edge/pack/", import.meta.url);
const FOLDER = new URL("swift/Tests/NextOmniFlowTests/Vectors/", PACKAGE);

/** @param {string} name */
export const vectors = (name) => JSON.parse(readFileSync(new URL(name, FOLDER), "utf-8"));
/** @param {string} name of a module of web/src */
export const source = (name) => import(new URL(`web/src/${name}`, PACKAGE).href);
/** Rows of numbers one after another. */
export const flat = (rows) => rows.flat(Infinity);
export const close = (found, expected) =>
  found === expected || Math.abs(found - expected) <= 1e-9 * Math.max(1, Math.abs(expected));
/** An object with the config's names for those of the vectors, which are Swift's. */
export const snake = (object) =>
  Object.fromEntries(
    Object.entries(object).map(([name, value]) => [
      name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      value,
    ]),
  );
/** A sentence of Python's with numbers as JavaScript writes them. */
export const written = (sentence) =>
  sentence
    .replace(/\bnan\b/g, "NaN")
    .replace(/\binf\b/g, "Infinity")
    .replace(/(\d)\.0\b/g, "$1");

/** The pattern by which a tokenizer.json splits a text into words, in JavaScript's form. */
import { NextOmniError } from "../errors.js";

// GPT-2's words, for a tokenizer.json that names no pattern of its own
const GPT2 = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
// What Oniguruma, which `tokenizers` uses, means by these in Unicode; JavaScript's \w is ASCII and
// its \s has U+FEFF.
/** @type {Record<string, string>} */
const CLASSES = {
  s: String.raw`\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000`,
  w: String.raw`\p{Alphabetic}\p{M}\p{Nd}\p{Pc}`,
  d: String.raw`\p{Nd}`,
};

/** @param {any} preTokenizer of a tokenizer.json: bytes behind a split by a pattern */
export function patternOf(preTokenizer) {
  const [first] = preTokenizer.pretokenizers ?? [preTokenizer];
  const source = first.pattern?.Regex ?? (first.use_regex ? GPT2 : undefined);
  if (source === undefined)
    throw new NextOmniError("tokenizer.json: expected byte-level BPE behind a split by a pattern");
  try {
    return new RegExp(translated(source), "gu");
  } catch (error) {
    throw new NextOmniError(
      `tokenizer.json: this browser cannot use the pattern ${source}` +
        ` (${/** @type {Error} */ (error).message})`,
    );
  }
}

/** The same pattern with classes and groups that every browser knows. @param {string} source */
function translated(source) {
  let [found, inside] = ["", false];
  for (const [token] of caseless(source).matchAll(/\\p\{[^}]*\}|\\.|[^]/gsu)) {
    const name = token.length === 2 && token[0] === "\\" ? token[1] : "";
    const members = CLASSES[name.toLowerCase()];
    if (token === "[" || token === "]") inside = token === "[";
    if (!members) found += UNESCAPED.has(token) ? token[1] : token;
    else if (name === name.toLowerCase()) found += inside ? members : `[${members}]`;
    else if (!inside) found += `[^${members}]`;
    else
      throw new NextOmniError(
        `tokenizer.json: the pattern ${source} has \\${name} inside brackets, which is not` +
          " supported",
      );
  }
  return found;
}

// escapes that JavaScript's Unicode mode refuses
const UNESCAPED = new Set([
  "\\'",
  '\\"',
  "\\ ",
  "\\<",
  "\\>",
  "\\!",
  "\\#",
  "\\&",
  "\\~",
  "\\@",
  "\\%",
  "\\:",
  "\\;",
  "\\,",
  "\\=",
  "\\_",
]);

/**
 * (?i:…) written out, letter by letter.
 * @param {string} source
 */
function caseless(source) {
  const both = (/** @type {string} */ letter) => `[${letter.toLowerCase()}${letter.toUpperCase()}]`;
  return source.replace(/\(\?i:([^()]*)\)/g, (_, inner) => `(?:${inner.replace(/[a-z]/gi, both)})`);
}

/**
 * A packed bundle: manifest.json as the bundle has it, and its files in few shards. Every file's
 * SHA-256 is checked against the manifest before it is used. (bundle/reader.py, pack/web.py)
 *
 * @typedef {{size: number, sha256: string}} FileRecord
 * @typedef {{file: string, size: number}} Shard
 * @typedef {{version: number, shards: Shard[], files: Record<string, [number, number]>, weights:
 *   Record<string, string[]>}} Index file → [shard, offset]; component → its files of weights
 * @typedef {(name: string, received: number, total: number) => void} Progress
 * @typedef {{fetch?: typeof globalThis.fetch, caches?: CacheStorage | null, progress?: Progress}}
 *   Access
 */
import { ModelConfig } from "../config.js";
import { NextOmniError } from "../errors.js";
import { TensorFile } from "../formats/tensor_file.js";

const CACHE = "nextomni-edge-model";
const VERSION = 1;

export class Bundle {
  /** @type {Map<number, Promise<Uint8Array>>} */
  #shards = new Map();

  /** @param {URL} url @param {any} manifest @param {Index} index @param {Access} access */
  constructor(url, manifest, index, access) {
    this.url = url;
    this.manifest = manifest;
    this.index = index;
    this.access = access;
    this.config = new ModelConfig(manifest.config);
  }

  /**
   * Read a folder `model/` that `pack --for web` wrote. Shards are read when they are first needed,
   * and kept in Cache Storage.
   * @param {string | URL} url of the folder
   * @param {Access} access
   */
  static async open(url, access = {}) {
    if (!globalThis.crypto?.subtle) {
      throw new NextOmniError(
        "this page cannot check what it downloads: open it by https, or on localhost",
      );
    }
    const folder = new URL(`${url}`.replace(/\/*$/, "/"), globalThis.location?.href);
    const [manifest, index] = await Promise.all(
      ["manifest.json", "index.json"].map((name) => json(new URL(name, folder), access)),
    );
    if (index.version !== VERSION) {
      throw new NextOmniError(
        `${folder}: packed in form ${index.version}, expected ${VERSION}; pack it again`,
      );
    }
    const names = [manifest.files, index.files].map((files) => Object.keys(files ?? {}).sort());
    if (!names[0].length || names[0].join("\n") !== names[1].join("\n")) {
      throw new NextOmniError(
        `${folder}: manifest.json and index.json are of different bundles; copy the folder again`,
      );
    }
    return new Bundle(folder, manifest, index, access);
  }

  /** A file's bytes. They belong to the bundle: do not change them. @param {string} name */
  async read(name) {
    const [shard, offset] = this.index.files[name] ?? [];
    if (shard === undefined) throw new NextOmniError(`${this.url}: the bundle has no file ${name}`);
    const loading = this.#shards.get(shard) ?? this.#loaded(shard);
    this.#shards.set(shard, loading);
    loading.catch(() => this.#shards.delete(shard)); // what failed is tried again
    const bytes = await loading;
    return bytes.subarray(offset, offset + this.manifest.files[name].size);
  }

  /** @param {string} name */
  async json(name) {
    return JSON.parse(new TextDecoder().decode(await this.read(name)));
  }

  /** @param {string} name */
  async tensors(name) {
    return new TensorFile(await this.read(name));
  }

  /** A shard, out of the cache where it is whole there. @param {number} number */
  async #loaded(number) {
    const { file } = this.index.shards[number];
    const url = new URL(file, this.url);
    const cache = await this.#cache();
    const kept = await cache?.match(url);
    if (kept) {
      const bytes = new Uint8Array(await kept.arrayBuffer());
      if (!(await this.#damaged(number, bytes))) return bytes;
      await cache?.delete(url);
    }
    const bytes = await this.#downloaded(number, url);
    const damaged = await this.#damaged(number, bytes);
    if (damaged)
      throw new NextOmniError(
        `${file}: ${damaged} is not what the manifest says (SHA-256); copy the folder again`,
      );
    await this.#keep(cache, url, bytes);
    return bytes;
  }

  async #cache() {
    const caches = this.access.caches === undefined ? globalThis.caches : this.access.caches;
    return caches?.open(CACHE);
  }

  /**
   * Without room the model runs, and is downloaded again next time.
   * @param {Cache | undefined} cache
   * @param {URL} url
   * @param {Uint8Array<ArrayBuffer>} bytes
   */
  async #keep(cache, url, bytes) {
    try {
      await cache?.put(url, new Response(bytes));
      for (const request of (await cache?.keys()) ?? []) {
        // shards of this folder that the index does not name any more
        const stale =
          request.url.startsWith(this.url.href) &&
          !this.index.shards.some(({ file }) => request.url === new URL(file, this.url).href);
        if (stale) await cache?.delete(request);
      }
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
    }
  }

  /** @param {number} number @param {URL} url @returns {Promise<Uint8Array<ArrayBuffer>>} */
  async #downloaded(number, url) {
    const { size, file } = this.index.shards[number];
    const { body } = await response(url, this.access);
    const bytes = new Uint8Array(size);
    let place = 0;
    for (const reader = body?.getReader(); reader;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (place + value.length > size)
        throw new NextOmniError(
          `${file}: more than the ${size} bytes that the index promises; copy the folder again`,
        );
      bytes.set(value, place);
      place += value.length;
      this.access.progress?.(file, place, size);
    }
    if (place < size)
      throw new NextOmniError(`${file}: ${place} of ${size} bytes arrived; load the page again`);
    return bytes;
  }

  /**
   * The first file of a shard whose digest is not the manifest's.
   * @param {number} number
   * @param {Uint8Array<ArrayBuffer>} bytes
   */
  async #damaged(number, bytes) {
    for (const [name, [shard, offset]] of Object.entries(this.index.files)) {
      if (shard !== number) continue;
      const { size, sha256 } = this.manifest.files[name];
      const digest = await crypto.subtle.digest("SHA-256", bytes.subarray(offset, offset + size));
      const found = Array.from(new Uint8Array(digest), (byte) =>
        byte.toString(16).padStart(2, "0"),
      ).join("");
      if (found !== sha256) return name;
    }
    return null;
  }
}

/** @param {URL} url @param {Access} access */
async function response(url, access) {
  const fetch = access.fetch ?? globalThis.fetch;
  let found;
  try {
    found = await fetch(url);
  } catch (error) {
    throw new NextOmniError(`${url}: no connection (${/** @type {Error} */ (error).message})`);
  }
  if (!found.ok) throw new NextOmniError(`${url}: the server answers ${found.status}`);
  return found;
}

/**
 * A file of JSON.
 * @param {URL} url
 * @param {Access} access
 */
async function json(url, access) {
  try {
    return await (await response(url, access)).json();
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new NextOmniError(`${url}: expected JSON (${error.message}); copy the folder again`);
  }
}

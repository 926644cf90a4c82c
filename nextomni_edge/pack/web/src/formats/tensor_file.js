/** Safetensors files. (formats/tensor_file.py) */
import { NextOmniError } from "../errors.js";

/** @typedef {Float32Array | Float64Array | Int32Array | Uint8Array | BigInt64Array} Values */
/** @typedef {{dtype: string, shape: number[], data_offsets: [number, number]}} Entry */
/** @typedef {{dtype: string, shape: number[], data: Values}} Stored */

/** @type {Record<string, {new (buffer: ArrayBuffer): Values, BYTES_PER_ELEMENT: number}>} */
const TYPES = {
  F32: Float32Array,
  F64: Float64Array,
  I32: Int32Array,
  I64: BigInt64Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
};

export class TensorFile {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const size = bytes.length < 8 ? NaN : Number(view.getBigUint64(0, true));
    if (!(size <= bytes.length - 8))
      throw new NextOmniError("not a safetensors file: its header is cut off");
    /** @type {Record<string, Entry>} */
    this.entries = header(bytes.subarray(8, 8 + size));
    this.data = bytes.subarray(8 + size);
  }

  get names() {
    return Object.keys(this.entries).filter((name) => name !== "__metadata__");
  }

  /** A copy of a tensor. @param {string} name @returns {Stored} */
  tensor(name) {
    const entry = this.entries[name];
    if (!entry) throw new NextOmniError(`there is no tensor ${name}`);
    const [start, stop] = entry.data_offsets;
    const type = TYPES[entry.dtype];
    const length = entry.shape.reduce((left, right) => left * right, 1);
    const whole = type && stop - start === length * type.BYTES_PER_ELEMENT;
    if (!whole || !(start >= 0 && stop <= this.data.length)) {
      throw new NextOmniError(
        `tensor ${name}: ${entry.dtype} from ${start} to ${stop}, which the file does not hold`,
      );
    }
    return {
      dtype: entry.dtype,
      shape: entry.shape,
      data: new type(this.data.slice(start, stop).buffer),
    };
  }

  /** A tensor of float32. @param {string} name */
  floats(name) {
    const { data } = this.tensor(name);
    if (!(data instanceof Float32Array))
      throw new NextOmniError(`tensor ${name}: expected float32`);
    return data;
  }

  /** A tensor of whole numbers, as int32. @param {string} name */
  ids(name) {
    return Int32Array.from(
      /** @type {ArrayLike<bigint | number>} */ (this.tensor(name).data),
      Number,
    );
  }
}

/**
 * @param {Uint8Array} bytes
 * @returns {Record<string, Entry>}
 */
function header(bytes) {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new NextOmniError("not a safetensors file: its header is no JSON");
  }
}

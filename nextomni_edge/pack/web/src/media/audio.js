/**
 * Sounds: one channel at the model's rate, and WAV files. (media/audio.py, tokens/resample.py)
 *
 * @typedef {{channels: Float32Array[], rate: number}} Sound
 */
import { NextOmniError } from "../errors.js";

const CANCELLED = 0.01; // of the channels' power: less is left where they are of opposite phase
const CROSSINGS = 6; // zero crossings of the sinc on either side
const ROLL_OFF = 0.99; // of the lower of both Nyquist frequencies
const HEADER = 44; // bytes of a WAV of one format chunk

/**
 * A sound as (samples,) at `rate`, its beginning where it is too long.
 * @param {Sound} sound
 * @param {number} rate
 * @param {number} most samples
 */
export function waveformOf({ channels, rate: source }, rate, most) {
  if (!channels.length || !channels[0].length) throw new NextOmniError("no sound in it");
  const found = resampled(mono(channels), source, rate).subarray(0, most);
  if (!found.every(Number.isFinite)) throw new NextOmniError("samples that are not finite numbers");
  return found;
}

/**
 * The mean of the channels, or the loudest where they cancel each other.
 * @param {Float32Array[]} channels
 */
function mono(channels) {
  if (channels.length === 1) return channels[0];
  const mean = channels[0].map((_, at) => {
    let total = 0;
    for (const channel of channels) total = Math.fround(total + channel[at]);
    return total / channels.length;
  });
  const power = (/** @type {Float32Array} */ samples) =>
    samples.reduce((found, x) => found + x * x, 0) / samples.length;
  const powers = channels.map(power);
  const whole = powers.reduce((left, right) => left + right, 0) / channels.length;
  return power(mean) < CANCELLED * whole ? channels[powers.indexOf(Math.max(...powers))] : mean;
}

/**
 * Band-limited resampling by a windowed sinc.
 * @param {Float32Array} samples
 * @param {number} source
 * @param {number} target
 */
export function resampled(samples, source, target) {
  if (source === target) return samples;
  const common = divisor(source, target);
  const [from, to] = [source / common, target / common];
  const cutoff = Math.min(from, to) * ROLL_OFF;
  const width = Math.ceil((CROSSINGS * from) / cutoff);
  const kernels = Array.from({ length: to }, (_, phase) => taps(from, to, phase, width, cutoff));
  return Float32Array.from({ length: Math.ceil((samples.length * to) / from) }, (_, at) => {
    const first = Math.floor(at / to) * from - width;
    return kernels[at % to].reduce((total, tap, x) => total + tap * (samples[first + x] ?? 0), 0);
  });
}

/**
 * @param {number} from
 * @param {number} to
 * @param {number} phase
 * @param {number} width
 * @param {number} cutoff
 */
function taps(from, to, phase, width, cutoff) {
  return Float32Array.from({ length: 2 * width + from }, (_, x) => {
    const time = Math.min(
      CROSSINGS,
      Math.max(-CROSSINGS, ((x - width) / from - phase / to) * cutoff),
    );
    const window = Math.cos((time * Math.PI) / CROSSINGS / 2) ** 2;
    const sinc = time === 0 ? 1 : Math.sin(time * Math.PI) / (time * Math.PI);
    return sinc * window * (cutoff / from);
  });
}

/** @param {number} a @param {number} b @returns {number} */
function divisor(a, b) {
  return b ? divisor(b, a % b) : a;
}

/**
 * A WAV of 16 bits and one channel, values beyond [-1, 1] clipped.
 * @param {Float32Array} samples
 * @param {number} rate
 */
export function wavOf(samples, rate) {
  const bytes = new Uint8Array(HEADER + 2 * samples.length);
  const view = new DataView(bytes.buffer);
  const name = (/** @type {number} */ at, /** @type {string} */ word) =>
    bytes.set(new TextEncoder().encode(word), at);
  name(0, "RIFF");
  view.setUint32(4, bytes.length - 8, true);
  name(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  name(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, at) => view.setInt16(HEADER + 2 * at, level(sample), true));
  return bytes;
}

/**
 * As libsndfile writes a float32: 32 bits, of which the upper half is kept.
 * @param {number} sample
 */
function level(sample) {
  return Math.max(-0x8000, Math.min(0x7fff, Math.floor(Math.round(sample * 2 ** 31) / 2 ** 16)));
}

/**
 * A WAV of whole numbers or floats as channels in [-1, 1]; null: no WAV that is read here.
 * @param {Uint8Array} bytes
 * @returns {Sound | null}
 */
export function soundOfWav(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const name = (/** @type {number} */ at) => String.fromCharCode(...bytes.subarray(at, at + 4));
  if (bytes.length < HEADER || name(0) !== "RIFF" || name(8) !== "WAVE") return null;
  let format = null;
  for (let at = 12; at + 8 <= bytes.length;) {
    const size = view.getUint32(at + 4, true);
    if (name(at) === "fmt ") {
      format = {
        kind: view.getUint16(at + 8, true),
        count: view.getUint16(at + 10, true),
        rate: view.getUint32(at + 12, true),
        bits: view.getUint16(at + 22, true),
      };
    } else if (name(at) === "data" && format) {
      return samplesOf(view, at + 8, Math.min(size, bytes.length - at - 8), format);
    }
    at += 8 + size + (size % 2);
  }
  return null;
}

/**
 * @param {DataView} view
 * @param {number} start
 * @param {number} size
 * @param {{kind: number, count: number, rate: number, bits: number}} format
 * @returns {Sound | null}
 */
function samplesOf(view, start, size, { kind, count, rate, bits }) {
  /** @type {Record<string, (at: number) => number>} */
  const readers = {
    "1/8": (at) => (view.getUint8(at) - 128) / 128,
    "1/16": (at) => view.getInt16(at, true) / 2 ** 15,
    "1/24": (at) => ((view.getInt8(at + 2) << 16) | view.getUint16(at, true)) / 2 ** 23,
    "1/32": (at) => view.getInt32(at, true) / 2 ** 31,
    "3/32": (at) => view.getFloat32(at, true),
  };
  const read = readers[`${kind}/${bits}`];
  if (!read || !count || !rate) return null;
  const step = bits / 8;
  const length = Math.floor(size / (step * count));
  const channels = Array.from({ length: count }, (_, channel) =>
    Float32Array.from({ length }, (_, at) => read(start + (at * count + channel) * step)),
  );
  return { channels, rate };
}

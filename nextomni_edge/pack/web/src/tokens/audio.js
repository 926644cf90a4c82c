/** Whisper's log-mel spectrogram: the audio encoder's input. (tokens/audio.py) */

/** @typedef {import("../config.js").AudioConfig} AudioConfig */

/** Slaney's scale: linear below 1 kHz, logarithmic above. @param {number} hertz */
function melOf(hertz) {
  return hertz >= 1000 ? 15 + Math.log(hertz / 1000) * (27 / Math.log(6.4)) : (hertz * 3) / 200;
}

/** @param {number} mel */
function hertzOf(mel) {
  return mel >= 15 ? 1000 * Math.exp((mel - 15) * (Math.log(6.4) / 27)) : (mel * 200) / 3;
}

/**
 * Triangular filters of equal area, (n_fft/2+1,) each.
 * @param {AudioConfig} config
 * @returns {Float32Array[]}
 */
function melFilters({ sample_rate, n_fft, mels }) {
  const top = melOf(sample_rate / 2);
  const edges = Array.from({ length: mels + 2 }, (_, at) => hertzOf((top * at) / (mels + 1)));
  return Array.from({ length: mels }, (_, mel) => {
    const [low, centre, high] = edges.slice(mel, mel + 3);
    return Float32Array.from({ length: n_fft / 2 + 1 }, (_, bin) => {
      const hertz = (bin * sample_rate) / n_fft;
      const rise = Math.min((hertz - low) / (centre - low), (high - hertz) / (high - centre));
      return Math.max(0, rise) * (2 / (high - low));
    });
  });
}

/**
 * Log-mel of a waveform (samples,) at the config's rate, cut into tokens:
 * (length·frames_per_token·mels,).
 *
 * Power spectrum of a periodic Hann window with reflected borders, log10 floored at 1e-10 and at 8
 * under the clip's maximum, then (x + 4) / 4. Silence pads the waveform to a whole token.
 * @param {Float32Array} waveform
 * @param {AudioConfig} config
 */
export function logMel(waveform, config) {
  const { n_fft, hop, mels, frames_per_token } = config;
  const length = Math.ceil(waveform.length / (hop * frames_per_token)) * hop * frames_per_token;
  const [half, frames] = [n_fft / 2, length / hop];
  const at = (/** @type {number} */ place) => waveform[reflected(place - half, length)] ?? 0;
  const [filters, spectrum] = [melFilters(config), new Spectrum(n_fft)];
  const logarithm = new Float64Array(frames * mels);
  for (let frame = 0; frame < frames; frame++) {
    const power = spectrum.power((x) => at(frame * hop + x));
    filters.forEach((filter, mel) => {
      let total = 0;
      for (let bin = 0; bin < power.length; bin++) total += power[bin] * filter[bin];
      logarithm[frame * mels + mel] = Math.log10(Math.max(total, 1e-10));
    });
  }
  const floor = logarithm.reduce((found, each) => Math.max(found, each), -Infinity) - 8;
  return Float32Array.from(logarithm, (each) => (Math.max(each, floor) + 4) / 4);
}

/**
 * A place of a signal of this length that is mirrored at its ends.
 * @param {number} place
 * @param {number} length
 */
function reflected(place, length) {
  if (place < 0) return -place;
  return place < length ? place : 2 * (length - 1) - place;
}

/**
 * The power spectrum of a windowed frame, by the definition: frames are few, and n_fft is no power
 * of 2.
 */
class Spectrum {
  /** @param {number} size */
  constructor(size) {
    const turn = (/** @type {number} */ at) => (2 * Math.PI * at) / size;
    this.window = Float64Array.from({ length: size }, (_, at) => 0.5 - 0.5 * Math.cos(turn(at)));
    this.cosine = Float64Array.from({ length: size }, (_, at) => Math.cos(turn(at)));
    this.sine = Float64Array.from({ length: size }, (_, at) => Math.sin(turn(at)));
  }

  /** (size/2+1,). @param {(place: number) => number} sample */
  power(sample) {
    const size = this.window.length;
    const frame = this.window.map((weight, place) => weight * sample(place));
    const found = new Float64Array(size / 2 + 1);
    for (let bin = 0; bin < found.length; bin++) {
      let [real, imaginary] = [0, 0];
      for (let place = 0, angle = 0; place < size; place++) {
        real += frame[place] * this.cosine[angle];
        imaginary += frame[place] * this.sine[angle];
        angle += bin;
        if (angle >= size) angle -= size;
      }
      found[bin] = real * real + imaginary * imaginary;
    }
    return found;
  }
}

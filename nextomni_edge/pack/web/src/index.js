/**
 * Any-to-any discrete-flow models in a browser: load a folder that `nextomni-edge pack --for web`
 * wrote, and generate.
 */
export { Bundle } from "./bundle/bundle.js";
export { NextOmniError } from "./errors.js";
export { Model } from "./api.js";
export { GoldenTrace } from "./verify/golden.js";
export { soundOfWav, wavOf } from "./media/audio.js";

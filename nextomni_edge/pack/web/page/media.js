/** Files of the user as the model takes them, and answers as a page shows them. */
import { NextOmniError, soundOfWav, wavOf } from "../src/index.js";

/** @typedef {import("../src/api.js").Answer} Answer */
/** @typedef {import("../src/api.js").Given} Given */
/** @typedef {import("../src/media/image.js").Picture} Picture */

const RATE = 48000; // at which a browser decodes a sound that is no WAV
const FRAMES = 8; // of a film that are looked at
const FRAME_MS = 125;
const SEEK_MS = 10_000;

/** @param {File} file @returns {Promise<Given>} */
export async function givenOf(file) {
  const [kind] = file.type.split("/");
  try {
    if (kind === "image") return { image: await pictureOfBlob(file) };
    if (kind === "audio") return { audio: await soundOf(file) };
    if (kind === "video") return { video: await framesOf(file) };
  } catch (error) {
    if (error instanceof NextOmniError) throw error;
    throw new NextOmniError(
      `${file.name}: this browser cannot read it (${/** @type {Error} */ (error).message})`,
    );
  }
  throw new NextOmniError(`${file.name}: expected a picture, a sound or a video`);
}

/** @param {Blob} blob */
async function pictureOfBlob(blob) {
  const bitmap = await createImageBitmap(blob, {
    premultiplyAlpha: "none",
    colorSpaceConversion: "none",
  });
  return drawn(bitmap, bitmap.width, bitmap.height);
}

/**
 * @param {CanvasImageSource} source
 * @param {number} width
 * @param {number} height
 * @returns {Picture}
 */
function drawn(source, width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new NextOmniError("this browser has no canvas");
  context.drawImage(source, 0, 0);
  return { data: context.getImageData(0, 0, width, height).data, width, height };
}

/** @param {Blob} blob @returns {Promise<import("../src/media/audio.js").Sound>} */
async function soundOf(blob) {
  const bytes = await blob.arrayBuffer();
  const wav = soundOfWav(new Uint8Array(bytes));
  if (wav) return wav;
  const decoded = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(bytes);
  const channels = Array.from({ length: decoded.numberOfChannels }, (_, at) =>
    decoded.getChannelData(at),
  );
  return { channels, rate: decoded.sampleRate };
}

/** Frames from the middle of equal shares of a film. @param {Blob} blob */
async function framesOf(blob) {
  const video = document.createElement("video");
  video.muted = true;
  video.src = URL.createObjectURL(blob);
  await event(video, "loadeddata");
  const frames = [];
  for (let at = 0; at < FRAMES; at++) {
    const seeked = event(video, "seeked");
    video.currentTime = ((2 * at + 1) * video.duration) / (2 * FRAMES);
    await seeked;
    frames.push(drawn(video, video.videoWidth, video.videoHeight));
  }
  URL.revokeObjectURL(video.src);
  return frames;
}

/** @param {HTMLVideoElement} video @param {string} name */
function event(video, name) {
  return new Promise((done, failed) => {
    video.addEventListener(name, done, { once: true });
    video.addEventListener("error", () => failed(new Error("no video that it decodes")), {
      once: true,
    });
    setTimeout(() => failed(new Error("it takes too long")), SEEK_MS);
  });
}

/**
 * Show an answer in place of what an element holds.
 * @param {HTMLElement} element
 * @param {Answer} answer
 */
export function show(element, answer) {
  if (answer.kind === "text") {
    const words = document.createElement("p");
    words.className = "words";
    words.textContent = answer.text || "(no words)";
    element.replaceChildren(words);
  } else if (answer.kind === "audio") {
    const player = document.createElement("audio");
    player.controls = true;
    player.src = URL.createObjectURL(
      new Blob([wavOf(answer.samples, answer.rate)], { type: "audio/wav" }),
    );
    element.replaceChildren(player, saved(player.src, "answer.wav"));
  } else showPictures(element, answer.kind === "image" ? [answer.picture] : answer.frames);
}

/** @param {HTMLElement} element @param {Picture[]} pictures */
function showPictures(element, pictures) {
  const canvas = element.querySelector("canvas") ?? document.createElement("canvas");
  canvas.className = "picture";
  canvas.setAttribute("role", "img");
  canvas.setAttribute(
    "aria-label",
    pictures.length > 1 ? `video of ${pictures.length} frames` : "picture",
  );
  const [{ width, height }] = pictures;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const images = pictures.map(
    ({ data }) => new ImageData(new Uint8ClampedArray(data), width, height),
  );
  paint(canvas, images);
  if (!canvas.isConnected) element.replaceChildren(canvas);
}

/**
 * Draw a picture, or frames for as long as they are the canvas's newest.
 * @param {HTMLCanvasElement} canvas
 * @param {ImageData[]} images
 */
function paint(canvas, images) {
  const newest = String(Number(canvas.dataset.painted ?? 0) + 1);
  canvas.dataset.painted = newest;
  let at = 0;
  const next = () => {
    if (canvas.dataset.painted !== newest) return;
    canvas.getContext("2d")?.putImageData(images[at++ % images.length], 0, 0);
    if (images.length > 1) setTimeout(next, FRAME_MS);
  };
  next();
}

/** A link that saves a finished picture. @param {HTMLElement} element */
export async function offer(element) {
  const canvas = element.querySelector("canvas");
  if (!canvas) return;
  const blob = await new Promise((done) => canvas.toBlob(done));
  element.append(saved(URL.createObjectURL(/** @type {Blob} */ (blob)), "answer.png"));
}

/** @param {string} url @param {string} name */
function saved(url, name) {
  const link = document.createElement("a");
  Object.assign(link, { href: url, download: name, textContent: `Save ${name}` });
  const line = document.createElement("p");
  line.append(link);
  return line;
}

/** A recording of the microphone until `stop` is called. */
export async function recording() {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const recorder = new MediaRecorder(stream);
  /** @type {Blob[]} */
  const parts = [];
  recorder.ondataavailable = ({ data }) => parts.push(data);
  recorder.start();
  return {
    /** @returns {Promise<File>} */
    stop: () =>
      new Promise((done) => {
        recorder.onstop = () => {
          stream.getTracks().forEach((track) => track.stop());
          done(
            new File(parts, "recording", { type: recorder.mimeType.replace(/^video/, "audio") }),
          );
        };
        recorder.stop();
      }),
  };
}

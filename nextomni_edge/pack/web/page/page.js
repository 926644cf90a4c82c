/**
 * The playground: a prompt, media, and the answer as it forms. The model itself is in worker.js.
 */
import { givenOf, offer, recording, show } from "./media.js";

/** @typedef {import("./worker.js").Reply} Reply */
/** @typedef {import("../src/api.js").Given} Given */

/** @template {HTMLElement} T @param {string} id @param {new () => T} type @returns {T} */
function element(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`the page has no ${id}`);
  return found;
}

const [words, form, file] = [
  element("words", HTMLTextAreaElement),
  element("ask", HTMLFormElement),
  element("file", HTMLInputElement),
];
const [send, stop, check, record] = ["send", "stop", "check", "record"].map((id) =>
  element(id, HTMLButtonElement),
);
const [state, given, kinds, drop, answers] = ["state", "given", "kinds", "drop", "answers"].map(
  (id) => element(id, HTMLElement),
);
const watch = element("watch", HTMLInputElement);
const bar = element("progress", HTMLProgressElement);
const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
/** @type {Record<string, string>} */
const NAMES = { text: "text", image: "a picture", audio: "sound", video: "video" };
const SETTINGS = ["steps", "temperature", "guidance", "count"];

/** @type {{name: string, given: Given}[]} */
let media = [];
/** @type {HTMLElement | null} the answer that forms */
let forming = null;
let loaded = false;
let asked = 0;
let began = 0;

/** @param {string} line @param {boolean} error */
function say(line, error = false) {
  state.textContent = line;
  state.classList.toggle("error", error);
}

/** @param {number} bytes */
function megabytes(bytes) {
  return (bytes / 1e6).toFixed(0);
}

/** @param {boolean} busy */
function work(busy) {
  send.disabled = check.disabled = busy || !loaded;
  stop.hidden = bar.hidden = !busy;
}

/** Ends what runs, with its last line. @param {string} line @param {boolean} error */
function end(line, error = false) {
  work(false);
  forming?.classList.remove("forming");
  forming = null;
  say(line, error);
}

/** @param {MessageEvent<Reply>} event */
worker.onmessage = ({ data: reply }) => {
  if (reply.is === "download") {
    bar.value = reply.received / reply.total;
    say(`downloading ${megabytes(reply.received)} of ${megabytes(reply.total)} MB`);
  } else if (reply.is === "loaded") {
    offerKinds(reply.kinds);
    loaded = true;
    end("ready");
    state.title = reply.name;
  } else if (reply.id !== asked) return;
  else if (reply.is === "step") stepped(reply);
  else if (reply.is === "checking") say(`checking ${reply.name}`);
  else if (reply.is === "report") reported(reply.report);
  else if (reply.is === "stopped") end("stopped");
  else if (reply.is === "error") {
    if (!forming?.firstChild?.nextSibling?.hasChildNodes()) forming?.remove();
    end(reply.sentence, true);
  }
};
worker.onerror = (event) =>
  end(`the page failed: ${event.message || "a script could not be loaded"}`, true);

/** @param {Reply & {is: "step"}} reply */
function stepped({ step, steps, t, answer }) {
  bar.value = t;
  const place = forming?.querySelector(".answer");
  if (answer && place instanceof HTMLElement) show(place, answer);
  if (t < 1) return say(`step ${step + 1} of ${steps}`);
  if (place instanceof HTMLElement) offer(place);
  end(`ready: ${((performance.now() - began) / 1000).toFixed(2)} s`);
}

/** @param {import("../src/verify/golden.js").Report} report */
function reported({ components, draws, ties, failures }) {
  const all = Object.values(draws).reduce((left, right) => left + right, 0);
  if (failures.length)
    return end(`this browser does not compute what the export did: ${failures[0]}`, true);
  const [count, tasks] = [components, draws].map((each) => Object.keys(each).length);
  const tied = ties.length ? `, ${ties.length} at a tie` : "";
  end(`checked: ${count} components, ${all} draws of ${tasks} tasks are the same${tied}`);
}

/** @param {string[]} names */
function offerKinds(names) {
  kinds.replaceChildren(
    ...names.map((name) => {
      const [label, input] = [document.createElement("label"), document.createElement("input")];
      Object.assign(input, {
        type: "radio",
        name: "kind",
        value: name,
        checked: name === (names.includes("image") ? "image" : "text"),
      });
      label.append(input, ` ${NAMES[name] ?? name}`);
      return label;
    }),
  );
}

function ask() {
  const to = /** @type {import("../src/config.js").Kind} */ (new FormData(form).get("kind"));
  const numbers = SETTINGS.map((id) => [id, element(id, HTMLInputElement).value]).filter(
    ([, value]) => value !== "",
  );
  const settings = {
    to,
    seed: element("seed", HTMLInputElement).value || "0",
    ...Object.fromEntries(numbers.map(([id, value]) => [id, Number(value)])),
  };
  const said = [
    {
      role: "user",
      given: [...media.map((each) => each.given), words.value].filter((each) => each !== ""),
    },
  ];
  if (!said[0].given.length) return say("write a prompt or give a file", true);
  forming = document.createElement("article");
  forming.className = `forming ${to}`;
  const [caption, place] = [document.createElement("p"), document.createElement("div")];
  [caption.className, place.className] = ["hint", "answer"];
  caption.textContent = [...media.map((each) => each.name), words.value].join(" + ");
  forming.append(caption, place);
  answers.prepend(forming);
  begin({ do: "generate", said, settings, watch: watch.checked });
}

/** @param {object} request */
function begin(request) {
  asked += 1;
  began = performance.now();
  bar.value = 0;
  work(true);
  say("begins");
  worker.postMessage({ id: asked, ...request });
}

/** @param {File[]} files */
async function take(files) {
  for (const each of files) {
    try {
      media.push({ name: each.name, given: await givenOf(each) });
      say(`${each.name} is given`);
    } catch (error) {
      say(/** @type {Error} */ (error).message, true);
    }
  }
  listMedia();
}

function listMedia() {
  given.replaceChildren(
    ...media.map((each) => {
      const [item, remove] = [document.createElement("li"), document.createElement("button")];
      Object.assign(remove, {
        type: "button",
        textContent: "Remove",
        ariaLabel: `Remove ${each.name}`,
      });
      remove.onclick = () => {
        media = media.filter((other) => other !== each);
        listMedia();
      };
      item.append(`${each.name} `, remove);
      return item;
    }),
  );
}

form.onsubmit = (event) => {
  event.preventDefault();
  if (!send.disabled) ask();
};
words.onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
};
document.onkeydown = (event) => {
  if (event.key === "Escape" && !stop.hidden) stop.click();
};
stop.onclick = () => worker.postMessage({ id: asked, do: "stop" });
check.onclick = () => begin({ do: "verify" });
file.onchange = () => take([...(file.files ?? [])]).then(() => (file.value = ""));
drop.ondragover = (event) => {
  event.preventDefault();
  drop.classList.add("over");
};
drop.ondragleave = () => drop.classList.remove("over");
drop.ondrop = (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  take([...(event.dataTransfer?.files ?? [])]);
};

/** @type {{stop: () => Promise<File>} | null} */
let microphone = null;
record.onclick = async () => {
  try {
    if (microphone) await take([await microphone.stop()]);
    microphone = microphone ? null : await recording();
    record.textContent = microphone ? "Stop recording" : "Record";
  } catch (error) {
    say(`no microphone: ${/** @type {Error} */ (error).message}`, true);
  }
};

worker.postMessage({ id: 0, do: "load" });
navigator.serviceWorker
  ?.register("service_worker.js")
  .catch((error) => console.warn(`no use without a network: ${error}`));

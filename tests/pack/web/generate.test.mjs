import assert from "node:assert/strict";
import { test } from "node:test";
import { integerModel } from "./integers.mjs";
import { flat, source, vectors, written } from "./vectors.mjs";

const { ModelConfig } = await source("config.js");
const { conversation, respond } = await source("tokens/chat.js");
const { optionsOf } = await source("generate/options.js");
const { steps } = await source("generate/loop.js");
const { Segment, Sequence } = await source("tokens/sequence.js");

const { runs } = vectors("loop.json");

function withAttention(attention = "full") {
  const data = vectors("config.json");
  return integerModel({ ...data, backbone: { ...data.backbone, attention } });
}

async function collected(run) {
  const records = [];
  for (;;) {
    const { done, value } = await run.next();
    if (done) return { records, finished: value };
    records.push(value);
  }
}

for (const run of runs) {
  test(`the run "${run.name}" has the tokens of Python at every step`, async () => {
    const model = withAttention(run.attention);
    const { config, tokenizer } = model;
    const prompt = conversation(tokenizer, [
      { role: "user", parts: [{ kind: "text", text: "draw a red rocket" }] },
    ]);
    assert.deepEqual(
      prompt.flatMap((segment) => [...segment.tokens]),
      run.prompt,
    );
    const { optionSteps, stepper, temperature, topK: top_k, topP: top_p, guidance, seed } = run;
    const options = optionsOf(config, run.kind, {
      steps: optionSteps,
      stepper,
      temperature,
      top_k,
      top_p,
      guidance,
      seed,
    });
    const sequence = respond(prompt, run.kind, config, tokenizer, run.count ?? 1);
    const { records, finished } = await collected(steps(model, sequence, options));
    assert.deepEqual(
      records.map(({ step }) => step),
      run.steps.map(({ step }) => step),
    );
    records.forEach(({ x_t, x_1 }, at) => {
      assert.deepEqual([...x_t], flat(run.steps[at].xt), `x_t at step ${at}`);
      assert.deepEqual(
        x_1 && [...x_1],
        run.steps[at].x1 && flat(run.steps[at].x1),
        `x_1 at step ${at}`,
      );
    });
    assert.deepEqual(
      finished.generated.flatMap((index) => [...finished.segments[index].tokens]),
      flat(run.tokens),
    );
  });
}

test("texts become Python's ids, and ids Python's texts", () => {
  const { tokenizer } = withAttention();
  for (const { text, ids, answer, decoded } of vectors("texts.json")) {
    assert.deepEqual(tokenizer.encode(text), ids);
    assert.equal(tokenizer.decode(answer), decoded);
  }
});

test("options out of range are refused in the words of Python", () => {
  const config = new ModelConfig(vectors("config.json"));
  for (const { refused, ...texts } of vectors("options.json")) {
    const numbers = Object.entries(texts).map(([name, text]) => [
      name,
      Number(text.replace("inf", "Infinity")),
    ]);
    const check = () => optionsOf(config, "image", Object.fromEntries(numbers));
    if (refused) assert.throws(check, { name: "NextOmniError", message: written(refused) });
    else assert.ok(check().steps > 0);
  }
});

test("an answer takes what the prompt leaves of a canvas", () => {
  const { config, tokenizer } = withAttention();
  config.text.canvas = 40;
  const prompt = conversation(tokenizer, [
    { role: "user", parts: [{ kind: "text", text: "what is this?" }] },
  ]);
  assert.equal(respond(prompt, "text", config, tokenizer, 1).length, 40);
  config.text.canvas = new Sequence(prompt).length;
  assert.throws(() => respond(prompt, "text", config, tokenizer, 1), {
    message: /^prompt of \d+ positions: the model's canvas has \d+$/,
  });
});

test("a generator that is closed computes nothing more", async () => {
  const model = withAttention();
  let calls = 0;
  const { run } = model;
  model.run = (...asked) => (calls++, run(...asked));
  const sequence = respond(
    [new Segment("text", [1, 2])],
    "image",
    model.config,
    model.tokenizer,
    1,
  );
  const all = steps(model, sequence, optionsOf(model.config, "image", { steps: 8 }));
  await all.next();
  await all.next();
  await all.return(undefined);
  const before = calls;
  assert.deepEqual(await all.next(), { done: true, value: undefined });
  assert.equal(calls, before);
});

test("what cannot be meant is told in a sentence", async () => {
  const model = withAttention();
  const options = optionsOf(model.config, "text", { steps: 2 });
  const ran = async (segments) => collected(steps(model, new Sequence(segments), options));
  await assert.rejects(ran([new Segment("text", [1, 2])]), {
    message: /^a run generates one modality/,
  });
  await assert.rejects(ran([new Segment("text", [1, 9999], 1, false)]), {
    message: /^segment 0: expected 1 numbers from 0 to/,
  });
  model.run = async () => ({ embeddings: { data: Float32Array.of(NaN), dims: [1] } });
  await assert.rejects(ran([new Segment("text", [1], 1, false)]), {
    name: "NonFiniteError",
    message: /embed_text: embeddings holds/,
  });
});

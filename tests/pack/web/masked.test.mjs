import assert from "node:assert/strict";
import { test } from "node:test";
import { close, flat, snake, source, vectors } from "./vectors.mjs";

const { chosen, noised, propose, scoreTemperature, stepCount, turns } =
  await source("flow/commit.js");
const { COMMIT, ModelConfig } = await source("config.js");
const { TextTokenizer } = await source("tokens/text.js");
const { conversation, respond } = await source("tokens/chat.js");
const { EdgeModel } = await source("generate/model.js");

const PLAIN = { count: "even", score: "probability", ...COMMIT };

test("the commit step is Python's", () => {
  for (const vector of vectors("commit.json").proposals) {
    const rule = { ...PLAIN, ...snake(vector.rule) };
    const found = vector.logits.map((logits, row) =>
      propose(Float32Array.from(logits), rule, vector.temperature, () =>
        Float64Array.from(vector.symbols[row]),
      ),
    );
    assert.deepEqual(
      found.map(({ x_1 }) => x_1),
      vector.x1,
    );
    found.forEach(({ score }, row) =>
      assert.ok(close(score, vector.score[row]), JSON.stringify(vector.rule)),
    );
    const heat = scoreTemperature(rule, vector.temperature, 1, 5);
    assert.ok(close(heat, vector.heat));
    const ranked = Float64Array.from(found, ({ score }, row) =>
      noised(score, rule, heat, vector.uniform[row]),
    );
    ranked.forEach((score, row) => assert.ok(close(score, vector.ranked[row])));
    assert.deepEqual(
      chosen(ranked, vector.eligible, 2, rule.threshold).sort((a, b) => a - b),
      vector.written,
    );
  }
});

test("the steps of a run write as many rows as in Python", () => {
  for (const { rule: own, rows, steps, turns: expected, written } of vectors("commit.json")
    .counts) {
    const rule = { ...PLAIN, ...snake(own) };
    const found = turns(rule, rows, steps);
    assert.deepEqual(
      found.map((turn) => [turn.start, turn.stop, turn.step, turn.steps]),
      expected,
    );
    let left = rows;
    found.forEach((turn, at) => {
      const count = stepCount(rule, rows, left, turn.step, turn.steps);
      assert.equal(
        count,
        written[at],
        `${JSON.stringify(own)}: step ${turn.step} of ${turn.steps}`,
      );
      left -= count;
    });
  }
});

test("numbers that do not divide are refused in the words of Python", () => {
  const rule = { ...PLAIN, block: 32 };
  assert.throws(() => turns(rule, 100, 4), {
    message:
      "an answer of 100 tokens is no whole number of blocks of 32: ask for 96 or 128 tokens, or" +
      " another block",
  });
  assert.throws(() => turns(rule, 128, 6), {
    message: "6 steps are not shared evenly by 4 blocks: ask for 4 or 8 steps, or another block",
  });
});

const given = ({ segments }) =>
  segments.map(({ modality, frozen, tokens, codes }) => ({
    modality,
    frozen,
    tokens: Array.from({ length: tokens.length / codes }, (_, row) => [
      ...tokens.subarray(row * codes, (row + 1) * codes),
    ]),
  }));

test("prompts of masked models, and what guidance compares them with, are those of Python", () => {
  const { said, families } = vectors("prompts.json");
  assert.equal(families.length, 4);
  for (const family of families) {
    const config = new ModelConfig(family.config);
    const tokenizer = new TextTokenizer(JSON.parse(family.tokenizer), config.text);
    const model = new EdgeModel(
      config,
      tokenizer,
      async () => ({}),
      () => new Float32Array(0),
    );
    for (const { answer, image, sequence: expected, compared } of family.cases) {
      const images = image.length
        ? [{ kind: "image", codes: Int32Array.from(image), width: 1 }]
        : [];
      const parts = [...images, { kind: "text", text: ` ${said} ` }];
      const prompt = conversation(tokenizer, [{ role: "user", parts }], answer);
      const sequence = respond(prompt, answer, config, tokenizer, 1);
      assert.deepEqual(given(sequence), expected, family.family);
      assert.deepEqual(model.without(sequence, answer).map(given), compared, family.family);
    }
  }
});

test("a mask in a text is refused", () => {
  const [{ config, tokenizer }] = vectors("prompts.json").families;
  const text = new TextTokenizer(JSON.parse(tokenizer), new ModelConfig(config).text);
  assert.throws(() => text.encode("a <|mdm_mask|> b"), {
    message: "the text holds <|mdm_mask|>, the mask that the model fills in; leave it out",
  });
  assert.ok(flat([text.encode("a b")]).length > 0);
});

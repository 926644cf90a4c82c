/**
 * Runs of the model of whole numbers, for test_web.py: one JSON object a line of standard input,
 * its tokens a line of output.
 */
import { createInterface } from "node:readline";
import { integerModel } from "./integers.mjs";
import { source } from "./vectors.mjs";

const { conversation, respond } = await source("tokens/chat.js");
const { optionsOf } = await source("generate/options.js");
const { steps } = await source("generate/loop.js");

for await (const line of createInterface({ input: process.stdin })) {
  const { config: data, kind, count, text, settings } = JSON.parse(line);
  const model = integerModel(data);
  const { config, tokenizer } = model;
  const prompt = conversation(tokenizer, [{ role: "user", parts: [{ kind: "text", text }] }], kind);
  const run = steps(
    model,
    respond(prompt, kind, config, tokenizer, count),
    optionsOf(config, kind, settings),
  );
  const records = [];
  let found = await run.next();
  for (; !found.done; found = await run.next()) records.push([...found.value.x_t]);
  const tokens = found.value.generated.flatMap((index) => [...found.value.segments[index].tokens]);
  process.stdout.write(`${JSON.stringify({ records, tokens })}\n`);
}

// The official `openai` client for JavaScript against a running server, run by hand:
//   npm install openai && node openai_client.mjs http://127.0.0.1:8000/v1 bundle
import OpenAI, {toFile} from "openai";
import assert from "node:assert";

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({baseURL, apiKey: "none", maxRetries: 0, timeout: 120000});
const messages = [{role: "user", content: "a cat"}];

const listed = await client.models.list();
assert(listed.data.some((each) => each.id === model));
const reply = await client.chat.completions.create({model, messages, seed: 7});
const stream = await client.chat.completions.create({model, messages, seed: 7, stream: true});
let text = "";
for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
assert.strictEqual(text, reply.choices[0].message.content);
const drawn = await client.images.generate({model, prompt: "a cat", steps: 2});
const picture = Buffer.from(drawn.data[0].b64_json, "base64");
const edited = await client.images.edit({model, image: await toFile(picture, "a.png"), prompt: "bluer"});
assert(edited.data[0].b64_json.length > 50);
const said = await client.audio.speech.create({model, voice: "alloy", input: "a cat", response_format: "wav"});
const sound = Buffer.from(await said.arrayBuffer());
const heard = await client.audio.transcriptions.create({model, file: await toFile(sound, "a.wav")});
assert.strictEqual(typeof heard.text, "string");
const rows = await client.embeddings.create({model, input: ["a cat", "a dog"]});
assert.strictEqual(rows.data.length, 2);
await assert.rejects(client.chat.completions.create({model: "none", messages}), OpenAI.NotFoundError);
console.log("every endpoint answered");

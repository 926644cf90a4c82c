/** A model of small whole numbers, which float32 holds exactly. (tests/pack/integers.py) */
import { flat, source, vectors } from "./vectors.mjs";

const { ModelConfig } = await source("config.js");
const { TextTokenizer } = await source("tokens/text.js");
const { EdgeModel } = await source("generate/model.js");

const MODULUS = 97;
const { tables } = vectors("loop.json");

/** The model of a config as JSON holds it. */
export function integerModel(data) {
  const config = new ModelConfig(data);
  const tokenizer = new TextTokenizer(vectors("tokenizer.json"), config.text);
  return new EdgeModel(config, tokenizer, integerComponents(config), (modality) =>
    Float32Array.from(flat(tables[modality])),
  );
}

/** What EdgeModel calls for its components. */
function integerComponents(config) {
  const width = config.backbone.hidden_size;
  return async (component, inputs) => {
    if (component.startsWith("embed_"))
      return { embeddings: embed(inputs.tokens ?? inputs.codes, width) };
    if (component === "backbone") return backbone(inputs, width);
    return {
      logits: head(
        inputs.hidden,
        inputs.codes,
        config.symbols(component.replace("_head", "")),
        width,
      ),
    };
  };
}

function embed({ data, dims }, width) {
  const codebooks = dims[2] ?? 1;
  const rows = data.length / codebooks;
  const out = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    for (let h = 0; h < width; h++) {
      let sum = 0;
      for (let k = 0; k < codebooks; k++) sum += data[row * codebooks + k] * (31 + 2 * k) + h * 17;
      out[row * width + h] = sum % MODULUS;
    }
  }
  return { data: out, dims: [dims[0], dims[1], width] };
}

/**
 * Every row sees the sum of all rows, and of what is kept; keys and values are the hidden states,
 * split by layer and head.
 */
function backbone({ embeddings, positions, past_keys: past }, width) {
  const [batch, rows] = embeddings.dims;
  const [layers, , heads, kept, size] = past.dims;
  const out = new Float32Array(batch * rows * width);
  const keys = new Float32Array(out.length);
  const key = (layer, place, head, row, count) =>
    (((layer * batch + place) * heads + head) * count + row) * size;
  for (let place = 0; place < batch; place++) {
    for (let h = 0; h < width; h++) {
      const [layer, head, d] = [
        Math.floor(h / (heads * size)),
        Math.floor(h / size) % heads,
        h % size,
      ];
      let sum = 0;
      for (let row = 0; row < kept; row++) sum += past.data[key(layer, place, head, row, kept) + d];
      for (let row = 0; row < rows; row++) sum += embeddings.data[(place * rows + row) * width + h];
      for (let row = 0; row < rows; row++) {
        const at = (place * rows + row) * width + h;
        out[at] =
          (3 * embeddings.data[at] + sum + 7 * positions.data[place * rows + row] + h) % MODULUS;
        keys[key(layer, place, head, row, rows) + d] = out[at];
      }
    }
  }
  const cache = { data: keys, dims: [layers, batch, heads, rows, size] };
  return { hidden: { data: out, dims: embeddings.dims }, keys: cache, values: cache };
}

function head(hidden, codes, [codebooks, entries], width) {
  const rows = hidden.data.length / width;
  const out = new Float32Array(rows * codebooks * entries);
  for (let row = 0, at = 0; row < rows; row++) {
    let state = 0;
    for (let h = 0; h < width; h++) state += hidden.data[row * width + h] * (h + 1);
    for (let k = 0; k < codebooks; k++) {
      const earlier = k && codes ? codes.data[row * codebooks + k - 1] : 0;
      for (let c = 0; c < entries; c++, at++)
        out[at] = ((state + 13 * c * c + 29 * k + 11 * earlier * c) % MODULUS) / 16;
    }
  }
  return { data: out, dims: [hidden.dims[0], hidden.dims[1], codebooks, entries] };
}

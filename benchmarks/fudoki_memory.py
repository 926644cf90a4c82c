"""`import` and `export` of a checkpoint in FUDOKI's released layout and size (2.1 B parameters),
each in a process of its own.

    python benchmarks/fudoki_memory.py --folder /somewhere/with/15/GB -o
    benchmarks/fudoki_memory.json

The released weights are not needed: the same names and shapes are filled with random bfloat16
numbers, tensor by tensor. The metric tables are random and other than the embeddings, so that both
are converted. The export runs with `--verify none`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import struct
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.models.fudoki_oracle import FOLDER, write_tokenizer

CHUNK = 2**22  # values
WIDTH, LAYERS, MLP, WORDS = 2048, 24, 5632, 102_400
VISION, BLOCKS, CODES = 1024, 24, 16_384


def affine(name: str, size_out: int, size_in: int) -> dict[str, list[int]]:
    return {f"{name}.weight": [size_out, size_in], f"{name}.bias": [size_out]}


def shapes() -> dict[str, list[int]]:
    """Every tensor of model.safetensors."""
    found = {
        "language_model.model.embed_tokens.weight": [WORDS, WIDTH],
        "language_model.lm_head.weight": [WORDS, WIDTH],
        "language_model.model.norm.weight": [WIDTH], "gen_embed.weight": [CODES, 8],
        **affine("aligner.layers.0", WIDTH, VISION), **affine("aligner.layers.2", WIDTH, WIDTH),
        **affine("gen_aligner.layers.0", WIDTH, 8), **affine("gen_aligner.layers.2", WIDTH, WIDTH),
        **affine("gen_head.output_mlp_projector", WIDTH, WIDTH),
        **affine("gen_head.vision_head", CODES, WIDTH),
    }  # fmt: skip
    for index in range(LAYERS):
        layer = f"language_model.model.layers.{index}"
        found |= {
            f"{layer}.{name}_layernorm.weight": [WIDTH] for name in ("input", "post_attention")
        }
        found |= {f"{layer}.self_attn.{name}_proj.weight": [WIDTH, WIDTH] for name in "qkvo"}
        found |= {f"{layer}.mlp.{name}_proj.weight": [MLP, WIDTH] for name in ("gate", "up")}
        found[f"{layer}.mlp.down_proj.weight"] = [WIDTH, MLP]
    tower = "vision_model.vision_tower"
    found |= {
        f"{tower}.patch_embed.proj.weight": [VISION, 3, 16, 16],
        f"{tower}.patch_embed.proj.bias": [VISION],
    }
    found |= {
        f"{tower}.pos_embed": [1, 576, VISION],
        f"{tower}.norm.weight": [VISION],
        f"{tower}.norm.bias": [VISION],
    }
    for index in range(BLOCKS):
        block = f"{tower}.blocks.{index}"
        found |= affine(f"{block}.attn.qkv", 3 * VISION, VISION) | affine(
            f"{block}.attn.proj", VISION, VISION
        )
        found |= affine(f"{block}.mlp.fc1", 4 * VISION, VISION) | affine(
            f"{block}.mlp.fc2", VISION, 4 * VISION
        )
        found |= {
            f"{block}.{norm}.{part}": [VISION]
            for norm in ("norm1", "norm2")
            for part in ("weight", "bias")
        }
    decoder = json.loads((FOLDER / "vq_real.json").read_text())["keys"]
    return found | {f"gen_vision_model.{name}": shape for name, shape in decoder.items()}


def make_source(folder: Path) -> None:
    """Write the checkpoint."""
    folder.mkdir(parents=True)
    header, at = {}, 0
    for name, shape in shapes().items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    generator = np.random.default_rng(0)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for shape in shapes().values():
            for start in range(0, math.prod(shape), CHUNK):
                values = generator.standard_normal(
                    min(CHUNK, math.prod(shape) - start), np.float32
                ) * np.float32(0.02)
                file.write((values.view(np.uint32) >> 16).astype("<u2").tobytes())
    config = json.loads((FOLDER / "config.json").read_text())
    config["vision_config"]["params"] = {
        "image_size": 384,
        "model_name": "siglip_large_patch16_384",
    }
    config["gen_vision_config"]["params"]["image_token_size"] = CODES
    config["gen_head_config"]["params"] = {
        "image_token_embed": WIDTH,
        "image_token_size": CODES,
        "n_embed": WIDTH,
    }
    config["language_config"] |= {
        "hidden_size": WIDTH, "intermediate_size": MLP, "num_attention_heads": 16,
        "num_key_value_heads": 16, "num_hidden_layers": LAYERS, "vocab_size": WORDS,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder / "tokenizer.json")
    torch.save(torch.nn.Embedding(WORDS, WIDTH), folder / "text_embedding.pt")
    torch.save(torch.nn.Embedding(CODES, 8), folder / "image_embedding.pt")


def measured(*arguments: object) -> dict[str, object]:
    """One command in a process of its own: its answer, its time, and the peak of its memory (pages
    of mapped files count too)."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "nextomni_edge", *map(str, arguments), "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    out = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    answer = json.loads(out)
    if status:
        raise SystemExit(f"{arguments}: {answer}")
    kept = {
        key: answer[key]
        for key in ("tensors", "parameters", "referenced", "copied", "total_weight_bytes")
        if key in answer
    }
    times = {"wall_s": time.monotonic() - started, "cpu_s": usage.ru_utime + usage.ru_stime}
    return kept | times | {"peak_rss_kib": usage.ru_maxrss}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/fudoki_memory"))
    parser.add_argument("--precision", default="float16")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    source, model, bundle = (given.folder / name for name in ("source", "model", "bundle"))
    if not source.exists():
        make_source(source)
    result: dict[str, object] = {"precision": given.precision}
    result["import"] = measured("import", source, "-o", model, "--overwrite")
    precision = ("--precision", given.precision, "--verify", "none", "--overwrite")
    result["export"] = measured("export", model, "-o", bundle, *precision)
    result["versions"] = {
        name: metadata.version(name) for name in ("torch", "onnx", "onnxscript", "onnx-ir", "numpy")
    }
    result |= {"python": platform.python_version(), "machine": platform.machine()}
    text = json.dumps(result, indent=1)
    print(text)
    given.output.write_text(text + "\n")


if __name__ == "__main__":
    main()

"""Peak memory of an export: a config of about 1.5 B parameters with generated weights, exported in
a process of its own.

    python benchmarks/export_memory.py --folder /somewhere/with/20/GB -o
    benchmarks/export_memory.json

The weights are written tensor by tensor (16 bits each, as published checkpoints are), so that
making them needs no memory either. The export runs with `verify="none"`: verification holds the
whole model in PyTorch and in the runtime, and is not measured here.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import resource
import shutil
import struct
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

CHUNK = 2**22  # values


def config() -> dict[str, Any]:
    """The backbone of Qwen2.5-1.5B (28 layers, vocabulary 151,936, tied head), with smaller media
    parts."""
    stack = {"width": 384, "layers": 4, "heads": 6}
    head = {"kind": "autoregressive", "width": 512, "layers": 2, "heads": 8}
    return {
        "backbone": {
            "hidden_size": 1536,
            "layers": 28,
            "query_heads": 12,
            "kv_heads": 2,
            "mlp_size": 8960,
            "max_positions": 4096,
        },
        "text": {"vocabulary_size": 151936, "tied_head": True},
        "image": {"size": 256, "patch": 16, "encoder": stack, "decoder": stack, "head": head},
        "audio": {"encoder": stack, "decoder": stack, "head": head, "vocoder_iterations": 8},
    }


def make_model(folder: Path, settings: dict[str, Any]) -> int:
    """Write a config of these settings, a tokenizer and random bfloat16 weights; returns the number
    of parameters."""
    import numpy as np
    import torch

    from nextomni_edge.config import ModelConfig
    from nextomni_edge.models.native import state_names
    from nextomni_edge.models.omni import OmniModel
    from nextomni_edge.tokens.train import train_tokenizer

    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(settings))
    train_tokenizer(["a red rocket"], 320, folder / "tokenizer.json")
    with torch.device("meta"):
        shapes = {
            name: tuple(t.shape)
            for name, t in state_names(OmniModel(ModelConfig.load(folder / "config.json"))).items()
        }
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    generator = np.random.default_rng(0)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for shape in shapes.values():
            for start in range(0, math.prod(shape), CHUNK):
                count = min(CHUNK, math.prod(shape) - start)
                values = generator.standard_normal(count, np.float32) * np.float32(0.02)
                file.write((values.view(np.uint32) >> 16).astype("<u2").tobytes())
    return sum(math.prod(shape) for shape in shapes.values())


def export(model: Path, out: Path) -> None:
    """The measured process: prints its peak memory and where the time went, as JSON."""
    from nextomni_edge.export import export_bundle

    imported = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, marks = time.monotonic(), dict[str, float]()
    peaks: dict[str, int] = {}

    def progress(what: str, _: float) -> None:
        marks.setdefault(what, time.monotonic() - started)
        peaks.setdefault(what, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    report = export_bundle(model, out, verify="none", progress=progress)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "peak_rss_kib": usage.ru_maxrss, "after_imports_rss_kib": imported,
        "rss_kib_at_start_of": peaks, "wall_s": time.monotonic() - started,
        "cpu_s": usage.ru_utime + usage.ru_stime, "started_s": marks,
        "weight_bytes": report.total_weight_bytes, "parameters": report.parameters,
    }  # fmt: skip
    print(json.dumps(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("build/export_memory"),
        help="an empty or absent folder for the model and the bundle",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    model, out = given.folder / "model", given.folder / "bundle"
    if given.child:
        export(model, out)
        return
    if given.make:
        print(f"{make_model(model, config()):,} parameters", file=sys.stderr)
        return
    again = [sys.executable, __file__, "--folder", str(given.folder)]
    if not (model / "model.safetensors").exists():
        subprocess.run([*again, "--make"], check=True)
    shutil.rmtree(out, ignore_errors=True)
    ended = subprocess.run([*again, "--child"], stdout=subprocess.PIPE, check=True)
    result = json.loads(ended.stdout)
    versions = {
        name: metadata.version(name) for name in ("torch", "onnx", "onnxscript", "onnx-ir", "numpy")
    }
    result |= {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": versions,
    }
    text = json.dumps(result, indent=1)
    print(text)
    print(
        f"peak {result['peak_rss_kib'] / 2**20:.2f} GiB for {result['weight_bytes'] / 2**30:.2f}"
        " GiB of weights",
        file=sys.stderr,
    )
    given.output.write_text(text + "\n")


if __name__ == "__main__":
    main()

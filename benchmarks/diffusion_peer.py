"""A masked model of half a billion weights against llama.cpp's own diffusion program: `python
benchmarks/diffusion_peer.py --peer PATH/llama-diffusion-cli [--quantize PATH/llama-quantize]`.

The network is Dream's with the sizes of Qwen2.5-0.5B and a tied vocabulary of 151,936, with random
weights: both programs read the same ones, Q8_0 against our INT8, Q4_0 against our INT4. A prompt of
128 tokens, 64 tokens to write, every step a forward over all 192 positions, the argmax of each
masked row, and the most probable rows written. Programs run in turn, each a process of its own that
loads once and answers once. Quoted is the time of the answer, which the peer prints itself, without
loading; the whole process is kept too. `--prepare` makes the models and ends.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import autoregressive_models

from nextomni_edge.config import ModelConfig
from nextomni_edge.files import atomic_write
from nextomni_edge.runtimes.machine import Machine

ROOT: Final = Path(__file__).parents[1]
PROMPT, TOKENS = 128, 64
STEPS: Final = (32, 8)
BACKBONE: Final = {
    "hidden_size": 896, "layers": 24, "query_heads": 14, "kv_heads": 2, "mlp_size": 4864,
    "rope_base": 1e6, "rms_norm_eps": 1e-6, "max_positions": 4096,
}  # fmt: skip
VOCABULARY: Final = 151_936
RECIPES: Final = {"int8": "int8-dynamic", "int4": "int4-rtn"}
# our variant, runtime and the peer's file at the same bits
PAIRS: Final = {
    "8 bits": ("int8", "q8_0", "Q8_0"),
    "4 bits": ("int4", "q4_0", "Q4_0"),
}
TOTAL: Final = re.compile(
    r"total time: ([\d.]+)ms, time per step: ([\d.]+)ms, sampling time per step: ([\d.]+)ms"
)


def config_of(mask: int, small: bool) -> ModelConfig:
    """Dream's config at half a billion."""
    backbone = BACKBONE | ({"layers": 2} if small else {})
    return ModelConfig.from_json({
        "network": "unified", "modalities": ["text"], "logit_shift": 1, "backbone": backbone,
        "text": {"vocabulary_size": VOCABULARY, "tied_head": True, "template": "dream",
                 "block_size": TOKENS, "max_blocks": 16},
        "flow": {"text": {
            "kind": "mixture", "mask": mask, "steps": STEPS[0], "temperature": 0.0,
            "commit": {"count": "time", "score": "probability"},
        }},
    })  # fmt: skip


def checkpoint(folder: Path, small: bool) -> Any:
    """The random weights, and Dream's special tokens from its recorded checkpoint."""
    from tokenizers import Tokenizer

    from nextomni_edge.models.generated import GeneratedCheckpoint

    source = ROOT / "tests" / "published" / "golden" / "dream" / "tokenizer.json"
    file = folder / "tokenizer" / "tokenizer.json"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(source.read_bytes())
    mask = Tokenizer.from_file(str(file)).token_to_id("<|mask|>")
    return GeneratedCheckpoint(config_of(mask, small), file)


def prepare(folder: Path, quantize: Path | None, small: bool) -> None:
    """Make what is not there yet."""
    from nextomni_edge.calibration import quantize as quantise
    from nextomni_edge.calibration.recipes.config import recipe
    from nextomni_edge.export import export_bundle

    folder.mkdir(parents=True, exist_ok=True)
    weights = checkpoint(folder, small)
    if not (folder / "f16.gguf").exists():
        autoregressive_models.write_gguf(weights, folder / "f16.gguf", "dream", add_vocabulary)
    for _, file, kind in PAIRS.values():
        out = folder / f"{file}.gguf"
        if quantize is not None and not out.exists():
            part = out.with_suffix(".part")
            command = [quantize, "--pure", folder / "f16.gguf", part, kind]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            part.rename(out)
    if not (folder / "float32").is_dir():
        export_bundle(weights, folder / "float32", verify="none")
    for name, chosen in RECIPES.items():
        if not (folder / name).is_dir():
            quantise(folder / "float32", folder / name, recipe(chosen))


def add_vocabulary(writer: Any) -> None:
    """A vocabulary of bytes and a mask, as llama.cpp's diffusion program asks for one."""
    letters = [chr(at) for at in range(33, 127)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(letters + [f"[{at}]" for at in range(len(letters), VOCABULARY)])
    writer.add_token_merges(["a b"])
    writer.add_mask_token_id(VOCABULARY - 1)
    writer.add_bos_token_id(VOCABULARY - 2)
    writer.add_eos_token_id(VOCABULARY - 3)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")


def answer(bundle: Path, steps: int, threads: int) -> None:
    """Our process: load, answer once, and print the seconds as JSON."""
    import numpy as np

    from nextomni_edge.bundle import Bundle
    from nextomni_edge.generate.loop import generate
    from nextomni_edge.generate.meter import Meter
    from nextomni_edge.generate.model import EdgeModel
    from nextomni_edge.generate.options import GenerationOptions
    from nextomni_edge.runtimes.base import Execution
    from nextomni_edge.tokens.sequence import Segment, Sequence

    opened = Bundle.open(bundle, verify_hashes=False)
    model = EdgeModel.from_bundle(
        opened, Execution(threads=threads), components=("embed_text", "backbone", "text_head")
    )
    prompt = np.arange(PROMPT, dtype=np.int64) % 90
    masks = np.full(TOKENS, model.config.flow.text.mask, np.int64)
    sequence = Sequence((Segment("text", prompt), Segment("text", masks, frozen=False)))
    options = GenerationOptions.defaults(model.config, "text", steps=steps)
    meter, began = Meter(), time.perf_counter()
    generate(model, sequence, options, meter=meter)
    seconds = time.perf_counter() - began
    parts = {name: meter.seconds[name] for name in ("embed", "backbone", "head", "draw", "flow")}
    print(json.dumps({"seconds": seconds, "forwards": meter.forwards, "parts": parts}))


def ours(folder: Path, variant: str, steps: int, threads: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--answer", str(folder / variant), "--steps", str(steps)]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, "--threads", str(threads)], check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if found["forwards"] != steps:
        raise SystemExit(f"{found['forwards']} forwards in {steps} steps: not comparable")
    return found | {"process": time.perf_counter() - began}


def theirs(peer: Path, file: Path, steps: int, threads: int) -> dict[str, Any]:
    """The peer's answer. SystemExit: it printed no time."""
    length, began = PROMPT + TOKENS, time.perf_counter()
    command = [
        peer, "-m", file, "-p", "x" * PROMPT, "-ub", str(length), "-c", str(length), "-b",
        str(length), "-t", str(threads), "--diffusion-steps", str(steps), "--diffusion-eps",
        "0.001", "--diffusion-algorithm", "4", "--temp", "0", "--top-k", "1", "--top-p", "1",
    ]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    said = TOTAL.search(done.stdout + done.stderr)
    if said is None:
        raise SystemExit(f"{peer}: no time in what it printed: {done.stderr[-200:]}")
    total, step, sampling = (float(each) / 1000 for each in said.groups())
    return {
        "seconds": total, "forward": step - sampling, "sampling": sampling * steps,
        "process": time.perf_counter() - began,
    }  # fmt: skip


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """All pairs in turn, round after round."""
    rows = [
        {"bits": bits, "steps": steps, "ours": [], "peer": []}
        for bits in PAIRS for steps in given.all_steps
    ]  # fmt: skip
    for number in range(given.rounds + 1):
        for row in rows:
            variant, file, _ = PAIRS[row["bits"]]
            mine = ours(given.folder, variant, row["steps"], given.threads)
            peer = theirs(given.peer, given.folder / f"{file}.gguf", row["steps"], given.threads)
            print(f"round {number}", row["bits"], row["steps"], mine, peer, flush=True)
            if number:  # the first reads files into memory
                row["ours"].append(mine)
                row["peer"].append(peer)
    for row in rows:
        pairs = list(zip(row["ours"], row["peer"], strict=True))
        row["ours_s"] = statistics.median(mine["seconds"] for mine, _ in pairs)
        row["peer_s"] = statistics.median(peer["seconds"] for _, peer in pairs)
        ratios = [peer["seconds"] / mine["seconds"] for mine, peer in pairs]
        row["ratios"], row["ratio"] = ratios, statistics.median(ratios)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each pair: seconds of an answer, of a forward, and the ratio pair by pair."""
    lines = [
        "| weights | forwards | ours, s | a step, ms | llama.cpp, s | a step, ms | times as fast |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        steps = row["steps"]
        lines.append(
            f"| {row['bits']} | {steps} | {row['ours_s']:.2f} | {1e3 * row['ours_s'] / steps:.0f}"
            f" | {row['peer_s']:.2f} | {1e3 * row['peer_s'] / steps:.0f} | {row['ratio']:.2f}"
            f" ({min(row['ratios']):.2f} to {max(row['ratios']):.2f}) |"
        )
    return "\n".join(lines)


def main() -> None:
    """Make what is missing, measure, and write the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", type=Path, help="llama.cpp's llama-diffusion-cli")
    parser.add_argument("--quantize", type=Path, help="llama.cpp's llama-quantize")
    parser.add_argument("--folder", type=Path, default=Path("build/diffusion-peer"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--all-steps", type=int, nargs="+", default=list(STEPS))
    parser.add_argument("--prepare", action="store_true", help="make the models and end")
    parser.add_argument("--small", action="store_true", help="two layers: no measurement")
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    if given.answer:
        answer(given.answer, given.steps, given.threads)
        return
    prepare(given.folder, given.quantize, given.small)
    if given.prepare:
        return
    if given.peer is None:
        sys.exit("name llama.cpp's program: --peer PATH/llama-diffusion-cli")
    load = os.getloadavg()[0]
    rows = measure(given)
    data = {
        "machine": dataclasses.asdict(Machine.here()), "threads": given.threads,
        "prompt": PROMPT, "tokens": TOKENS, "load_before": load,
        "load_after": os.getloadavg()[0], "rows": rows,
    }  # fmt: skip
    with atomic_write(given.out, "w") as file:
        file.write(json.dumps(data, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()

"""One backbone step on a GPU (gpu.py): embeddings in, hidden states out, from numpy to numpy, for
64, 256 and 576 rows of random weights.

PyTorch eager in float32 is what the others are compared with. Each number stands next to two
measured roofs: the FLOP/s of one large product of matrices in the same arithmetic, and the bytes a
second of one large copy. Of the 7 B shape there are 2 of its 28 layers: the others repeat them.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any, Final

import export_memory
import latency
import numpy as np
import runtime_speed

from nextomni_edge.spec import ComponentName

ROWS: Final = {"cuda": (64, 256, 576), "cpu": (64, 256)}
ROUNDS: Final = 15
SEVEN_B: Final = {
    "hidden_size": 3584, "layers": 2, "query_heads": 28, "kv_heads": 4, "mlp_size": 18944,
    "max_positions": 1024,
}  # fmt: skip
HALF_A_BILLION: Final = latency.settings()["backbone"]
# provider → shape → backbone; a rehearsal on a processor has neither the time nor the memory
SHAPES: Final = {
    "cuda": {"0.5B": HALF_A_BILLION, "7B, 2 layers": SEVEN_B},
    "cpu": {"small": runtime_speed.QUICK},
}
REFERENCE: Final = runtime_speed.REFERENCE
# name → (what loads it, what of the shape's folder, its arithmetic)
CONTENDERS: Final = {
    REFERENCE: ("torch", "model", "float32"),
    "PyTorch eager bfloat16": ("torch", "model", "bfloat16"),
    "torch.compile bfloat16": ("torch.compile", "model", "bfloat16"),
    "ONNX Runtime float32": ("onnx", "parent", "float32"),
    "ONNX Runtime INT4": ("onnx", "int4-rtn", "float32"),
}
SIDE: Final = {"cuda": 8192, "cpu": 1024}  # of the large product
COPIED: Final = {"cuda": 2**30, "cpu": 2**26}  # bytes of the large copy


def prepare(provider: str, folder: Path) -> None:
    """Make the model, its bundle and its INT4 variant of every shape, where they are not there."""
    from nextomni_edge.calibration import quantize
    from nextomni_edge.calibration.recipes.config import recipe
    from nextomni_edge.export import export_bundle

    for name, backbone in SHAPES[provider].items():
        own = folder / name
        own.mkdir(parents=True, exist_ok=True)
        if not (own / "model").exists():
            part = own / "model.part"
            export_memory.make_model(part, latency.settings() | {"backbone": backbone})
            part.rename(own / "model")
        if not (own / "parent").exists():
            export_bundle(own / "model", own / "parent", (ComponentName.BACKBONE,), verify="none")
        if not (own / "int4-rtn").exists():
            quantize(own / "parent", own / "int4-rtn", recipe("int4-rtn"))


def measured(provider: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Every contender at every shape and number of rows, in turn; no round begins after
    `seconds`."""
    deadline = time.monotonic() + 0.9 * seconds
    prepare(provider, folder)
    found: dict[str, Any] = {"roofs": roofs(provider), "absent": {}, "rows": []}
    for shape in SHAPES[provider]:
        contenders = loaded(provider, folder / shape, found["absent"])
        for rows in ROWS[provider]:
            found["rows"] += in_turn(shape, rows, contenders, deadline)
    for row in found["rows"]:
        against_roofs(row, SHAPES[provider][row["shape"]], found["roofs"])
    return found


def loaded(provider: str, folder: Path, absent: dict[str, str]) -> dict[str, runtime_speed.Step]:
    """The contenders that load and run; of each other, why it does not."""
    found: dict[str, runtime_speed.Step] = {}
    for name, (how, entry, compute) in CONTENDERS.items():
        try:
            step = (
                runtime_speed.of_torch("." in how, folder / entry, compute, provider)
                if how.startswith("torch")
                else runtime_speed.of_runtime(how, folder / entry, compute, provider)
            )
            step(ROWS[provider][0])
        # whatever a vendor's library says, it is the contender's reason not to run
        except Exception as error:
            if name == REFERENCE:
                raise
            absent[f"{folder.name}: {name}"] = str(error).splitlines()[0]
        else:
            found[name] = step
    return found


def in_turn(
    shape: str, rows: int, contenders: dict[str, runtime_speed.Step], deadline: float
) -> list[dict[str, Any]]:
    """Seconds of every contender, round after round behind one that is not timed, and
    ‖h − h₀‖ / ‖h₀‖ of its hidden states."""
    whole = contenders[REFERENCE](rows)[1].astype(np.float64)
    found = []
    for name, step in contenders.items():
        error = float(np.linalg.norm(step(rows)[1] - whole) / np.linalg.norm(whole))
        found.append({"shape": shape, "rows": rows, "name": name, "error": error, "seconds": []})
    for number in range(ROUNDS):
        if number and time.monotonic() > deadline:
            break
        for row in found:
            row["seconds"].append(contenders[row["name"]](rows)[0])
    reference = statistics.median(found[0]["seconds"])
    for row in found:
        row["median_s"] = statistics.median(row["seconds"])
        row["times_as_fast"] = reference / row["median_s"]
    return found


def roofs(provider: str) -> dict[str, float]:
    """FLOP/s of a large product in float32 and in bfloat16, and bytes a second of a copy, which
    reads and writes."""
    import torch

    side, found = SIDE[provider], dict[str, float]()
    for name in ("float32", "bfloat16"):
        a = torch.randn(side, side, device=provider).to(getattr(torch, name))
        found[name] = 2 * side**3 / best(lambda a=a: a @ a, provider)
    data = torch.empty(COPIED[provider], dtype=torch.uint8, device=provider)
    other = torch.empty_like(data)
    found["bytes"] = 2 * COPIED[provider] / best(lambda: other.copy_(data), provider)
    return found


def best(call: Any, provider: str) -> float:
    """Seconds of the fastest of several calls."""
    import torch

    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        call()
        if provider == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def against_roofs(row: dict[str, Any], backbone: dict[str, int], roof: dict[str, float]) -> None:
    """Which shares of the roofs a step reaches. INT4's weights are 4.5 bits each, multiplied in
    float32."""
    compute = CONTENDERS[row["name"]][2]
    width = 4.5 / 8 if "INT4" in row["name"] else {"float32": 4, "bfloat16": 2}[compute]
    weights = parameters(backbone)
    scores = 4 * backbone["layers"] * row["rows"] ** 2 * backbone["hidden_size"]
    row["compute_share"] = (2 * weights * row["rows"] + scores) / row["median_s"] / roof[compute]
    row["bandwidth_share"] = weights * width / row["median_s"] / roof["bytes"]


def parameters(backbone: dict[str, int]) -> int:
    """Of the matrices of all layers."""
    width, heads = backbone["hidden_size"], backbone["query_heads"]
    kept = width // heads * backbone["kv_heads"]
    return backbone["layers"] * width * (2 * width + 2 * kept + 3 * backbone["mlp_size"])


def table(found: dict[str, Any]) -> str:
    """Markdown: a line for each shape, number of rows and contender."""
    lines = [
        "| shape | rows | | ms | times as fast | of FLOP/s | of bandwidth | error |",
        "|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    for row in found["rows"]:
        shares = f"{row['compute_share']:.0%} | {row['bandwidth_share']:.0%}"
        lines.append(
            f"| {row['shape']} | {row['rows']} | {row['name']} | {1e3 * row['median_s']:,.2f} |"
            f" {row['times_as_fast']:.2f}× | {shares} | {row['error']:.1e} |"
        )
    lines += [f"not run: {name}: {reason}" for name, reason in found["absent"].items()]
    return "\n".join(lines)

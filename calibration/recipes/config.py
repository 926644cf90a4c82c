"""What a person can ask of the quantiser: one frozen dataclass per kind, named recipes, and configs
read strictly from JSON."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from nextomni_edge.config import MAX_CONFIG
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.formats.strict_json import read_dataclass, read_json
from nextomni_edge.spec import ComponentName

# An encoder's codes are argmaxes over a codebook. Of the demo's 64 held-out pictures and 64 sounds,
# only INT8 weights leave 99.3 and 99.4 % of the codes as they are, rounded activations as well
# 98.4 and 99.2 %, INT4 weights 92.1 and 94.6 %.
WEIGHTS_ALONE: Final = (
    ComponentName.IMAGE_ENCODER,
    ComponentName.IMAGE_QUANTISER,
    ComponentName.AUDIO_ENCODER,
    ComponentName.AUDIO_QUANTISER,
)
FRONTIER: Final = 1000.0  # the most that a row at the frontier counts


@dataclass(frozen=True)
class Int8Dynamic:
    """INT8 weights per output channel; activations are rounded to 8 bits while the graph runs.

    `granularity` "token" rounds each row by its own range. A row's result then depends neither on
    the rest of the batch nor on rows that a shortcut skips. "tensor" rounds all rows by one range:
    faster, less accurate, and without that promise. `skip` names components that stay unchanged.
    """

    granularity: Literal["token", "tensor"] = "token"
    skip: tuple[str, ...] = ()


@dataclass(frozen=True)
class Int8Static:
    """INT8 weights and activations, with the activations' ranges from calibration.

    `range` is the way to read a range off the values; the widest t-bin counts. `smoothing` α first
    moves outliers into the weights, 0 does not (SmoothQuant, arXiv 2211.10438). `convolutions`
    "static" rounds inputs and outputs of the decoders' convolutions, "weights" only gives them INT8
    weights. `encoders` does the same for all of an encoder's layers. `symmetric` ranges reach
    equally far below and above 0: coarser, and the only ones that TensorRT reads.
    """

    range: Literal["minmax", "percentile", "mse"] = "mse"
    smoothing: float = 0.5
    convolutions: Literal["static", "weights"] = "static"
    encoders: Literal["static", "weights"] = "weights"
    symmetric: bool = False
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 <= self.smoothing <= 1.0:
            raise UsageError(f"int8-static: smoothing {self.smoothing}, expected 0 (none) to 1")


@dataclass(frozen=True)
class Int4:
    """INT4 weights in blocks along the summed axis; activations stay float.

    `method`: round to nearest, GPTQ (arXiv 2210.17323) or AWQ (arXiv 2306.00978). Tables and heads
    are large and have bits of their own; 32 leaves them unchanged. For GPTQ and AWQ, the rows whose
    symbol is decided next count `frontier` times in E[x·xᵀ] (after FAIR-Calib, arXiv 2606.06547).
    """

    method: Literal["rtn", "gptq", "awq"] = "rtn"
    block_size: Literal[32, 64, 128] = 32
    symmetric: bool = True
    table_bits: Literal[4, 8, 32] = 4
    head_bits: Literal[4, 8, 32] = 4
    skip: tuple[str, ...] = ()
    frontier: float = 1.0

    def __post_init__(self) -> None:
        if not 1.0 <= self.frontier <= FRONTIER:
            raise UsageError(f"int4: frontier {self.frontier}, expected 1 (even) to {FRONTIER}")
        if self.method == "rtn" and self.frontier != 1.0:
            raise UsageError(
                "int4: rounding to nearest reads no inputs; frontier needs gptq or awq"
            )


@dataclass(frozen=True)
class Fp8:
    """E4M3 weights per output channel, and E4M3 inputs of matrix products with one scale each from
    calibration (FP8, arXiv 2209.05433).

    `range` is the way to read the largest magnitude; the widest t-bin counts. Tables, convolutions
    and encoders have INT8 weights.
    """

    range: Literal["minmax", "percentile"] = "minmax"
    skip: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mixed:
    """Each layer in float, INT8 or INT4, by its measured cost: the smallest divergence within
    `budget_bytes` (of all files), or the fewest bytes within `max_kl` (nats per draw) and
    `max_flips` (the share of draws with another argmax). Give a budget, or bounds.

    `trajectories`: how many of a calibration set measure each layer, spread over the tasks. The
    bound on the whole is measured like the gate (see quantize). `media` quantises encoders and
    decoders in place of `int8`, with ranges of a calibration set. p_{1|t} does not depend on them.
    """

    budget_bytes: int | None = None
    max_kl: float | None = None
    max_flips: float | None = None
    int8: Int8Dynamic = dataclasses.field(default_factory=Int8Dynamic)
    int4: Int4 = dataclasses.field(default_factory=Int4)
    media: Int8Static | None = None
    trajectories: int = 20
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.trajectories < 1:
            raise UsageError(
                f"recipe mixed: measured on {self.trajectories} trajectories, expected at least 1"
            )
        bounded = self.max_kl is not None or self.max_flips is not None
        if (self.budget_bytes is None) != bounded:
            raise UsageError(
                "recipe mixed: give a budget in bytes, or a largest divergence or share of flips,"
                " and not both"
            )


QuantConfig = Int8Dynamic | Int8Static | Int4 | Fp8 | Mixed

KINDS: Final[Mapping[str, type[QuantConfig]]] = {
    "int8-dynamic": Int8Dynamic, "int8-static": Int8Static, "int4": Int4, "fp8": Fp8,
    "mixed": Mixed,
}  # fmt: skip
RECIPES: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "int8-dynamic": ("int8-dynamic", {}),
    "int8-static": ("int8-static", {}),
    "int4-rtn": ("int4", {"method": "rtn"}),
    "int4-gptq": ("int4", {"method": "gptq"}),
    "int4-gptq-frontier": ("int4", {"method": "gptq", "frontier": 8.0}),
    "int4-awq": ("int4", {"method": "awq"}),
    "fp8": ("fp8", {}),
    "mixed": ("mixed", {}),
}


def recipe(name: str, **values: Any) -> QuantConfig:
    """The config of a recipe's name, with `values` in place of its own. UsageError: unknown (the
    nearest name is offered)."""
    if name not in RECIPES:
        raise UsageError(f"recipe {name!r}: {_nearest(name, RECIPES)}")
    kind, settings = RECIPES[name]
    return KINDS[kind](**{**settings, **values})


def read_config(path: Path) -> QuantConfig:
    """A config file: an object with `kind` and that kind's keys. InputError names the file, the
    key, and the nearest known one."""
    data = read_json(path, MAX_CONFIG)
    kind = data.get("kind") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(kind, str):
        raise InputError(
            f"{path}: expected an object with the key 'kind', one of {', '.join(KINDS)}"
        )
    if kind not in KINDS:
        raise InputError(f"{path}: kind {kind[:80]!r}: {_nearest(kind, KINDS)}")
    rest = {key: value for key, value in data.items() if key != "kind"}
    return read_dataclass(KINDS[kind], rest, str(path))


def to_json(config: QuantConfig) -> dict[str, object]:
    """The JSON that `read_config` reads."""
    kind = next(name for name, cls in KINDS.items() if type(config) is cls)
    return {"kind": kind, **dataclasses.asdict(config)}


def check_skip(skip: tuple[str, ...]) -> None:
    """UsageError: no model has a component that `skip` names."""
    for name in skip:
        if name not in ComponentName.ALL:
            raise UsageError(f"component {name!r} to skip: {_nearest(name, ComponentName.ALL)}")


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"

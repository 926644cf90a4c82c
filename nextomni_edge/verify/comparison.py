"""When two runs of one model count as the same, and the record of their differences."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.bundle.manifest import Arithmetic, ComponentRecord
from nextomni_edge.config import AudioConfig
from nextomni_edge.errors import GateError
from nextomni_edge.runtimes.base import Execution
from nextomni_edge.spec import ComponentName
from nextomni_edge.tokens.audio import log_mel

Array = NDArray[Any]

# relative to an output's scale: float32 kernels that sum in another order stay 10 times below
LIMIT: Final = 1e-4
# Griffin-Lim turns rounding into phase where a bin is all but silent: 7e-4 between float32 and
# float64 of the same graph.
LIMITS: Final = {ComponentName.AUDIO_DECODER: 5e-3}
# a draw or a nearest code that was closer than this to another outcome may fall either way
TIE: Final = 1e-4
# Float16 keeps 11 bits: 2e-3 after a backbone, and of a waveform 0.17 where phases turn (0.007 in
# the log-mel).
FLOAT16_LIMIT: Final = 1e-2
FLOAT16_LIMITS: Final = {ComponentName.AUDIO_DECODER: 0.5}
# Of a whole answer phases may turn altogether (0.57 of the samples' scale) while what is heard
# stays: 0.014 of the log-mel, where another word is 0.1 or more.
FLOAT16_LOG_MEL_LIMIT: Final = 5e-2
FLOAT16_TIE: Final = 2e-2
# llama.cpp rounds what a quantised matrix reads to 8 bits, a block at a time: 2.2e-2 after five
# layers. OpenVINO, of the demo's six quantised variants: 1.8e-2.
# Another kind of processor, the demo under an emulated Haswell: 2.4e-2 (INT4 backbone) and 5.4e-7
# (INT8). A value on the border of two integers falls to the other one there; inputs moved by a last
# digit move the INT8 static backbone by 6.8e-2. benchmarks/int8_processors.py measures both.
INT8_LIMIT: Final = 1e-1
INT8_TIE: Final = 1e-1
# Draws of a whole generation on another kind of processor: margins of up to 0.60 (INT8 dynamic,
# picture, fifth step), as one value rounded otherwise moves every later row.
OTHER_PROCESSOR_TIE: Final = 1.0
COARSENESS: Final[tuple[Arithmetic, ...]] = ("float32", "float16", "int8")
# These round a quantised layer's input inside the kernels that they fuse: a value on the border of
# two integers may go to either, and what a layer read cannot be had without changing it.
ROUND_THEMSELVES: Final = ("openvino",)


@dataclass(frozen=True)
class NearTie:
    """A decision that fell differently because both outcomes were equally good: its place and its
    margin."""

    where: str
    margin: float


@dataclass
class ComponentResult:
    """One component over its cases: the largest error of a float output (see `error`), its limit,
    and codes at a tie."""

    cases: int = 0
    arithmetic: Arithmetic = "float32"
    error: float = 0.0
    limit: float = LIMIT
    # of a waveform: mean absolute difference of the log-mel, reported next to the samples' error
    log_mel_error: float | None = None
    codes: int = 0
    near_ties: list[NearTie] = field(default_factory=list)


@dataclass
class TaskResult:
    """One whole generation: steps and draws that were compared, of `all_draws`, and where it left
    the other run by a tie (it is compared up to there)."""

    steps: int = 0
    arithmetic: Arithmetic = "float32"
    draws: int = 0
    all_draws: int = 0
    smallest_margin: float | None = None
    near_ties: list[NearTie] = field(default_factory=list)


@dataclass
class Report:
    """What was compared with what, and every failure in one line each.

    `runtime`, `providers` and `compute` say where the bundle ran. `skipped` says by name what was
    not run, and why; those of it that the bundle can do are `unchecked`. `divergences` says by
    component where it leaves PyTorch, or why that was not found. `notes` are for the reader and
    fail nothing. `prepared` counts texts, pictures and sounds that came into the model's form here
    as where the bundle was exported.
    """

    against: str
    runtime: str
    providers: list[str] = field(default_factory=list)
    compute: str = "float32"
    digests: int = 0
    prepared: int = 0
    components: dict[str, ComponentResult] = field(default_factory=dict)
    tasks: dict[str, TaskResult] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    unchecked: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    first_divergence: str | None = None
    divergences: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def near_ties(self) -> int:
        """The number of decisions at a tie."""
        return sum(
            len(result.near_ties)
            for results in (self.components, self.tasks)
            for result in results.values()
        )

    @property
    def place(self) -> str:
        """Where the bundle ran, such as `onnx (CPUExecutionProvider, float32)`."""
        return f"{self.runtime} ({', '.join([*self.providers, self.compute])})"

    def failing_components(self) -> list[str]:
        """Components that differ by themselves, in order."""
        return [
            name
            for name in self.components
            if any(failure.startswith(f"{name}:") for failure in self.failures)
        ]

    def to_json(self) -> dict[str, Any]:
        """The report for JSON. An error that is NaN becomes null, and is listed under
        `failures`."""
        data = dataclasses.asdict(self)
        for result in data["components"].values():
            result["error"] = result["error"] if np.isfinite(result["error"]) else None
        return data

    def require(self, allow_unchecked: bool = False) -> Report:
        """The report itself. VerificationError: something differed, or was not checked though the
        bundle can do it, unless that is allowed."""
        if self.failures or (self.unchecked and not allow_unchecked):
            raise VerificationError(self)
        return self


class VerificationError(GateError):
    """The bundle does not compute what it must, or nobody saw that it does; `report` holds every
    failure."""

    def __init__(self, report: Report) -> None:
        super().__init__(_failed(report) if report.failures else _not_checked(report))
        self.report = report


def _failed(report: Report) -> str:
    more = f" (and {len(report.failures) - 1} more)" if len(report.failures) > 1 else ""
    where = f"; first divergence: {report.first_divergence}" if report.first_divergence else ""
    return f"not the same as {report.against}: {report.failures[0]}{more}{where}"


def _not_checked(report: Report) -> str:
    first = report.unchecked[0]
    return (
        f"{len(report.unchecked)} of {len(report.unchecked) + len(report.tasks)} generations were"
        f" not checked on {report.place}, {first} first: {report.skipped[first]};"
        " --allow-unchecked accepts that"
    )


def error(found: Array, expected: Array) -> float:
    """Largest absolute difference over the larger of 1 and the largest expected value; NaN where
    either holds NaN."""
    if found.shape != expected.shape:
        return float("nan")
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0)
    return float(difference / max(1.0, np.abs(expected).max(initial=0.0)))


def log_mel_error(found: Array, expected: Array, config: AudioConfig) -> float:
    """Mean absolute difference of waveforms' log-mel, (batch,…) each, in Whisper's units: the
    audible difference. NaN in, NaN out."""
    if not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return float("nan")
    pairs = zip(found, expected, strict=True)
    spectra = [
        (log_mel(one.reshape(-1), config), log_mel(other.reshape(-1), config))
        for one, other in pairs
    ]
    return float(np.mean([np.abs(one - other).mean() for one, other in spectra]))


def rounds_itself(record: ComponentRecord, execution: Execution | None) -> bool:
    """Whether a component's inputs of layers are rounded, by a runtime that does so in its own
    way."""
    asked = (execution or Execution()).of_format(record.format)
    return asked.runtime in ROUND_THEMSELVES and any(
        decision.rounds_input for decision in record.quantisation.values()
    )


def arithmetic_of(
    record: ComponentRecord, execution: Execution | None, elsewhere: bool = False
) -> Arithmetic:
    """The arithmetic of a component in its runtime. `elsewhere`: the other run was on another kind
    of processor."""
    other = rounds_itself(record, execution) or (elsewhere and multiplies_integers(record))
    return "int8" if other else record.arithmetic


def multiplies_integers(record: ComponentRecord) -> bool:
    """Whether a layer of the component multiplies 8-bit integers while it runs."""
    return any(
        decision.rounds_input and decision.scheme != "float8"
        for decision in record.quantisation.values()
    )


def limit(component: str, arithmetic: Arithmetic = "float32") -> float:
    """The largest allowed error of a component's float output, relative to its scale."""
    if arithmetic == "int8":
        return INT8_LIMIT
    if arithmetic == "float16":
        return FLOAT16_LIMITS.get(component, FLOAT16_LIMIT)
    return LIMITS.get(component, LIMIT)


def tie(arithmetic: Arithmetic) -> float:
    """The margin within which a decision may fall either way."""
    return {"float32": TIE, "float16": FLOAT16_TIE, "int8": INT8_TIE}[arithmetic]


def within(measured: float, limit: float) -> bool:
    """NaN is not within any limit."""
    return measured <= limit


def first_differences(found: Array, expected: Array) -> Array:
    """The place of the first differing sub-code of each position, out of tokens (n,) or (n,K).
    Later ones may follow from it."""
    differs = (found != expected).reshape(len(expected), -1)
    rows = np.flatnonzero(differs.any(axis=1))
    columns = differs[rows].argmax(axis=1)
    return np.stack([rows, columns], axis=1)

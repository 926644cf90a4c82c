"""How fast generations are. Configurations run in turn, and each is timed by part. Also what each
saved, and its memory."""

from __future__ import annotations

import dataclasses
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from collections.abc import Sequence as Many
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import UsageError
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.meter import PARTS, STEP, Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.tokens.sequence import Sequence

STATUS: Final = Path("/proc/self/status")
RESET_PEAK: Final = Path("/proc/self/clear_refs")
# of a backbone forward: a short text, a picture of 256 pixels squared, one of 384
ROWS: Final = (32, 64, 256, 576)
POWERCAP: Final = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Configuration:
    """One way to run one request, and how long its model took to load, in seconds."""

    name: str
    model: EdgeModel
    sequence: Sequence
    options: GenerationOptions
    load_seconds: float


@dataclass(frozen=True)
class Timing:
    """One generation.

    Seconds: the whole; of the processor (all threads); up to the end of the first step that
    predicts; of each part; of every step.

    peak_bytes: the process's largest resident memory meanwhile. joules: of the processor's
    packages, None where the machine has no counter. tokens: of every generated segment, in one row.
    """

    seconds: float
    processor_seconds: float
    first_step_seconds: float
    parts: dict[str, float]
    steps: list[float]
    counts: dict[str, int]
    peak_bytes: int | None
    joules: float | None
    tokens: np.ndarray
    events: list[tuple[str, float, float]]


@dataclass
class Measurement:
    """A configuration's timings, in the order in which they were taken."""

    configuration: Configuration
    timings: list[Timing] = field(default_factory=list)

    def median(self, name: str) -> float | None:
        """The median of a number of Timing; None where the machine has no counter for it."""
        values = [getattr(timing, name) for timing in self.timings]
        return None if None in values else statistics.median(values)

    def part(self, name: str) -> float:
        """The median over the runs of a part's seconds per executed step."""
        return statistics.median(timing.parts[name] / len(timing.steps) for timing in self.timings)

    def to_json(self) -> dict[str, Any]:
        """Medians and every raw number."""
        configuration = self.configuration
        return {
            "name": configuration.name,
            "options": configuration.options.to_json(),
            "load_seconds": configuration.load_seconds,
            "seconds": self.median("seconds"),
            "processor_seconds": self.median("processor_seconds"),
            "first_step_seconds": self.median("first_step_seconds"),
            "step_seconds": {name: self.part(name) for name in (*PARTS, STEP)},
            "counts": self.timings[-1].counts,
            "peak_bytes": self.median("peak_bytes"),
            "joules": self.median("joules"),
            "runs": [{"seconds": timing.seconds, "steps": timing.steps} for timing in self.timings],
        }


def measure(
    configurations: Many[Configuration], repeats: int, warm_up: int = 1
) -> list[Measurement]:
    """Time every configuration `repeats` times after warm-up runs. The configurations take turns,
    in reverse order every other time.

    All generate from the same seeds: the r-th run of each has the options' seed + r. UsageError:
    nothing to repeat.
    """
    if repeats < 1 or warm_up < 0:
        raise UsageError(f"{repeats} repeats after {warm_up} to warm up: expected at least 1 and 0")
    measurements = [Measurement(configuration) for configuration in configurations]
    for _ in range(warm_up):
        for configuration in configurations:
            timed(configuration, 0)
    for repeat in range(repeats):
        for measurement in measurements[:: -1 if repeat % 2 else 1]:
            measurement.timings.append(timed(measurement.configuration, repeat))
    return measurements


def timed(configuration: Configuration, repeat: int) -> Timing:
    """One generation from noise to tokens, without decoding the answer."""
    options = dataclasses.replace(configuration.options, seed=configuration.options.seed + repeat)
    meter = Meter(keeps_events=True)
    resets, before = _reset_peak(), _joules()
    began, working = time.perf_counter(), time.process_time()
    found = generate(configuration.model, configuration.sequence, options, meter=meter)
    seconds, worked = time.perf_counter() - began, time.process_time() - working
    after = _joules()
    first = min(
        (ended for name, _, ended in meter.events if name == "flow"), default=began + seconds
    )
    return Timing(
        seconds,
        worked,
        first - began,
        {name: meter.seconds[name] for name in (*PARTS, STEP)},
        [ended - start for name, start, ended in meter.events if name == STEP],
        meter.counts(),
        _peak() if resets else None,
        None if before is None or after is None else after - before,
        np.concatenate([found.segments[index].tokens.ravel() for index in found.generated()]),
        meter.events,
    )


def forwards(models: Many[EdgeModel], sizes: Many[int], rounds: int) -> list[dict[int, float]]:
    """For each model, the median seconds of a backbone forward of one sequence, by its number of
    rows.

    The models take turns, in reverse order every other time, after one forward to warm up.
    UsageError: nothing to repeat, or more rows than a model takes.
    """
    if rounds < 1:
        raise UsageError(f"{rounds} rounds of forwards: expected at least 1")
    found: list[dict[int, float]] = [{} for _ in models]
    for rows in sizes:
        noise = np.random.default_rng(rows)
        embeddings = [
            noise.standard_normal((1, rows, model.config.backbone.hidden_size), np.float32)
            for model in models
        ]
        times: list[list[float]] = [[] for _ in models]
        for turn in range(rounds + 1):
            for place in range(len(models))[:: -1 if turn % 2 else 1]:
                began = time.perf_counter()
                models[place].backbone(embeddings[place])
                times[place].append(time.perf_counter() - began)
        for own, seconds in zip(found, times, strict=True):
            own[rows] = statistics.median(seconds[1:])
    return found


def row_sizes(models: Many[EdgeModel]) -> tuple[int, ...]:
    """Those of ROWS that every model takes."""
    limit = min(model.config.backbone.max_positions for model in models)
    return tuple(rows for rows in ROWS if rows <= limit)


def peak_alone(bundle: Path, sequence: Sequence, options: GenerationOptions) -> int | None:
    """Bytes: the largest resident memory of a new process that loads a bundle and generates this
    once."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_generate_alone, bundle, sequence, options).result()


def _generate_alone(bundle: Path, sequence: Sequence, options: GenerationOptions) -> int | None:
    generate(EdgeModel.from_bundle(Bundle.open(bundle, verify_hashes=False)), sequence, options)
    return _peak()


def equal_tokens(one: Measurement, other: Measurement) -> float | None:
    """The share of generated sub-codes that are the same for the same seeds; None where their
    numbers differ."""
    shares = []
    for ours, theirs in zip(one.timings, other.timings, strict=True):
        if ours.tokens.shape != theirs.tokens.shape:
            return None
        shares.append(float((ours.tokens == theirs.tokens).mean()))
    return statistics.mean(shares)


def chrome_trace(measurements: Many[Measurement]) -> dict[str, Any]:
    """Every part of every run as Chrome's and Perfetto's trace events; a process for each
    configuration."""
    events: list[dict[str, Any]] = []
    for process, measurement in enumerate(measurements, 1):
        name = {"name": measurement.configuration.name}
        events.append({"name": "process_name", "ph": "M", "pid": process, "tid": 1, "args": name})
        events.extend(_complete_events(measurement, process))
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _complete_events(measurement: Measurement, process: int) -> Iterator[dict[str, Any]]:
    for timing in measurement.timings:
        for name, began, ended in timing.events:
            times = {"ts": began * 1e6, "dur": (ended - began) * 1e6}  # microseconds
            yield {"name": name, "ph": "X", "pid": process, "tid": 1, **times}


def _reset_peak() -> bool:
    """Reset the system's count of the largest resident memory; False where that is impossible."""
    try:
        RESET_PEAK.write_text("5")
    except OSError:
        return False
    return True


def _peak() -> int | None:
    if not STATUS.exists():
        return None
    lines = STATUS.read_text().splitlines()
    sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return sizes[0] if sizes else None


def _joules() -> float | None:
    """Joules that the processor's packages have used since some time in the past, where RAPL is
    readable."""
    try:
        counters = [(domain / "energy_uj").read_text() for domain in POWERCAP.glob("intel-rapl:?")]
    except OSError:
        return None
    return sum(int(counter) for counter in counters) * 1e-6 if counters else None

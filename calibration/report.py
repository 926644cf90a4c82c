"""What variants of a bundle cost and gain against their parent, measured on its own trajectories and the same seeds."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from nextomni_edge.bench import Configuration, Measurement, measure
from nextomni_edge.bundle import Bundle, bundle_identity
from nextomni_edge.calibration.agreement import Agreement, Mean, agreements
from nextomni_edge.calibration.collect import SEEDS, Source, collect
from nextomni_edge.calibration.samples import CalibrationSet
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.spec import Modality
from nextomni_edge.tokens.chat import Kind

Progress = Callable[[int, int, str], None]

FORMAT: Final = "nextomni-edge-report"
VERSION: Final = 1
ROWS: Final = (32, 64, 256, 576)  # of a backbone forward: a short text, a picture of 256 pixels squared, one of 384
ROUNDS: Final = 15


@dataclass(frozen=True)
class Variant:
    """A bundle, by the name that the report calls it, with its model loaded."""

    name: str
    bundle: Bundle
    model: EdgeModel

    def to_json(self) -> dict[str, Any]:
        """What it is and how large: bytes of every file, and of the graph and the weights of each component."""
        manifest = self.bundle.manifest
        weights = sum(record.size for name, record in manifest.files.items() if name.startswith("weights/"))
        made = manifest.quantisation
        return {
            "name": self.name,
            "bundle": str(self.bundle.path),
            "identity": bundle_identity(self.bundle.path),
            "recipe": made.recipe if made else None,
            "calibration": made.calibration if made else None,
            "bytes": sum(record.size for record in manifest.files.values()),
            "weight_bytes": weights,
        }


def load_variants(paths: Many[Path]) -> list[Variant]:
    """The parent and then its variants, named by their folders. UsageError: fewer than two, or two of one name.

    InputError: a variant of another model.
    """
    names = [path.resolve().name for path in paths]
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError(f"bundles {', '.join(names)}: expected the parent and at least one variant, each of another name")
    bundles = [Bundle.open(path) for path in paths]
    for bundle in bundles[1:]:
        if bundle.config != bundles[0].config:
            raise InputError(f"{bundle.path}: its config is not that of {bundles[0].path}: it is no variant of it")
    return [Variant(name, bundle, EdgeModel.from_bundle(bundle)) for name, bundle in zip(names, bundles, strict=True)]


def report(
    variants: Many[Variant],
    source: Callable[[Variant], Source],
    trajectories: Path,
    bins: int,
    seed: int,
    rounds: int = ROUNDS,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Everything as JSON data; the parent is the first. Its trajectories go to the new folder `trajectories`.

    UsageError, InputError: as `collect`. NonFiniteError: a variant gives NaN or infinity.
    """
    parent, *others = variants
    calibration = collect(parent.bundle, source(parent), trajectories, bins, seed, progress=progress)
    found = agreements(parent.model, [other.model for other in others], calibration, progress)
    forward, whole = forward_seconds(variants, rounds), generation_seconds(variants, source(parent), rounds)
    described = []
    for index, variant in enumerate(variants):
        data = variant.to_json() | {"forward_seconds": forward[index], "generation": whole[index]}
        if index:
            agreement = agreement_json(found[index - 1], calibration)
            data |= {"agreement": agreement, "tokens": token_agreement(variant, source(variant), calibration, progress)}
        described.append(data)
    record = calibration.record
    about = {"trajectories": record.counts, "prompts": record.prompts, "bins": bins, "seed": seed, "rounds": rounds}
    return {"format": FORMAT, "version": VERSION, **about, "bundles": described}


def agreement_json(agreement: Agreement, calibration: CalibrationSet) -> dict[str, Any]:
    """By modality and for all, over the bins: KL in nats per draw and the share of equal argmax, with n and 95 % intervals."""
    bins = calibration.record.bins
    modalities: list[Modality] = sorted(set(agreement.modalities))
    parts: dict[str, Agreement] = {"all": agreement, **{name: agreement.of(name) for name in modalities}}
    return {
        name: {
            "kl": part.divergence.to_json(),
            "same_argmax": Mean.of(part.same_argmax.mean(axis=1)).to_json(),
            "by_t": [
                {"t": [b / bins, (b + 1) / bins], "kl": kl.to_json(), "same_argmax": same.to_json()}
                for b, (kl, same) in enumerate(part.by_bin())
            ],
        }
        for name, part in parts.items()
    }


def token_agreement(
    variant: Variant, source: Source, calibration: CalibrationSet, progress: Progress | None = None
) -> dict[str, Any]:
    """By task: the share of sub-codes that whole generations from the same seeds end with alike, and of generations all alike.

    The same prompts as the parent's: media are encoded by the parent, so that generation alone differs.
    """
    shares: dict[str, list[float]] = {}
    for index, (record, trajectory) in enumerate(calibration.trajectories()):
        if progress:
            progress(index, len(calibration), f"{variant.name}: {record.task}")
        seeded = dataclasses.replace(source.options(record.answer), seed=calibration.record.seed * SEEDS + index)
        finished = generate(variant.model, trajectory.sequence, shortened(seeded))
        ours = [finished.segments[place].tokens for place in trajectory.sequence.generated()]
        same = [(one == other).mean() for one, other in zip(ours, trajectory.finished, strict=True)]
        shares.setdefault(record.task, []).append(float(np.mean(same)))
    return {
        task: {"same": Mean.of(np.asarray(values)).to_json(), "whole": Mean.of(np.asarray(values) == 1.0).to_json()}
        for task, values in shares.items()
    }


def shortened(options: GenerationOptions) -> GenerationOptions:
    """With every shortcut that changes no token."""
    return dataclasses.replace(options, skip_first_forward=True, stop_early=True)


def forward_seconds(variants: Many[Variant], rounds: int) -> list[dict[str, float]]:
    """Medians of one backbone forward by its number of rows, the variants taking turns."""
    config = variants[0].bundle.config
    found: list[dict[str, float]] = [{} for _ in variants]
    for rows in (rows for rows in ROWS if rows <= config.backbone.max_positions):
        embeddings = np.random.default_rng(rows).standard_normal((1, rows, config.backbone.hidden_size), np.float32)
        times: list[list[float]] = [[] for _ in variants]
        for turn in range(rounds + 1):  # the first warms up
            for place, variant in enumerate(variants):
                began = time.perf_counter()
                variant.model.backbone(embeddings)
                if turn:
                    times[place].append(time.perf_counter() - began)
        for place, own in enumerate(times):
            found[place][str(rows)] = statistics.median(own)
    return found


def generation_seconds(variants: Many[Variant], source: Source, rounds: int) -> list[dict[str, Any]]:
    """Of a whole generation by what is answered: the median of its seconds and its peak memory, the variants taking turns."""
    found: list[dict[str, Any]] = [{} for _ in variants]
    first: dict[Kind, int] = {}
    for index, (_, answer) in enumerate(source.tasks):
        first.setdefault(answer, index)
    for answer, index in first.items():
        sequence, options = source.asked(index).sequence, shortened(source.options(answer))
        configurations = [Configuration(variant.name, variant.model, sequence, options, 0.0) for variant in variants]
        for own, measurement in zip(found, measure(configurations, max(1, rounds // 3)), strict=True):
            own[answer] = _medians(measurement)
    return found


def _medians(measurement: Measurement) -> Mapping[str, float | None]:
    return {name: measurement.median(name) for name in ("seconds", "peak_bytes")}

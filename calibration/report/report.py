"""What variants of a bundle cost and gain against their parent, measured on its own trajectories
and the same seeds."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from nextomni_edge.bundle import Bundle, Measured, bundle_identity
from nextomni_edge.bundle.measured import Cost
from nextomni_edge.calibration.data.collect import SEEDS, Source, collect
from nextomni_edge.calibration.data.samples import CalibrationSet
from nextomni_edge.calibration.report.agreement import Agreement, Mean, agreements
from nextomni_edge.calibration.report.kept import Kept
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.formats.strict_json import read_dataclass
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.measure.timing import Configuration, forwards, measure, peak_alone, row_sizes
from nextomni_edge.runtimes.machine import Machine
from nextomni_edge.spec import Modality
from nextomni_edge.tokens.chat import Kind

Progress = Callable[[int, int, str], None]

FORMAT: Final = "nextomni-edge-report"
VERSION: Final = 1
ROUNDS: Final = 15


@dataclass(frozen=True)
class Variant:
    """A bundle, by the name that the report calls it, with its model loaded."""

    name: str
    bundle: Bundle
    model: EdgeModel

    @functools.cached_property
    def identity(self) -> str:
        return bundle_identity(self.bundle.path)

    def to_json(self) -> dict[str, Any]:
        """What it is and how large: bytes of every file, and of the graph and the weights of each
        component."""
        manifest = self.bundle.manifest
        weights = sum(
            record.size for name, record in manifest.files.items() if name.startswith("weights/")
        )
        made = manifest.quantisation
        return {
            "name": self.name,
            "bundle": str(self.bundle.path),
            "identity": self.identity,
            "recipe": made.recipe if made else None,
            "calibration": made.calibration if made else None,
            "bytes": sum(record.size for record in manifest.files.values()),
            "weight_bytes": weights,
        }


def load_variants(paths: Many[Path]) -> list[Variant]:
    """The parent and then its variants, named by their folders. UsageError: fewer than two, or two
    of one name.

    InputError: a variant of another model.
    """
    names = [path.resolve().name for path in paths]
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError(
            f"bundles {', '.join(names)}: expected the parent and at least one variant, each of"
            " another name"
        )
    bundles = [Bundle.open(path) for path in paths]
    for bundle in bundles[1:]:
        if bundle.config != bundles[0].config:
            raise InputError(
                f"{bundle.path}: its config is not that of {bundles[0].path}: it is no variant"
                " of it"
            )
    return [
        Variant(name, bundle, EdgeModel.from_bundle(bundle))
        for name, bundle in zip(names, bundles, strict=True)
    ]


def report(
    variants: Many[Variant],
    source: Callable[[Variant], Source],
    folder: Path,
    bins: int,
    seed: int,
    rounds: int = ROUNDS,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Everything as JSON data; the parent is the first. Its trajectories go to
    `folder`/trajectories; every finished measure stands in `folder` until all are, and one of an
    interrupted run of the same bundles, prompts and settings is not made again.

    UsageError, InputError: as `collect`. NonFiniteError: a variant gives NaN or infinity.
    """
    parent, *others = variants
    about = {
        "parent": parent.identity,
        "prompts": source(parent).prompts,
        "bins": bins,
        "seed": seed,
    }
    kept, trajectories = Kept(folder, about), folder / "trajectories"
    if not trajectories.exists():
        collect(parent.bundle, source(parent), trajectories, bins, seed, progress=progress)
    calibration = CalibrationSet.open(trajectories)
    speed = {
        "rounds": rounds,
        "machine": str(Machine.here()),
        "bundles": [variant.identity for variant in variants],
    }
    timed = kept("speed", speed, lambda: speeds(variants, source(parent), rounds))
    described = [variant.to_json() | own for variant, own in zip(variants, timed, strict=True)]
    for variant, data in zip(others, described[1:], strict=True):
        key = {"variant": variant.identity}
        data["agreement"] = kept(
            "agreement", key, functools.partial(agreed, parent, variant, calibration, progress)
        )
        made = functools.partial(token_agreement, variant, source(variant), calibration, progress)
        data["tokens"] = kept("tokens", key, made)
    settings = about | {
        "trajectories": calibration.record.counts,
        "rounds": rounds,
        "machine": speed["machine"],
    }
    return {"format": FORMAT, "version": VERSION, **settings, "bundles": described}


def agreed(
    parent: Variant, variant: Variant, calibration: CalibrationSet, progress: Progress | None
) -> dict[str, Any]:
    """What is the same of p_{1|t}."""
    return agreement_json(
        agreements(parent.model, [variant.model], calibration, progress)[0], calibration
    )


def speeds(variants: Many[Variant], source: Source, rounds: int) -> list[dict[str, Any]]:
    """Of each, the seconds of a forward by rows, and of whole generations by what is answered."""
    models = [variant.model for variant in variants]
    forward = forwards(models, row_sizes(models), rounds)
    whole = generation_seconds(variants, source, rounds)
    return [
        {
            "forward_seconds": {str(rows): seconds for rows, seconds in own.items()},
            "generation": generation,
        }
        for own, generation in zip(forward, whole, strict=True)
    ]


def measured(data: Mapping[str, Any], index: int) -> Measured:
    """What a variant's manifest holds of a report: its own numbers, what it was held against, and
    on what."""

    def cost(bundle: Mapping[str, Any]) -> dict[str, Any]:
        return {
            field.name: bundle[field.name]
            for field in dataclasses.fields(Cost)
            if field.name in bundle
        }

    own = data["bundles"][index]
    settings = {
        name: data[name]
        for name in ("trajectories", "prompts", "bins", "seed", "rounds", "machine")
    }
    held = {
        "parent": cost(data["bundles"][0]),
        "variant": cost(own),
        "agreement": own["agreement"],
        "tokens": own["tokens"],
    }
    return read_dataclass(Measured, json.loads(json.dumps(held | settings)), "report")


def agreement_json(agreement: Agreement, calibration: CalibrationSet) -> dict[str, Any]:
    """By modality and for all, over the bins: KL in nats per draw and the share of equal argmax,
    with n and 95 % intervals."""
    bins = calibration.record.bins
    modalities: list[Modality] = sorted(set(agreement.modalities))
    parts: dict[str, Agreement] = {
        "all": agreement,
        **{name: agreement.of(name) for name in modalities},
    }
    return {
        name: {
            "kl": part.divergence.to_json(),
            "same_argmax": Mean.of(part.same_argmax.mean(axis=1)).to_json(),
            "flips_by_code": [flips.to_json() for flips in part.flips_by_code()],
            "flips_when_decided": part.flips_when_decided().to_json(),
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
    """By task: the share of sub-codes that whole generations from the same seeds end with alike,
    and of generations all alike.

    The same prompts as the parent's: media are encoded by the parent, so that only generation
    differs.
    """
    shares: dict[str, list[float]] = {}
    for index, (record, trajectory) in enumerate(calibration.trajectories()):
        if progress:
            progress(index, len(calibration), f"{variant.name}: {record.task}")
        seeded = dataclasses.replace(
            source.options(record.answer), seed=calibration.record.seed * SEEDS + index
        )
        finished = generate(variant.model, trajectory.sequence, shortened(seeded))
        ours = [finished.segments[place].tokens for place in trajectory.sequence.generated()]
        same = [(one == other).mean() for one, other in zip(ours, trajectory.finished, strict=True)]
        shares.setdefault(record.task, []).append(float(np.mean(same)))
    return {
        task: {
            "same": Mean.of(np.asarray(values)).to_json(),
            "whole": Mean.of(np.asarray(values) == 1.0).to_json(),
        }
        for task, values in shares.items()
    }


def shortened(options: GenerationOptions) -> GenerationOptions:
    """With every shortcut that changes no token."""
    return options.changed(skip_first_forward=True, stop_early=True)


def generation_seconds(
    variants: Many[Variant], source: Source, rounds: int
) -> list[dict[str, Any]]:
    """Of a whole generation by what is answered: the median of its seconds, the variants taking
    turns, and the peak memory of a process that does nothing else (None where the machine does not
    tell it)."""
    found: list[dict[str, Any]] = [{} for _ in variants]
    first: dict[Kind, int] = {}
    for index, (_, answer) in enumerate(source.tasks):
        first.setdefault(answer, index)
    for answer, index in first.items():
        sequence, options = source.asked(index).sequence, shortened(source.options(answer))
        configurations = [
            Configuration(variant.name, variant.model, sequence, options, 0.0)
            for variant in variants
        ]
        times = measure(configurations, max(1, rounds // 3))
        for own, variant, measurement in zip(found, variants, times, strict=True):
            peak = peak_alone(variant.bundle.path, sequence, options)
            own[answer] = {"seconds": measurement.median("seconds"), "peak_bytes": peak}
    return found

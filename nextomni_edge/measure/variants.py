"""Variants of one model and their measured speed on this machine. `bench` writes it, and `run
--variant` chooses by it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from nextomni_edge.bundle import Bundle, bundle_identity
from nextomni_edge.bundle.manifest import MANIFEST
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.files import atomic_write
from nextomni_edge.formats.strict_json import read_dataclass, read_json
from nextomni_edge.runtimes.base import Compute, Execution
from nextomni_edge.runtimes.machine import Machine
from nextomni_edge.spec import ComponentName

FORMAT: Final = "nextomni-edge-variants"
VERSION: Final = 2
NAME: Final = "variants.json"
MAX_VARIANTS: Final = 2**20
SIZE: Final = re.compile("[1-9][0-9]{0,8}")
MEASURE: Final = f"measure with `nextomni-edge bench BUNDLE... --save {NAME}`"


@dataclass(frozen=True)
class Variant:
    """A bundle at `folder`, relative to the file.

    runtime: the one that its backbone was measured on. Milliseconds are medians: of a backbone
    forward by its number of rows, and of a whole generation of the task.
    """

    folder: str
    identity: str
    runtime: str
    bytes: int
    forward_ms: dict[str, float]
    generation_ms: float

    def at(self, rows: int) -> float:
        """Milliseconds of a forward with this many rows: interpolated between the two nearest
        sizes; outside all sizes, those of the nearest."""
        sizes = sorted(map(int, self.forward_ms))
        return float(np.interp(rows, sizes, [self.forward_ms[str(size)] for size in sizes]))


@dataclass(frozen=True)
class Variants:
    """What variants.json holds. One run of `bench` measured all of them in turn, each on its own
    runtime."""

    format: Literal["nextomni-edge-variants"]
    version: Literal[2]
    machine: Machine
    provider: str | None
    compute: Compute
    task: str
    variants: tuple[Variant, ...]

    def write(self, path: Path) -> None:
        with atomic_write(path, "w") as file:
            json.dump(dataclasses.asdict(self), file, indent=1, allow_nan=False)
            file.write("\n")

    @property
    def smallest(self) -> Variant:
        return min(self.variants, key=lambda variant: variant.bytes)

    def fastest(self, rows: int) -> Variant:
        return min(self.variants, key=lambda variant: variant.at(rows))

    def check_machine(self, execution: Execution, where: Path) -> None:
        """InputError: another machine took the times, or they belong to another way to run than the
        one asked for."""
        here, runtimes = Machine.here(), {variant.runtime for variant in self.variants}
        if self.machine != here:
            raise InputError(
                f"{where}: measured on another machine ({self.machine}; this is {here}); {MEASURE}"
            )
        other = execution.runtime is not None and runtimes != {execution.runtime}
        if other or (self.provider, self.compute) != (execution.provider, execution.compute):
            raise InputError(
                f"{where}: measured with another --runtime, --provider or --compute than are asked"
                f" for; {MEASURE}"
            )


def measured(
    timed: Mapping[Path, tuple[Execution, dict[int, float], float]], task: str, where: Path
) -> Variants:
    """The measurement to write to `where`: how each bundle was run, seconds of its forwards by
    rows, and of a generation.

    All ran on one provider in one arithmetic. UsageError: a model directory, or bundles of several
    models.
    """
    found, configs = list[Variant](), []
    for path, (execution, forward, generation) in timed.items():
        if not (path / "manifest.json").is_file():
            raise UsageError(f"{path} is no bundle: variants to choose among are bundles")
        bundle = Bundle.open(path, verify_hashes=False)
        configs.append(bundle.config)
        times = {str(rows): 1e3 * seconds for rows, seconds in forward.items()}
        relative = Path(os.path.relpath(path, where.parent)).as_posix()
        runtime = (
            execution.of_format(bundle.manifest.components[ComponentName.BACKBONE].format).runtime
            or ""
        )
        found.append(
            Variant(
                relative,
                bundle_identity(path),
                runtime,
                stored_bytes(path),
                times,
                1e3 * generation,
            )
        )
    if any(config != configs[0] for config in configs):
        raise UsageError(
            f"{', '.join(map(str, timed))}: bundles of several models; variants to choose among are"
            " of one"
        )
    return Variants(
        FORMAT, VERSION, Machine.here(), execution.provider, execution.compute, task, tuple(found)
    )


def read_variants(path: Path) -> tuple[Path, Variants]:
    """variants.json at `path` or in the folder `path`, and its place. InputError: it is absent, or
    its bundles have changed."""
    file = path / NAME if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{path}: no {NAME} there, so no measurement to choose by; {MEASURE}")
    data = read_json(file, MAX_VARIANTS)
    if not isinstance(data, Mapping) or (data.get("format"), data.get("version")) != (
        FORMAT,
        VERSION,
    ):
        raise InputError(f"{file}: expected {FORMAT} version {VERSION}; {MEASURE}")
    found = read_dataclass(Variants, data, str(file))
    if not found.variants:
        raise InputError(f"{file}: no variants; {MEASURE}")
    for variant in found.variants:
        bundle = file.parent / variant.folder
        if not (bundle / "manifest.json").is_file():
            raise InputError(f"{file}: {bundle} is no bundle any more; {MEASURE}")
        if bundle_identity(bundle) != variant.identity:
            raise InputError(f"{file}: {bundle} is another bundle than was measured; {MEASURE}")
        if not variant.forward_ms or not all(SIZE.fullmatch(size) for size in variant.forward_ms):
            raise InputError(
                f"{file}: {variant.folder}: expected milliseconds by numbers of rows; {MEASURE}"
            )
    return file, found


def files_of(path: Path) -> list[Path]:
    """What is read where variants.json stands at `path` or in the folder `path`: that file and the
    bundles next to it. An output may stand there too. Elsewhere: `path`."""
    file = path / NAME if path.is_dir() else path
    if not file.is_file():
        return [path]
    return [file, *(child for child in file.parent.iterdir() if (child / MANIFEST).is_file())]


def stored_bytes(path: Path) -> int:
    """The bytes of all files of a bundle or a model directory."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())

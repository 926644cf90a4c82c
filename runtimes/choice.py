"""Which runtime a bundle runs on where nobody names one.

That is the default runtime of the bundle's format, unless `bench --choose` measured another one to
be faster for this very bundle on this machine. The measurement is kept in the user's cache folder
and counts only while the bundle, the processor, the number of threads and the versions of the
runtimes' libraries stay the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from nextomni_edge.bundle.reader import bundle_identity
from nextomni_edge.errors import InputError, MissingRuntimeError, UsageError
from nextomni_edge.files import atomic_write, user_cache
from nextomni_edge.formats.strict_json import read_dataclass, read_json
from nextomni_edge.runtimes.base import READERS, Execution, runtime
from nextomni_edge.runtimes.machine import Machine
from nextomni_edge.runtimes.tensorrt.cuda import devices
from nextomni_edge.spec import ComponentName

if TYPE_CHECKING:
    from nextomni_edge.bundle import Bundle

FORMAT: Final = "nextomni-edge-choice"
FOLDER: Final = "choices"
LARGEST: Final = 2**16  # bytes of a kept measurement
# What the runtimes that read ONNX graphs are installed from: another version is another speed.
DISTRIBUTIONS: Final = (
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
)


@dataclass(frozen=True)
class Choice:
    """How a bundle is to be run, and why on another runtime than its format's default (None: on
    the default, or on what was asked for). gpu: of a machine with one, whether it computes, or why
    it does not."""

    execution: Execution
    reason: str | None = None
    gpu: str | None = None


@dataclass(frozen=True)
class Kept:
    """A kept measurement of one bundle. seconds: by runtime and task, of loading and one
    generation, which is what `run` does. `times` says how many times as fast `runtime` was as the
    default of the format."""

    format: Literal["nextomni-edge-choice"]
    version: Literal[1]
    identity: str
    machine: Machine
    libraries: dict[str, str]
    runtime: str
    times: float
    seconds: dict[str, dict[str, float]]


def choose(bundle: Bundle, execution: Execution | None = None) -> Choice:
    """How `run`, `chat`, `bench`, `verify` and `doctor` run a bundle.

    An execution that names anything (a runtime, a provider, an arithmetic, a cache) is kept as it
    is. Otherwise the runtime is the one that was measured on this machine, or else the default of
    the format. A measurement that cannot be read counts as none.
    """
    found = _chosen(bundle, execution or Execution())
    return replace(found, gpu=_gpu(bundle, found.execution))


def _gpu(bundle: Bundle, execution: Execution) -> str | None:
    """What becomes of the GPU that NVIDIA's driver shows; None where there is none, or where a
    provider is named."""
    backbone = bundle.manifest.components.get(ComponentName.BACKBONE)
    if execution.provider is not None or backbone is None:
        return None
    try:
        gpu = devices()[0].name
    except MissingRuntimeError:
        return None
    how = execution.of_format(backbone.format)
    with contextlib.suppress(MissingRuntimeError, UsageError):  # opening the model tells them
        library = runtime(how.runtime or "", how)
        provider, wanted = library.auto_provider(), library.PLACES.get("cuda")
        if provider == wanted:
            return f"{library.NAME} runs on {gpu}"
        why = "it has no provider for one"
        if wanted:
            there = library.trouble(wanted) if wanted in library.providers() else None
            why = f"{there or f'this build has no {wanted}'}; {library.GPU_EXTRAS}"
        return (
            f"{gpu} is idle: {library.NAME} runs on {provider} ({why}); --device cpu says nothing"
        )
    return None


def _chosen(bundle: Bundle, asked: Execution) -> Choice:
    if asked != Execution() or ComponentName.BACKBONE not in bundle.manifest.components:
        return Choice(asked)
    with contextlib.suppress(InputError, UsageError, OSError):  # no cache is no measurement
        if found := kept(bundle.path):
            readers = READERS[bundle.manifest.components[ComponentName.BACKBONE].format]
            if found.runtime in readers[1:]:
                return Choice(
                    replace(asked, runtime=found.runtime),
                    f"measured {found.times:.2f} times as fast as {readers[0]} here",
                )
    return Choice(asked)


def kept(bundle: Path) -> Kept | None:
    """The kept measurement of a bundle as it is, on this machine as it is; None: there is none.
    InputError: the file is not what `keep` wrote."""
    file = _file(*_key(bundle))
    if not file.is_file():
        return None
    data = read_json(file, LARGEST)
    if not isinstance(data, Mapping) or (data.get("format"), data.get("version")) != (FORMAT, 1):
        raise InputError(f"{file}: expected {FORMAT} version 1; delete the file")
    return read_dataclass(Kept, data, str(file))


def keep(
    bundle: Path, runtime: str, times: float, seconds: Mapping[str, Mapping[str, float]]
) -> Path:
    """Keep a measurement, in place of an earlier one, and return its file. UsageError: the cache
    folder cannot be written."""
    identity, machine, libraries = _key(bundle)
    file = _file(identity, machine, libraries)
    file.parent.mkdir(parents=True, exist_ok=True)
    own = {name: dict(by_task) for name, by_task in seconds.items()}
    found = Kept(FORMAT, 1, identity, machine, libraries, runtime, times, own)
    with atomic_write(file, "w") as stream:
        json.dump(dataclasses.asdict(found), stream, indent=1, allow_nan=False)
        stream.write("\n")
    return file


def _key(bundle: Path) -> tuple[str, Machine, dict[str, str]]:
    """All that a measured time depends on."""
    libraries = {}
    for name in DISTRIBUTIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            libraries[name] = metadata.version(name)
    return bundle_identity(bundle), Machine.here(), libraries


def _file(identity: str, machine: Machine, libraries: Mapping[str, str]) -> Path:
    key = json.dumps([identity, dataclasses.asdict(machine), libraries], sort_keys=True)
    return user_cache() / FOLDER / f"{hashlib.sha256(key.encode()).hexdigest()}.json"

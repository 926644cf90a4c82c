"""A Swift package for Xcode: the bundle's Core ML packages, tokenizer, tables and golden trace, and
the loop in plain Swift.

The Swift sources are in `swift/` and follow the Python line by line. Numbers that the Python code
computed are their tests.
"""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.coreml_interface import Form
from nextomni_edge.bundle.coreml_package import PACKAGE as PACKAGE_ENDING
from nextomni_edge.bundle.coreml_package import read_package
from nextomni_edge.errors import InputError
from nextomni_edge.formats.regular import read_regular
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.steps import NOT_DRAWN
from nextomni_edge.outputs import OutputKind, output_directory
from nextomni_edge.pack import PackReport
from nextomni_edge.pack.loop import SUPPORTED, check_loop
from nextomni_edge.pack.naming import name_in, named_path, named_text, package_name
from nextomni_edge.spec import ComponentName
from nextomni_edge.tasks import Task
from nextomni_edge.verify import golden
from nextomni_edge.verify.comparison import tie
from nextomni_edge.verify.trajectory import Trajectory

SOURCES: Final = Path(__file__).with_name("swift")
MANIFEST: Final = "Package.swift"
# built at the side of the sources, no part of them
_BUILT: Final = (".build/", ".swiftpm/")
# the settings of Options.swift
SETTINGS: Final = (
    *SUPPORTED, "grid", "guidance_until", "draw_temperature", "max_blocks", "eos_threshold",
    "extend", "extend_until", "lead_tokens",
)  # fmt: skip


def sources() -> list[PurePosixPath]:
    """The files of the Swift package, relative to SOURCES, without what a build left there."""
    files = (path.relative_to(SOURCES) for path in sorted(SOURCES.rglob("*")) if path.is_file())
    names = (PurePosixPath(path.as_posix()) for path in files)
    return [name for name in names if not name.as_posix().startswith(_BUILT)]


def model_folder(name: str) -> PurePosixPath:
    """Where the package `name` holds the model."""
    return named_path(PurePosixPath("Sources/NextOmniCoreML/Model"), name)


def _contents(folder: Path) -> frozenset[str] | None:
    """The sources and the model of our own package, and what Xcode builds next to them."""
    try:
        found = read_regular(folder / MANIFEST).decode("utf-8", "replace")
    except InputError:
        return None
    name = name_in(found)
    ours = (SOURCES / MANIFEST).read_text(encoding="utf-8")
    if name is None or named_text(ours, name) != found:
        return None
    names = (named_path(path, name).as_posix() for path in sources())
    return frozenset((*names, f"{model_folder(name)}/", *_BUILT))


PACKAGE: Final = OutputKind("Swift package", MANIFEST, _contents)


def write(bundle: Bundle, out: Path, overwrite: bool) -> PackReport:
    """Write the folder `out`. The same bundle gives the same bytes.

    UsageError: `out` exists. InputError: components that are not Core ML packages, a tokenizer or a
    template that the Swift code does not support, or a bundle without a golden trace.
    """
    _check(bundle)
    trace = trace_json(bundle)
    with output_directory(out, PACKAGE, [bundle.path], overwrite) as folder:
        name = package_name(bundle.path.name)
        for path in sources():
            target = folder / named_path(path, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = (SOURCES / path).read_text(encoding="utf-8")
            target.write_text(named_text(text, name), encoding="utf-8")
        model = folder / model_folder(name)
        (model / "packages.json").write_text(json.dumps(_digests(bundle), indent=1) + "\n")
        (model / "config.json").write_text(json.dumps(bundle.config.to_json(), indent=1) + "\n")
        (model / "golden.json").write_text(
            json.dumps(trace, allow_nan=False, separators=(",", ":")) + "\n"
        )
        shutil.copyfile(bundle.tokenizer_path, model / "tokenizer.json")
        shutil.copyfile(
            bundle.path / bundle.manifest.metric_tables, model / "metric_tables.safetensors"
        )
        for name in bundle.manifest.files:
            if ".mlpackage/" in name:
                (model / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(bundle.path / name, model / name)
        files = [path for path in folder.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
    return PackReport(
        out,
        len(files),
        size,
        f"add the folder {out.name} to an Xcode project as a local package, and run its tests"
        " there",
    )


def _check(bundle: Bundle) -> None:
    for name, record in bundle.manifest.components.items():
        if "coreml" not in record.stored_as.runtimes:
            raise InputError(
                f"{bundle.path}: {name} is {record.format}, iOS runs Core ML packages; export with"
                " --target coreml"
            )
    check_loop(bundle, "Swift", settings=SETTINGS)
    if bundle.config.backbone.attention == "prefix" and _one_sequence(bundle):
        raise InputError(
            f"{bundle.path}: backbone.attention is 'prefix', and the Swift loop keeps no prompt in"
            " packages with --rows or --state; export without them"
        )


def _one_sequence(bundle: Bundle) -> bool:
    """Whether the backbone's packages take one sequence at a time: with a state, or with enumerated
    counts of rows."""
    return Form.of(read_package(bundle.component_file(ComponentName.BACKBONE))).single


def _digests(bundle: Bundle) -> dict[str, str]:
    """A digest of each package's content, by which a device keeps what it has compiled."""
    found: dict[str, Any] = {}
    for name, record in sorted(bundle.manifest.files.items()):
        package, _, file = name.partition(f"{PACKAGE_ENDING}/")
        if file:
            found.setdefault(package, sha256()).update(f"{file} {record.sha256}\n".encode())
    return {package: digest.hexdigest() for package, digest in found.items()}


def trace_json(bundle: Bundle) -> dict[str, Any]:
    """The whole generations of a bundle's golden trace as GoldenTraceTests.swift reads them.
    InputError: the bundle has none."""
    coarse = any(record.arithmetic == "float16" for record in bundle.manifest.components.values())
    tasks = [_task(task, trajectory) for task, trajectory in golden.read(bundle).tasks.values()]
    return {"tie": tie("float16" if coarse else "float32"), "tasks": tasks}


def _task(task: Task, trajectory: Trajectory) -> dict[str, Any]:
    options, segments = task.options, task.sequence.segments
    return {
        "name": task.name,
        **options_json(options),
        "segments": [
            {
                "modality": segment.modality,
                "frozen": segment.frozen,
                "tokens": rows([segment.tokens]),
            }
            for segment in segments
        ],
        "steps": [
            _step(trajectory, step)
            for step in range(min(len(trajectory.x_t[0]), options.all_steps))
        ],
        "tokens": [rows([tokens]) for tokens in trajectory.tokens],
    }


def options_json(options: GenerationOptions) -> dict[str, Any]:
    """The options that the Swift loop supports. A seed is a string: JSON numbers may lose its last
    bits."""
    names = {name: _camel(name) for name in SETTINGS} | {"steps": "optionSteps"}
    found = {written: getattr(options, name) for name, written in names.items()}
    return found | {"seed": str(options.seed), "grid": list(options.grid)}


def _camel(name: str) -> str:
    first, *more = name.split("_")
    return first + "".join(word.capitalize() for word in more)


def _step(trajectory: Trajectory, step: int) -> dict[str, Any]:
    drawn = bool((trajectory.x_1[0][step] != NOT_DRAWN).all())
    margin = min(float(margins[step].min()) for margins in trajectory.margins)
    return {
        "xt": rows([x_t[step] for x_t in trajectory.x_t]),
        "x1": rows([x_1[step] for x_1 in trajectory.x_1]) if drawn else None,
        "margin": margin if np.isfinite(margin) else None,
    }  # fmt: skip


def rows(parts: list[np.ndarray[Any, Any]]) -> list[list[int]]:
    """Tokens (n,) or (n,K) of several segments, one row after another; a text token is a row of
    one."""
    return [np.atleast_1d(row).tolist() for part in parts for row in part]

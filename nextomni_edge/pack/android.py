"""A Gradle module for Android: the bundle's graphs in ORT format, its tokenizer, tables and golden
trace as assets, and the loop in plain Kotlin.

The Kotlin sources are in `kotlin/` and follow the Python line by line. The app checks every file
against the manifest. Built, not executed on Android: the loop and its tests run on a desktop's JVM.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.manifest import ComponentRecord
from nextomni_edge.checkpoints.directory import file_sha256
from nextomni_edge.errors import GateError, InputError
from nextomni_edge.extras import needs_extra
from nextomni_edge.formats.strict_json import read_json
from nextomni_edge.outputs import OutputKind, output_directory
from nextomni_edge.pack import PackReport
from nextomni_edge.pack.loop import SUPPORTED, check_loop
from nextomni_edge.pack.wheel import licences
from nextomni_edge.verify import golden
from nextomni_edge.verify.comparison import (
    OTHER_PROCESSOR_TIE,
    Array,
    arithmetic_of,
    error,
    limit,
    multiplies_integers,
    tie,
    within,
)
from nextomni_edge.verify.components import MARGINS

SOURCES: Final = Path(__file__).with_name("kotlin")
PATHS: Final = ("metric", "mixture")  # that the loop computes without a commit step
MODEL: Final = "src/main/assets/nextomni"
MANIFEST: Final = f"{MODEL}/manifest.json"
FORM: Final = "nextomni-edge-android"
VERSION: Final = 1
MAX_MANIFEST: Final = 64 * 2**20
OPERATORS: Final = "required_operators.config"
BUILD: Final = "build.gradle.kts"
MOST: Final = 2**31 - 2**20  # bytes of a component: a FlatBuffer's offsets are signed, of 32 bits
RUNTIME: Final = "ONNXRUNTIME"  # of build.gradle.kts, where the version stands


def _contents(folder: Path) -> frozenset[str] | None:
    """The sources and the model of our own module, and what Gradle builds next to them."""
    try:
        data: Any = read_json(folder / MANIFEST, MAX_MANIFEST)
    except InputError:
        return None
    if not (isinstance(data, dict) and data.get("form") == FORM):
        return None
    names = (path.relative_to(SOURCES) for path in SOURCES.rglob("*") if path.is_file())
    others = (OPERATORS, *licences(), f"{MODEL}/", "build/", ".gradle/")
    return frozenset((*(name.as_posix() for name in names), *others))


MODULE: Final = OutputKind("Gradle module", MANIFEST, _contents)


def write(bundle: Bundle, out: Path, overwrite: bool) -> PackReport:
    """Write the folder `out`. ONNX Runtime writes the tables of a graph in another order each time,
    so two packs of one bundle differ in bytes.

    UsageError: `out` exists. InputError: components that are no ONNX graphs or too large, a model
    that the Kotlin code does not compute, or a bundle without a golden trace. GateError: a graph in
    ORT format does not give the golden trace's outputs. MissingRuntimeError: ONNX Runtime is not
    installed.
    """
    _check(bundle)
    trace = golden.read(bundle)
    with needs_extra("cpu", "onnxruntime"):
        from nextomni_edge.runtimes.onnx import ort_format
    with output_directory(out, MODULE, [bundle.path], overwrite) as folder:
        shutil.copytree(SOURCES, folder, dirs_exist_ok=True)
        build = folder / BUILD
        build.write_text(build.read_text().replace(RUNTIME, ort_format.version()))
        for name, text in licences().items():
            (folder / name).write_bytes(text)
        _write_model(bundle, folder / MODEL)
        for name, cases in trace.cases.items():
            run = ort_format.load(name, folder / MODEL / f"{name}{ort_format.ENDING}")
            for inputs, expected in cases.values():
                _check_outputs(bundle, name, run, inputs, expected)
        ort_format.required_operators([*(folder / MODEL).glob("*.ort")], folder / OPERATORS)
        files = [path for path in folder.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
    return PackReport(
        out,
        len(files),
        size,
        f"copy {out.name} into an Android project, and add"
        f' include(":{out.name}") to its settings.gradle.kts',
    )


def _check(bundle: Bundle) -> None:
    for name, record in bundle.manifest.components.items():
        if not record.stored_as.onnx:
            raise InputError(
                f"{bundle.path}: {name} is {record.format}, ONNX Runtime on Android runs ONNX"
                " graphs; export with --target onnx"
            )
        needed = (record.file, *bundle.component_weights(name))
        size = sum(bundle.manifest.files[file].size for file in needed)
        if any(decision.scheme == "blocks" for decision in record.quantisation.values()):
            raise InputError(
                f"{bundle.path}: {name} has weights in blocks (INT4), which ONNX Runtime computes"
                " wrongly in ORT format; quantize with an INT8 recipe"
            )
        if size > MOST:
            raise InputError(
                f"{bundle.path}: {name} has {size:,} bytes, a file in ORT format holds {MOST:,};"
                " quantize it first"
            )
    check_loop(bundle, "Kotlin", PATHS, (*SUPPORTED, "guidance_until"))


def _write_model(bundle: Bundle, folder: Path) -> None:
    """The graphs in ORT format, the other files as they are, and a manifest of all."""
    from nextomni_edge.runtimes.onnx.ort_format import ENDING, convert, version

    folder.mkdir(parents=True)
    components = {}
    for name, record in bundle.manifest.components.items():
        plain = record.precision == "float32" and not record.quantisation
        convert(name, bundle.component_file(name), folder / f"{name}{ENDING}", plain)
        components[name] = {"file": f"{name}{ENDING}", "limit": _limit(name, record)}
    trace = bundle.manifest.golden
    assert trace is not None  # check_loop read it
    for file in (bundle.manifest.tokenizer, bundle.manifest.metric_tables, trace.file):
        shutil.copyfile(bundle.path / file, folder / file)
    manifest = {
        "form": FORM,
        "version": VERSION,
        "onnxruntime": version(),
        "config": bundle.config.to_json(),
        "components": components,
        "tokenizer": bundle.manifest.tokenizer,
        "metric_tables": bundle.manifest.metric_tables,
        "golden": {"file": trace.file, "tie": _tie(bundle), **trace.data},
        "files": dict(_files(folder)),
    }
    (folder / Path(MANIFEST).name).write_text(json.dumps(manifest, indent=1) + "\n")


def _check_outputs(
    bundle: Bundle,
    name: str,
    run: Callable[[Mapping[str, Array], list[str]], list[Array]],
    inputs: Mapping[str, Array],
    expected: Mapping[str, Array],
) -> None:
    """GateError: other outputs than those of the golden trace, or other codes away from a tie."""
    most, names = _limit(name, bundle.manifest.components[name]), sorted({*expected} - {MARGINS})
    for output, found in zip(names, run(inputs, names), strict=True):
        if found.dtype.kind == "f":
            measured = error(found, expected[output])
        else:
            clear = expected[MARGINS] > _tie(bundle) if MARGINS in expected else True
            measured = float(((found != expected[output]) & clear).mean())
        if not within(measured, most):
            raise GateError(
                f"{bundle.path}: {output} of {name} differs by {measured:.1e} of its scale in ORT"
                f" format, limit {most:g}; this ONNX Runtime cannot pack it"
            )


def _limit(name: str, record: ComponentRecord) -> float:
    """The largest allowed error of a float output, relative to its scale. A phone is another kind
    of processor than the one that recorded the trace."""
    return limit(name, arithmetic_of(record, None, elsewhere=True))


def _tie(bundle: Bundle) -> float:
    """The margin within which a draw or a code may fall either way."""
    integers = any(map(multiplies_integers, bundle.manifest.components.values()))
    return OTHER_PROCESSOR_TIE if integers else tie("float32")


def _files(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the app checks of each file, by its name."""
    for path in sorted(folder.iterdir()):
        yield path.name, {"size": path.stat().st_size, "sha256": file_sha256(path)}

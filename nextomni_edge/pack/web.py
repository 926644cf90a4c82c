"""A folder that any static web server serves: the bundle in few files, onnxruntime-web, the loop in
plain JavaScript, and a page to try the model on.

The sources in `web/src` follow the Python line by line, and `web/page` is the page. The browser
checks every file of the bundle against its manifest.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.manifest import MANIFEST
from nextomni_edge.errors import InputError, MissingRuntimeError
from nextomni_edge.formats.regular import open_regular
from nextomni_edge.formats.strict_json import read_json
from nextomni_edge.outputs import OutputKind, output_directory
from nextomni_edge.pack import PackReport
from nextomni_edge.pack.loop import SUPPORTED, check_loop

SOURCES: Final = Path(__file__).with_name("web")
PATHS: Final = ("metric", "mixture")  # that the loop computes without a commit step
PAGE_FILES: Final = ("index.html", "service_worker.js")
PAGE_FOLDERS: Final = ("page", "src")
INDEX: Final = "index.json"
INDEX_VERSION: Final = 1
SHELL: Final = "shell.json"
FORM: Final = "nextomni-edge-page"
MAX_SHELL: Final = 2**20
RUNTIME: Final = "onnxruntime-web"
# of its folder dist → our name; plain servers know .js as a script, and not all of them .mjs
RUNTIME_FILES: Final = {
    "ort.wasm.bundle.min.mjs": "ort.js",
    "ort-wasm-simd-threaded.wasm": "ort.wasm",
}
RUNTIME_NOTICE: Final = (
    "ort/ holds files of onnxruntime-web {version}, https://www.npmjs.com/package/onnxruntime-web,\n"
    "MIT License, Copyright (c) Microsoft Corporation.\n"
    "src/ and the page are of nextomni-edge, Apache License 2.0. The model has its own license.\n"
)
MAX_PACKAGE: Final = 2**20
SHARD: Final = 256 * 2**20  # bytes from which the next file begins another shard
MOST: Final = 3 * 2**30  # bytes of a bundle: the memory of WebAssembly ends at 4 GiB
COPIED: Final = 2**20


def _contents(folder: Path) -> frozenset[str] | None:
    """The files that a page of ours lists, and the model."""
    try:
        data: Any = read_json(folder / SHELL, MAX_SHELL)
    except InputError:
        return None
    ours = isinstance(data, dict) and data.get("form") == FORM
    return frozenset([SHELL, "model/", *map(str, data["files"])]) if ours else None


PAGE: Final = OutputKind("page", SHELL, _contents)


def write(bundle: Bundle, out: Path, overwrite: bool, runtime: Path | None = None) -> PackReport:
    """Write the folder `out`. The same bundle and runtime give the same bytes. `runtime`: the
    folder of the npm package onnxruntime-web, by default that of node_modules here or above.

    UsageError: `out` exists. InputError: components that are no ONNX graphs, or a model that the
    page does not compute. MissingRuntimeError: onnxruntime-web is not there.
    """
    _check(bundle)
    package = _runtime(runtime)
    with output_directory(out, PAGE, [bundle.path], overwrite) as folder:
        for name in PAGE_FILES:
            shutil.copyfile(SOURCES / name, folder / name)
        for name in PAGE_FOLDERS:
            shutil.copytree(SOURCES / name, folder / name)
        (folder / "ort").mkdir()
        for name, own in RUNTIME_FILES.items():
            shutil.copyfile(package / "dist" / name, folder / "ort" / own)
        version = str(_package(package).get("version"))[:40]
        (folder / "NOTICE.txt").write_text(RUNTIME_NOTICE.format(version=version))
        shell = sorted(
            path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
        )
        (folder / SHELL).write_text(json.dumps({"form": FORM, "files": shell}, indent=1) + "\n")
        _write_model(bundle, folder / "model")
        files = [path for path in folder.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
    return PackReport(
        out, len(files), size, f"python -m http.server -d {out}, and open http://localhost:8000"
    )


def _check(bundle: Bundle) -> None:
    for name, record in bundle.manifest.components.items():
        if not record.stored_as.onnx:
            raise InputError(
                f"{bundle.path}: {name} is {record.format}, a browser runs ONNX graphs; export with"
                " --target onnx"
            )
    size = sum(record.size for record in bundle.manifest.files.values())
    if size > MOST:
        raise InputError(
            f"{bundle.path}: {size:,} bytes, a browser's WebAssembly holds {MOST:,}; quantize it"
            " first"
        )
    check_loop(bundle, "JavaScript", PATHS, (*SUPPORTED, "guidance_until"))


def _runtime(given: Path | None) -> Path:
    """The folder of the npm package onnxruntime-web."""
    here = Path.cwd()
    found = [given] if given else [up / "node_modules" / RUNTIME for up in (here, *here.parents)]
    for folder in found:
        if all((folder / "dist" / name).is_file() for name in RUNTIME_FILES):
            return folder
    where = f"{given} is not the npm package {RUNTIME}" if given else f"no {RUNTIME} here"
    raise MissingRuntimeError(
        f"{where}: `npm install {RUNTIME}` in this folder, or name the package's folder with"
        f" --{RUNTIME}"
    )


def _package(folder: Path) -> dict[str, Any]:
    data: Any = read_json(folder / "package.json", MAX_PACKAGE)
    return data if isinstance(data, dict) else {}


def _write_model(bundle: Bundle, folder: Path) -> None:
    """The manifest as it is, the files in shards, and the index that says where each stands."""
    folder.mkdir()
    shutil.copyfile(bundle.path / MANIFEST, folder / MANIFEST)
    shards: list[dict[str, Any]] = []
    places: dict[str, tuple[int, int]] = {}
    for names in _shards(bundle):
        part, digest, size = folder / "part", hashlib.sha256(), 0
        with part.open("wb") as file:
            for name in names:
                places[name] = (len(shards), size)
                size += _append(file, bundle.path / name, digest)
        shard = f"{digest.hexdigest()[:16]}.bin"
        part.rename(folder / shard)
        shards.append({"file": shard, "size": size})
    weights = {name: sorted(bundle.component_weights(name)) for name in bundle.manifest.components}
    index = {"version": INDEX_VERSION, "shards": shards, "files": places, "weights": weights}
    (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n")


def _shards(bundle: Bundle) -> Iterator[list[str]]:
    """The names of each shard's files. The golden trace, which only a check reads, is by itself."""
    golden = bundle.manifest.golden
    shard: list[str] = []
    size = 0
    for name, record in sorted(bundle.manifest.files.items()):
        if golden is not None and name == golden.file:
            continue
        if shard and size + record.size > SHARD:
            yield shard
            shard, size = [], 0
        shard.append(name)
        size += record.size
    yield shard
    if golden is not None:
        yield [golden.file]


def _append(file: IO[bytes], path: Path, digest: Any) -> int:
    """Copy a file to the end of another one, and its bytes into the digest. The number of
    bytes."""
    size = 0
    with open_regular(path) as source:
        while block := source.read(COPIED):
            file.write(block)
            digest.update(block)
            size += len(block)
    return size

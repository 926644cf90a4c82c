"""The golden trace: what the exported model computed, kept in the bundle so that any device can
show that it computes the same.

The file holds, as safetensors: `component/NAME/CASE/{input,output}/WIRE` (full float outputs),
`task/NAME/...` (whole generations: x_t and x_1 of every step, margins, what was decoded),
`preparation/KIND/INDEX/{given,made}` (see verify/preparation.py; older bundles have none), and
`digest/FILE`, the SHA-256 of every graph, weight, table and tokenizer as exported. The manifest
holds the rest: names, tasks, and where a component computes in integers, the recording processor's
features (`PROCESSOR`, see verify/processor.py).

What it proves. The outputs show that this runtime on this device computes what the exporter saw;
they cannot show the last bit of a weight, or a row of a table that no case touches. The digests do:
whoever changes a file, and its hash in the manifest with it, is found here, and the tensor is
named. They are no signature: who also rewrites this file, digests and outputs alike, is not found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.manifest import PROCESSOR
from nextomni_edge.checkpoints.directory import file_sha256
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.formats.onnx_read import read_graph
from nextomni_edge.formats.tensor_file import TensorFile
from nextomni_edge.tasks import Task, task_from_json, task_to_json
from nextomni_edge.verify.comparison import Array
from nextomni_edge.verify.golden_schema import check_data, check_trace
from nextomni_edge.verify.trajectory import Trajectory

FILE: Final = "golden.safetensors"
VERSION: Final = 1


class GoldenTrace:
    """The trace in memory: `cases` by component and case (inputs, outputs), `tasks` by name,
    `prepared` by kind and index (given, made), `digests` by file.

    `processor` is what `integer_features` said where the trace was recorded. It is empty where no
    component computes in integers, and where an older release recorded the trace.
    """

    def __init__(self) -> None:
        self.cases: dict[str, dict[str, tuple[dict[str, Array], dict[str, Array]]]] = {}
        self.tasks: dict[str, tuple[Task, Trajectory]] = {}
        self.prepared: dict[str, tuple[Array, Array]] = {}
        self.digests: dict[str, str] = {}
        self.processor: tuple[str, ...] = ()

    def tensors(self) -> dict[str, Array]:
        """The file's tensors."""
        found: dict[str, Array] = {
            f"digest/{name}": _packed(digest) for name, digest in self.digests.items()
        }
        for name, (content, made) in self.prepared.items():
            found |= {f"preparation/{name}/given": content, f"preparation/{name}/made": made}
        for component, cases in self.cases.items():
            for index, (inputs, outputs) in enumerate(cases.values()):
                found |= {
                    f"component/{component}/{index}/input/{name}": array
                    for name, array in inputs.items()
                }
                found |= {
                    f"component/{component}/{index}/output/{name}": array
                    for name, array in outputs.items()
                }
        for name, (task, trajectory) in self.tasks.items():
            segments = [segment.tokens for segment in task.sequence.segments]
            for key, arrays in {"segment": segments, **vars(trajectory)}.items():
                found |= {f"task/{name}/{key}/{index}": array for index, array in enumerate(arrays)}
        return found

    def data(self) -> dict[str, object]:
        """The data that goes with the tensors, for the manifest."""
        processor = {PROCESSOR: list(self.processor)} if self.processor else {}
        return processor | {
            "version": VERSION,
            "cases": {component: list(cases) for component, cases in self.cases.items()},
            "tasks": {name: task_to_json(task) for name, (task, _) in self.tasks.items()},
            "prepared": list(self.prepared),
        }


def read(bundle: Bundle) -> GoldenTrace:
    """A bundle's trace. InputError: the bundle has none, or another release wrote it."""
    file, data = bundle.golden()
    if data.get("version") != VERSION:
        raise InputError(
            f"{bundle.path}: golden trace of version {data.get('version')!r}, expected {VERSION};"
            " export the model again"
        )
    trace = GoldenTrace()
    try:
        check_data(data)
        _read(file, data, trace)
        check_trace(bundle, trace.cases, trace.tasks)
    except (KeyError, TypeError, ValueError, IndexError, UsageError) as error:
        raise InputError(
            f"{file.path}: the golden trace does not fit the manifest ({str(error)[:200]!a})"
        ) from error
    except InputError as error:
        raise InputError(f"{file.path}: the golden trace proves nothing: {error}") from error
    return trace


def _read(file: TensorFile, data: Mapping[str, Any], trace: GoldenTrace) -> None:
    tree: dict[str, dict[str, Array]] = {}
    for name in file.names():
        folder, _, leaf = name.rpartition("/")
        tree.setdefault(folder, {})[leaf] = file.tensor(name)
    for folder, leaves in tree.items():
        if folder == "digest" or folder.startswith("digest/"):
            prefix = folder.removeprefix("digest").lstrip("/")
            trace.digests |= {
                f"{prefix}/{leaf}".lstrip("/"): array.tobytes().hex()
                for leaf, array in leaves.items()
            }
    trace.processor = tuple(data.get(PROCESSOR, ()))
    for name in data.get("prepared", ()):
        leaves = tree[f"preparation/{name}"]
        trace.prepared[name] = (leaves["given"], leaves["made"])
    for component, names in data["cases"].items():
        trace.cases[component] = {}
        for index, case in enumerate(names):
            prefix = f"component/{component}/{index}"
            trace.cases[component][case] = (tree[f"{prefix}/input"], tree[f"{prefix}/output"])
    for name, task in data["tasks"].items():
        parts = {
            key: _numbered(tree.get(f"task/{name}/{key}", {}))
            for key in ("segment", "x_t", "x_1", "margins", "tokens", "decoded")
        }
        segments = parts.pop("segment")
        trace.tasks[name] = (task_from_json(name, task, list(segments)), Trajectory(**parts))


def _numbered(leaves: Mapping[str, Array]) -> tuple[Array, ...]:
    return tuple(leaves[str(index)] for index in range(len(leaves)))


def _packed(digest: str) -> Array:
    return np.frombuffer(bytes.fromhex(digest), np.uint8)


def digests(bundle: Bundle) -> dict[str, str]:
    """SHA-256 of every file that decides the results, computed from the files."""
    skipped = {bundle.manifest.golden.file} if bundle.manifest.golden else set()
    return {
        name: file_sha256(bundle.path / name)
        for name in bundle.manifest.files
        if name not in skipped
    }


def changed(bundle: Bundle, trace: GoldenTrace) -> Iterator[str]:
    """One line for each file that has changed since the export; for weights, one for each of their
    tensors."""
    now = digests(bundle)
    tensors = _tensors_by_file(bundle)
    for name in sorted(now.keys() | trace.digests.keys()):
        if now.get(name) == trace.digests.get(name):
            continue
        state = (
            "is not in the bundle any more"
            if name not in now
            else "was not exported"
            if name not in trace.digests
            else "was changed"
        )
        holds = f" (holds {', '.join(tensors[name])})" if name in tensors else ""
        yield f"file {name} {state} since the export{holds}"


def _tensors_by_file(bundle: Bundle) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for component, graph in bundle.manifest.components.items():
        if not graph.stored_as.onnx:
            continue  # its weights stand in a file that bears its name
        for tensor in read_graph(bundle.component_file(component)).tensors:
            if tensor.entries is not None:
                found.setdefault(dict(tensor.entries)["location"], []).append(
                    f"{component}: {tensor.name}"
                )
    return found

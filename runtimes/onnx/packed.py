"""A graph as ONNX Runtime optimised it, with its weights packed for this processor: written once to
the cache folder, and mapped into memory by every later start.

Packing copies each weight into private memory. A mapped copy takes no private memory, and
processes share its pages. A start is not faster: the library packs each weight once more to find
its copy. The file is two to three times as large as the bundle's, as it also holds the weights as
they were.

A copy counts while the file system says that nothing touched it or the files that it was made from
(see bundle/digests.py). It is trusted like a program, so only its owner may write the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import onnxruntime
from onnxruntime import InferenceSession, SessionOptions

from nextomni_edge.bundle.digests import file_state
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.formats.onnx_read import read_graph
from nextomni_edge.formats.strict_json import read_json
from nextomni_edge.outputs import OutputKind, output_directory
from nextomni_edge.runtimes.machine import Machine, integer_features

GRAPH: Final = "graph.onnx"
WEIGHTS: Final = "graph.weights"
RECORD: Final = "states.json"
LARGEST: Final = 2**16  # bytes of a record
SMALLEST: Final = 1024  # bytes of a weight that is mapped; a smaller one stands in the graph


# The folder's name is a digest, so what has these names in it is ours, and is written again.
COPY: Final = OutputKind("packed graph", RECORD, lambda _: frozenset((GRAPH, WEIGHTS, RECORD)))
Create = Callable[[Path, SessionOptions], InferenceSession]


def packed_session(
    cache: Path, component: str, file: Path, options: Callable[[], SessionOptions], create: Create
) -> InferenceSession:
    """A session of the packed copy of a graph, which is made first where there is none.

    `options` gives fresh options of a session, and `create` makes the session of a file.
    UsageError: the folder cannot be written, is full, or another process is writing the copy.
    """
    folder = cache / f"{component}-{_key(file)}.onnxruntime"
    if not _whole(folder):
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{cache}: no folder can be made there ({error.strerror}); give another --cache"
            ) from error
        _write(folder, file, options(), create)
    chosen = options()
    # the copy is optimised already
    chosen.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return create(folder / GRAPH, chosen)


def _write(folder: Path, file: Path, options: SessionOptions, create: Create) -> None:
    with output_directory(folder, COPY, [file], overwrite=True) as part:
        options.optimized_model_filepath = str(part / GRAPH)
        for name, value in (
            ("session.optimized_model_external_initializers_file_name", WEIGHTS),
            ("session.optimized_model_external_initializers_min_size_in_bytes", str(SMALLEST)),
            ("session.save_external_prepacked_constant_initializers", "1"),
        ):
            options.add_session_config_entry(name, value)
        create(file, options)
        states = {path.name: file_state(path) for path in part.iterdir()}
        (part / RECORD).write_text(json.dumps(states), encoding="utf-8")


def _whole(folder: Path) -> bool:
    """Whether the copy is there, and no file of it was touched since it was written."""
    with contextlib.suppress(InputError, OSError):
        states = read_json(folder / RECORD, LARGEST)
        if isinstance(states, dict) and GRAPH in states:
            return all(states[name] == file_state(folder / name) for name in states)
    return False


def _key(file: Path) -> str:
    """All that a packed copy depends on: the graph and its weights as they lie on the disk, the
    library, and the processor."""
    located = {
        dict(tensor.entries)["location"]
        for tensor in read_graph(file).tensors
        if tensor.entries is not None
    }
    key = [
        [file_state(path) for path in (file, *(file.parent / name for name in sorted(located)))],
        onnxruntime.__version__,
        Machine.here().processor,
        integer_features(),  # which also decide the options of a session
    ]
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]

"""Ways to change a bundle so that its manifest still agrees with its files: what only the golden
trace can tell."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from tests.bundle.damage import manifest, record

Change = Callable[[NDArray[Any]], None]  # edits the values in place


def copy(bundle: Path, out: Path) -> Path:
    shutil.copytree(bundle, out)
    return out


def tensor(path: Path, component: str, name: str, change: Change) -> None:
    """Change an initializer, inside the graph or in a file of its own, together with every name and
    hash that depends on it."""
    model = onnx.load(path / f"{component}.onnx", load_external_data=False)
    found = next(initializer for initializer in model.graph.initializer if initializer.name == name)
    if found.external_data:
        _weight(path, component, model, found, change)
    else:
        values = numpy_helper.to_array(found).copy()
        change(values)
        found.CopyFrom(numpy_helper.from_array(values, name))
        _save(path, component, model)


def attribute(path: Path, component: str, name: str, nudge: float) -> None:
    """Add `nudge` to every float attribute of this name."""
    model = onnx.load(path / f"{component}.onnx", load_external_data=False)
    touched = [found for node in model.graph.node for found in node.attribute if found.name == name]
    assert touched
    for found in touched:
        found.f += nudge
    _save(path, component, model)


def _weight(
    path: Path, component: str, model: onnx.ModelProto, found: onnx.TensorProto, change: Change
) -> None:
    old = next(entry for entry in found.external_data if entry.key == "location")
    dtype = onnx.helper.tensor_dtype_to_np_dtype(found.data_type)
    values = np.frombuffer((path / old.value).read_bytes(), dtype).copy()
    change(values)
    digest = hashlib.sha256(values.tobytes()).hexdigest()
    former, old.value = old.value, f"weights/{digest}"
    (path / old.value).write_bytes(values.tobytes())
    (path / former).unlink()  # the caller takes a tensor that one component uses
    manifest(lambda data: data["files"].pop(former))(path)
    record(path, old.value)
    _save(path, component, model)


def _save(path: Path, component: str, model: onnx.ModelProto) -> None:
    (path / f"{component}.onnx").write_bytes(model.SerializeToString())
    record(path, f"{component}.onnx")

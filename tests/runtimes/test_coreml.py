"""The Core ML runtime: the interpreter needs no library; Apple's is called with what it takes (by a
double: not run here)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.coreml_package import operator_counts
from nextomni_edge.errors import MissingRuntimeError
from nextomni_edge.graphs import graph_specs
from nextomni_edge.runtimes.base import runtime
from nextomni_edge.verify import verify

SCRIPT = """
import sys
blocked = ["coremltools", "torch", "onnx", "onnxruntime", "google.protobuf"]
sys.modules.update(dict.fromkeys(blocked))
from pathlib import Path
from nextomni_edge.verify import verify
report = verify(Path(sys.argv[1]))
print(report.runtime, len(report.tasks), report.failures, report.near_ties)
"""


def test_the_trace_replays_with_numpy_alone(tiny_coreml_bundle: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tiny_coreml_bundle)], capture_output=True, text=True,
        check=False
    )  # fmt: skip
    assert done.stdout == "coreml 9 [] 0\n", done.stderr


def test_a_package_is_verified_against_the_model(
    tiny_coreml_bundle: Path, tiny_checkpoint: Path
) -> None:
    assert verify(tiny_coreml_bundle, against=tiny_checkpoint).failures == []


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A double of Apple's library on a Mac: `predict` gives zeros; what it was given is kept."""
    seen: list[Any] = []

    class Model:
        def __init__(self, path: str, compute_units: str) -> None:
            seen.append((Path(path).name, compute_units))

        def predict(self, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            seen.append({name: (array.dtype.name, array.shape) for name, array in given.items()})
            batch, rows, _ = given["embeddings"].shape
            cache = np.zeros((2, batch, 2, rows, 12), np.float32)
            return {
                "hidden": np.zeros(given["embeddings"].shape, np.float32),
                "keys": cache,
                "values": cache,
            }

    units = {name: name for name in ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL")}
    library = SimpleNamespace(models=SimpleNamespace(MLModel=Model), ComputeUnit=units)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setitem(sys.modules, "coremltools", library)
    return seen


def backbone_inputs() -> dict[str, np.ndarray]:
    past = np.zeros((2, 1, 2, 0, 12), np.float32)
    return {
        "embeddings": np.zeros((1, 3, 48), np.float32), "positions": np.arange(3)[None],
        "attention_mask": np.ones((1, 3), np.bool_), "past_keys": past, "past_values": past,
    }  # fmt: skip


def test_apple_s_library_is_given_what_it_has(mac: list[Any], tiny_coreml_bundle: Path) -> None:
    bundle = Bundle.open(tiny_coreml_bundle)
    spec = graph_specs(bundle.config)["backbone"]
    session = runtime("coreml").load(
        "backbone", bundle.component_file("backbone"), spec, "CPU_AND_NE"
    )
    assert session.provider == "CPU_AND_NE" and mac == [("backbone.mlpackage", "CPU_AND_NE")]
    assert session.run(backbone_inputs(), {"hidden"})["hidden"].dtype == np.float32
    assert mac[1]["positions"] == ("int32", (1, 3)) and mac[1]["attention_mask"] == (
        "float32",
        (1, 4),
    )
    assert mac[1]["past_keys"] == ("float32", (2, 1, 2, 1, 12))


def test_apple_s_library_missing_says_how_to_install_it(
    mac: list[Any], tiny_coreml_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", None)
    bundle = Bundle.open(tiny_coreml_bundle)
    spec = graph_specs(bundle.config)["backbone"]
    with pytest.raises(
        MissingRuntimeError, match=r"install it with: pip install 'nextomni-edge\[coreml\]'$"
    ):
        runtime("coreml").load("backbone", bundle.component_file("backbone"), spec, "ALL")


def test_operators_are_counted_by_what_they_give(tiny_coreml_bundle: Path) -> None:
    counts = operator_counts(Bundle.open(tiny_coreml_bundle).component_file("text_head"))
    assert counts["float32"]["linear"] == 1 and "const" not in counts["float32"]

"""The session's door and the registry, without any vendor library."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from nextomni_edge.errors import InputError, MissingRuntimeError, UsageError
from nextomni_edge.runtimes.base import RUNTIMES, Array, NonFiniteError, Session, runtime
from nextomni_edge.spec import Dim, GraphSpec, TensorSpec

BATCH = Dim("batch", 1, 4)
SPEC = GraphSpec(
    "text_head",
    (TensorSpec("hidden", "float32", (BATCH, 3)),),
    (TensorSpec("logits", "float32", (BATCH, 2)), TensorSpec("codes", "int64", (BATCH,))),
)
HIDDEN = {"hidden": np.zeros((2, 3), np.float32)}


class Fixed(Session):
    """Answers with the arrays it was made with."""

    def __init__(self, **arrays: Array) -> None:
        super().__init__(SPEC, "numpy")
        self.arrays = arrays

    def _run(self, inputs: Mapping[str, Array], outputs: list[str]) -> dict[str, Array]:
        return {name: self.arrays[name] for name in outputs if name in self.arrays}


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"logits": np.zeros((2, 2), np.float32)}, "codes is missing"),
        (
            {"logits": np.zeros((2, 5), np.float32), "codes": np.zeros(2, np.int64)},
            "logits: axis 1 has size 5, expected 2",
        ),
        (
            {"logits": np.zeros((2, 2)), "codes": np.zeros(2, np.int64)},
            "logits: dtype float64, expected float32",
        ),
        (
            {"logits": np.zeros((3, 2), np.float32), "codes": np.zeros(3, np.int64)},
            "logits: axis 0 (batch) has size 3, but another tensor has 2",
        ),
    ],
)
def test_outputs_of_another_model_are_refused(arrays: dict[str, Array], sentence: str) -> None:
    with pytest.raises(InputError) as error:
        Fixed(**arrays).run(HIDDEN)
    assert (
        str(error.value) == f"text_head: output {sentence}; the file is not this model's text_head"
    )


@pytest.mark.parametrize(("value", "word"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_numbers_that_are_not_finite_are_refused(value: float, word: str) -> None:
    logits = np.zeros((2, 2), np.float32)
    logits[1, 0] = value
    with pytest.raises(NonFiniteError) as error:
        Fixed(logits=logits, codes=np.zeros(2, np.int64)).run(HIDDEN)
    assert str(error.value) == f"text_head: output logits is {word} at batch 1, axis 1: 0"
    assert error.value.exit_code == 4


def test_an_unknown_runtime_is_refused() -> None:
    with pytest.raises(
        UsageError,
        match=(
            r"^runtime 'abacus': expected one of coreml, llamacpp, onnx, openvino, tensorrt, torch$"
        ),
    ):
        runtime("abacus")


# one needs none, the other any of two
@pytest.mark.parametrize("name", sorted(RUNTIMES.keys() - {"coreml", "tensorrt"}))
def test_a_missing_library_says_how_to_install_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _, extra = RUNTIMES[name]
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(
        sys.modules, {"onnx": "onnxruntime", "llamacpp": "llama_cpp"}.get(name, name), None
    )
    with pytest.raises(MissingRuntimeError) as error:
        runtime(name)
    assert str(error.value).endswith(f"install it with: pip install 'nextomni-edge[{extra}]'")
    assert error.value.exit_code == 5


def test_the_registry_imports_no_library() -> None:
    code = (
        "import sys, nextomni_edge.runtimes.base as b; print(len(b.RUNTIMES), 'torch' in"
        " sys.modules, 'onnxruntime' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(RUNTIMES)), "False", "False"]


def test_a_graph_with_another_interface_is_refused(tmp_path: Path) -> None:
    inputs = [helper.make_tensor_value_info("hidden", TensorProto.INT64, ["batch", 3])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.INT64, ["batch", 3])]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["hidden"], ["logits"])], "text_head", inputs, outputs
    )
    file = tmp_path / "text_head.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10), file
    )
    with pytest.raises(InputError) as error:
        runtime("onnx").load("text_head", file, SPEC)
    expected = (
        f"text_head: {file} has inputs [('hidden', 'int64')], expected [('hidden', 'float32')]"
    )
    assert str(error.value) == expected

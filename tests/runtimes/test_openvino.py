"""What OpenVINO does of itself and must not: bfloat16 unasked, another device, grouped keys read
wrong; and its cache."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import InputError, MissingRuntimeError
from nextomni_edge.graphs import graph_specs
from nextomni_edge.runtimes.base import Execution, Session, runtime
from nextomni_edge.tasks import PLANS
from nextomni_edge.verify import verify
from tests.runtimes.linear import SPEC, linear

openvino = pytest.importorskip("openvino", reason="the OpenVINO runtime needs openvino")


def logits(session: Session) -> Any:
    return session.run(
        {"hidden": np.random.default_rng(1).standard_normal((2, 64)).astype(np.float32)}
    )["logits"]


def test_the_same_tokens_at_every_step_for_every_task(tiny_bundle: Path) -> None:
    report = verify(tiny_bundle, execution=Execution("openvino"))
    assert report.runtime == "openvino" and report.failures == [] and report.near_ties == 0
    assert report.tasks.keys() == {plan.name for plan in PLANS}
    assert all(result.draws > 0 for result in report.tasks.values())


def test_float32_is_float32_and_bfloat16_only_where_asked_for(tmp_path: Path) -> None:
    file = linear(tmp_path)
    exact = logits(runtime("onnx").load("text_head", file, SPEC))
    np.testing.assert_allclose(
        logits(runtime("openvino").load("text_head", file, SPEC)), exact, rtol=0, atol=1e-4
    )
    try:
        session = runtime("openvino", Execution(compute="bfloat16")).load("text_head", file, SPEC)
    except MissingRuntimeError as error:
        # a processor without it says so
        assert "bfloat16 was asked for, but CPU would compute in f" in str(error)
    else:
        assert 1e-3 < np.abs(logits(session) - exact).max() < 1.0


class Compiled:
    """A compiled model that runs elsewhere than asked for."""

    def __init__(self, devices: list[str], precision: Any) -> None:
        self.properties = {"EXECUTION_DEVICES": devices, "INFERENCE_PRECISION_HINT": precision}

    def get_property(self, name: str) -> Any:
        return self.properties[name]


def test_another_device_or_arithmetic_than_asked_for_is_refused() -> None:
    loader: Any = runtime("openvino")
    with pytest.raises(
        MissingRuntimeError, match=r"^text_head: provider CPU was asked for, but GPU\.0 would run$"
    ):
        loader._check_runs_as_asked("text_head", Compiled(["GPU.0"], openvino.Type.f32), "CPU")
    with pytest.raises(
        MissingRuntimeError,
        match=r"^text_head: float32 was asked for, but CPU would compute in bf16; ",
    ):
        loader._check_runs_as_asked("text_head", Compiled(["CPU"], openvino.Type.bf16), "CPU")


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.openvino"))


def test_a_compiled_model_is_kept_by_content_and_settings(tmp_path: Path) -> None:
    file, cache = linear(tmp_path), tmp_path / "cache"
    first = logits(runtime("openvino", Execution(cache=cache)).load("text_head", file, SPEC))
    (blob,) = kept(cache)
    written = blob.stat().st_mtime_ns
    again = logits(runtime("openvino", Execution(cache=cache)).load("text_head", file, SPEC))
    np.testing.assert_array_equal(first, again)
    assert [path.stat().st_mtime_ns for path in kept(cache)] == [written]  # read, not written again
    linear(tmp_path, scale=2.0)  # the graph is the same, its weight is not
    doubled = logits(runtime("openvino", Execution(cache=cache)).load("text_head", file, SPEC))
    np.testing.assert_allclose(doubled, 2 * first, rtol=1e-5)
    assert len(kept(cache)) == 2


@pytest.mark.parametrize("cut", [0, 10, 500])
def test_a_damaged_file_of_the_cache_is_compiled_again(tmp_path: Path, cut: int) -> None:
    file, cache = linear(tmp_path), tmp_path / "cache"
    first = logits(runtime("openvino", Execution(cache=cache)).load("text_head", file, SPEC))
    (blob,) = kept(cache)
    whole = blob.read_bytes()
    blob.write_bytes(whole[:cut])
    np.testing.assert_array_equal(
        logits(runtime("openvino", Execution(cache=cache)).load("text_head", file, SPEC)), first
    )
    assert len(blob.read_bytes()) == len(whole)


def test_grouped_keys_that_the_library_does_not_expand_are_refused(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    """Where it cannot read the number of heads it would multiply memory that is not its own; graphs
    of ours hold it."""
    spec = graph_specs(Bundle.open(tiny_bundle, verify_hashes=False).config)["backbone"]
    # onnx refuses a file with two names, which another test may give the shared bundle
    own = Path(shutil.copytree(tiny_bundle, tmp_path / "own"))
    model = onnx.load(own / "backbone.onnx")
    hide_heads(model)
    onnx.save(model, tmp_path / "backbone.onnx")
    with pytest.raises(
        InputError,
        match=r"^backbone: OpenVINO reads attention with \? query and .* key heads from ",
    ):
        runtime("openvino").load("backbone", tmp_path / "backbone.onnx", spec)


INTERRUPTED = """
import os, signal, sys, threading
from pathlib import Path
from nextomni_edge.runtimes.base import runtime
from tests.runtimes.linear import SPEC
file = Path(sys.argv[1])
signal.signal(signal.SIGINT, lambda *_: print("interrupted"))
kept = [runtime("openvino").load("text_head", file, SPEC) for _ in range(2)]
del kept[0]
thread = threading.Thread(target=kept.clear)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGINT)
print("alive")
"""


def test_an_interrupt_is_survived_after_sessions_ended_in_any_order_and_thread(
    tmp_path: Path,
) -> None:
    """A second core would leave this thread with a signal stack that is unmapped: the interrupt
    would be a segmentation fault."""
    ran = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, linear(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout.split()) == (0, ["interrupted", "alive"]), ran.stderr


def hide_heads(model: onnx.ModelProto) -> None:
    """Let the heads' number in each Reshape to (batch, rows, heads, head_dim) be −1, to be found
    when it runs."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    targets = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    for node in model.graph.node:
        if node.op_type == "Concat" and node.output[0] in targets and len(node.input) == 4:
            constants[node.input[2]].CopyFrom(
                numpy_helper.from_array(np.array([-1]), node.input[2])
            )

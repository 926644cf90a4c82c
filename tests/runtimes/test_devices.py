"""`--device`: the same of every runtime, the GPU that computes by default, and no silence where one
is idle. No GPU is here: what stands for one is said in each test."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.cli.verbs import doctor
from nextomni_edge.errors import MissingRuntimeError, UsageError
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.graphs import graph_specs
from nextomni_edge.runtimes import choice
from nextomni_edge.runtimes.base import Compute, Execution, runtime
from nextomni_edge.runtimes.choice import choose
from nextomni_edge.runtimes.onnx import runtime as onnx
from nextomni_edge.runtimes.tensorrt import cuda
from tests.calls import Invoke, answered, refused

PROMPT = ("--text", "a", "--to", "text", "--steps", "2")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> str:
    """A driver that shows a GPU."""
    name = "NVIDIA Orin"
    for module in (choice, cuda):
        monkeypatch.setattr(module, "devices", lambda: [SimpleNamespace(name=name)])
    return name


@pytest.fixture
def gpu_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime as onnxruntime-gpu is without CUDA's libraries: it lists the provider, and runs
    on the processor."""
    monkeypatch.setattr(onnx.OnnxRuntime, "providers", lambda self: [onnx.CUDA, onnx.CPU])
    onnx._trouble.cache_clear()


def test_the_processor_is_asked_for_alike(
    invoke: Invoke, tiny_bundle: Path, tiny_checkpoint: Path
) -> None:
    for path, more, provider in (
        (tiny_bundle, (), "CPUExecutionProvider"),
        (tiny_bundle, ("--runtime", "openvino"), "CPU"),
        (tiny_checkpoint, (), "cpu"),
    ):
        found = invoke("run", path, *PROMPT, *more, "--device", "cpu", "--json")
        assert answered(found)["provider"] == provider


def test_a_gpu_that_is_not_there_is_one_line(
    invoke: Invoke, tiny_bundle: Path, tiny_checkpoint: Path
) -> None:
    def asked(path: Path, *more: str) -> Any:
        return invoke("run", path, *PROMPT, "--device", "cuda", *more)

    refused(asked(tiny_bundle), 5, "'CUDAExecutionProvider' is not in this", "[gpu-cu13]")
    refused(asked(tiny_bundle, "--runtime", "openvino"), 2, "OpenVINO runs on cpu, not on cuda")
    refused(asked(tiny_checkpoint), 5, "'cuda' is not in this PyTorch", "a torch with CUDA")
    refused(asked(tiny_bundle, "--provider", "CPU"), 2, "--device and --provider: give one of them")
    assert answered(asked(tiny_bundle, "--allow-fallback", "--json"))["provider"].startswith("CPU")


def test_a_provider_that_runs_elsewhere_is_told(gpu_build: None, tiny_bundle: Path) -> None:
    found = runtime("onnx")
    assert found.trouble(onnx.CUDA) == "CPUExecutionProvider would run"
    assert found.trouble(onnx.CPU) is None
    assert found.choose_provider("backbone", None) == onnx.CPU
    model = EdgeModel.from_bundle(Bundle.open(tiny_bundle), Execution(provider="cuda"))
    words = r"asked for, but CPUExecutionProvider would run \(in place of onnxruntime install"
    with pytest.raises(MissingRuntimeError, match=words):
        model.session("text_head")


def test_a_gpu_that_is_idle_is_told_with_the_reason(gpu: str, tiny_bundle: Path) -> None:
    said = choose(Bundle.open(tiny_bundle)).gpu
    assert said is not None and said.startswith(
        f"{gpu} is idle: ONNX Runtime runs on CPUExecutionProvider (this build has no"
        " CUDAExecutionProvider; in place of onnxruntime install 'nextomni-edge[gpu-cu13]'"
    )
    assert choose(Bundle.open(tiny_bundle), Execution(provider="cpu")).gpu is None
    named = choose(Bundle.open(tiny_bundle), Execution("openvino")).gpu
    assert named is not None and "OpenVINO runs on CPU (it has no provider for one)" in named


def test_a_gpu_without_its_libraries_is_told(gpu: str, gpu_build: None, tiny_bundle: Path) -> None:
    said = choose(Bundle.open(tiny_bundle)).gpu
    assert said is not None and "(CPUExecutionProvider would run; in place of" in said
    (failed,) = [check for check in doctor.providers() if check.name == "product on cuda"]
    assert (failed.state, failed.failure) == ("FAIL", 5) and "[gpu-cu12]" in failed.detail


def test_a_gpu_that_computes_is_taken_and_told(
    gpu: str, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    """The processor's provider stands for the GPU's."""
    places = {"cuda": onnx.CPU, "cpu": "NoExecutionProvider"}
    monkeypatch.setattr(onnx.OnnxRuntime, "PLACES", places)
    monkeypatch.setattr(onnx.OnnxRuntime, "default_provider", lambda self: "NoExecutionProvider")
    assert choose(Bundle.open(tiny_bundle)).gpu == f"ONNX Runtime runs on {gpu}"
    ended = invoke("run", tiny_bundle, *PROMPT)
    assert ended.exit_code == 0 and f"ONNX Runtime runs on {gpu}" in ended.stderr


def test_doctor_computes_a_product_before_it_says_ok() -> None:
    onnx._trouble.cache_clear()
    checks = {check.name: check for check in doctor.providers()}
    assert checks["product on cpu"].detail == "right on CPUExecutionProvider"
    assert onnx._trouble.cache_info().misses == 1


def test_a_wrong_product_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "one_node", lambda *given: b"no graph")
    onnx._trouble.cache_clear()
    (check,) = [each for each in doctor.providers() if each.name == "product on cpu"]
    onnx._trouble.cache_clear()
    assert (check.state, check.failure) == ("FAIL", 5)


def test_cudas_libraries_are_loaded_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    called = []

    def preload() -> None:
        called.append(print("Failed to load libcublas.so.12"))

    monkeypatch.setattr(onnx.onnxruntime, "preload_dlls", preload)
    onnx._load_cuda.cache_clear()
    onnx._load_cuda()
    onnx._load_cuda.cache_clear()
    assert called == [None] and capfd.readouterr().out == ""


@pytest.mark.parametrize("compute", ["bfloat16", "float16"])
def test_torch_computes_in_half_precision_near_float32(
    tiny_checkpoint: Path, compute: Compute
) -> None:
    def hidden(how: Compute) -> np.ndarray:
        model = EdgeModel.from_checkpoint(tiny_checkpoint, Execution("torch", "cpu", how))
        session = model.session("backbone")
        sizes = {"batch": 2, "rows": 3, "past": 0, "attended": 3}
        rng = np.random.default_rng(0)
        given = {
            tensor.name: (
                np.ones(tensor.shape(sizes), np.bool_)
                if tensor.dtype == "bool"
                else np.abs(rng.standard_normal(tensor.shape(sizes))).astype(tensor.dtype)
            )
            for tensor in graph_specs(model.config)["backbone"].inputs
        }
        return session.run(given)["hidden"]

    whole, half = hidden("float32"), hidden(compute)
    assert half.dtype == np.float32 and not np.array_equal(whole, half)
    assert np.abs(half - whole).max() < 0.05 * np.abs(whole).max()


def test_only_known_devices_are_names_of_all_runtimes() -> None:
    with pytest.raises(UsageError, match="TensorRT runs on cuda, not on cpu"):
        from nextomni_edge.runtimes.tensorrt.runtime import TensorRtRuntime

        TensorRtRuntime.choose_provider(object.__new__(TensorRtRuntime), "backbone", "cpu")

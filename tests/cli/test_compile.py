"""`compile`, `export --target tensorrt` and `run --runtime tensorrt` as a person gives them, where
no GPU is."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.runtimes import machine
from nextomni_edge.runtimes.tensorrt import cuda
from nextomni_edge.runtimes.tensorrt.engines import memory_needed
from tests.calls import Invoke, answered, refused


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(
        "tensorrt_rtx", reason="engines are built by tensorrt-rtx (extra: tensorrt)"
    )
    monkeypatch.setattr(cuda, "LIBRARY", "libno_such_cuda.so.1")


def test_engines_are_built_for_another_machine(
    invoke: Invoke, no_gpu: None, tiny_bundle: Path, tmp_path: Path
) -> None:
    command = (
        "compile",
        tiny_bundle,
        "--capability",
        "sm89",
        "--components",
        "text_head",
        "--cache",
        tmp_path / "engines",
    )
    found = answered(invoke(*command, "--max-batch", "2", "--max-rows", "8", "--json"))
    assert found["executed"] is False and found["engines"]["text_head"]["built"] is True
    assert (tmp_path / "engines" / found["engines"]["text_head"]["file"]).is_file()
    again = invoke(*command, "--max-batch", "2", "--max-rows", "8")
    assert "the largest engine takes about 0.0 GB of memory while it is built" in again.stderr
    assert "was there: text_head-" in again.stdout and "built, not executed" in again.stdout


def test_what_a_build_needs_is_said_before_it_begins(
    invoke: Invoke, no_gpu: None, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3.5 times the weights of the largest component, against what is free."""
    monkeypatch.setattr(machine, "free_memory", lambda: 1000)
    command = ("compile", tiny_bundle, "--capability", "sm89", "--components", "text_head")
    said = invoke(*command, "--cache", tmp_path / "engines")
    assert said.exit_code == 0
    assert "warning: the largest engine takes about " in said.stderr
    assert "0.0 GB are free: stop other programs or add swap" in said.stderr
    bundle = Bundle.open(tiny_bundle)
    sizes = {
        name: sum(bundle.manifest.files[own].size for own in bundle.component_weights(name))
        for name in ("text_head", "backbone")
    }
    found = memory_needed(bundle, list(sizes), "float32")
    assert found == int(3.5 * max(sizes.values())) > memory_needed(bundle, sizes, "float16")


def test_a_capability_must_be_named_where_no_gpu_is(
    invoke: Invoke, no_gpu: None, tiny_bundle: Path
) -> None:
    refused(invoke("compile", tiny_bundle), 5, "no NVIDIA driver here", "--capability sm89")
    refused(
        invoke("compile", tiny_bundle, "--capability", "sm87"),
        2,
        "not for sm87",
        "pack --for jetson",
    )


def test_running_needs_a_gpu(invoke: Invoke, no_gpu: None, tiny_bundle: Path) -> None:
    refused(
        invoke("run", tiny_bundle, "--text", "a", "--runtime", "tensorrt"),
        5,
        "no NVIDIA driver here",
    )


def test_export_for_tensorrt_names_a_kind_of_gpu(
    invoke: Invoke, no_gpu: None, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    command = ("export", tiny_checkpoint, "-o", tmp_path / "b")
    refused(
        invoke(*command, "--target", "tensorrt"),
        2,
        "--target tensorrt and --capability smNN go together",
    )
    refused(invoke(*command, "--capability", "sm89"), 2, "go together")
    refused(invoke(*command, "--target", "tensorrt", "--capability", "sm87"), 2, "not for sm87")
    assert not list(tmp_path.iterdir())


def test_export_builds_engines_beside_the_bundle(
    invoke: Invoke, no_gpu: None, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    command = (
        "export",
        tiny_checkpoint,
        "-o",
        tmp_path / "b",
        "--components",
        "text_head",
        "--verify",
        "none",
    )
    found = answered(
        invoke(
            *command,
            "--target",
            "tensorrt",
            "--capability",
            "sm120",
            "--precision",
            "float16",
            "--json",
        )
    )
    assert found["engines"]["capability"] == "sm120" and found["engines"]["compute"] == "float16"
    assert [file.name.split("-")[0] for file in (tmp_path / "b.engines").iterdir()] == ["text_head"]


def test_doctor_tells_of_the_gpu_and_the_library(invoke: Invoke, no_gpu: None) -> None:
    checks = {check["name"]: check for check in answered(invoke("doctor", "--json"))["checks"]}
    assert checks["gpu"]["state"] == "none" and "no NVIDIA driver here" in checks["gpu"]["detail"]
    assert checks["tensorrt"]["state"] == "ok" and "sm89" in checks["tensorrt"]["detail"]

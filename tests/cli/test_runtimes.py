"""--runtime, --provider, --compute, --cache and --allow-fallback as a person gives them."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nextomni_edge.runtimes.choice import MEASURED_ON
from tests.calls import Invoke, answered, refused

Variant = Callable[[str], Path]
PROMPT = ("--text", "what is this?", "--seed", "3")


@pytest.fixture
def openvino() -> None:
    pytest.importorskip("openvino", reason="`run --runtime openvino` needs openvino")


def test_openvino_answers_as_onnx_runtime_does(
    invoke: Invoke, openvino: None, tiny_bundle: Path, tmp_path: Path
) -> None:
    for runtime in ("onnx", "openvino"):
        invoke(
            "run",
            tiny_bundle,
            *PROMPT,
            "--to",
            "image",
            "--runtime",
            runtime,
            "-o",
            tmp_path / f"{runtime}.png",
        )
    assert (tmp_path / "onnx.png").read_bytes() == (tmp_path / "openvino.png").read_bytes()


def test_the_answer_says_where_it_was_computed(
    invoke: Invoke, openvino: None, tiny_bundle: Path
) -> None:
    assert (
        answered(invoke("run", tiny_bundle, *PROMPT, "--json"))["provider"]
        == "CPUExecutionProvider"
    )
    assert (
        answered(invoke("run", tiny_bundle, *PROMPT, "--runtime", "openvino", "--json"))["provider"]
        == "CPU"
    )


def test_compiled_models_are_kept_where_asked(
    invoke: Invoke, openvino: None, tiny_bundle: Path, tmp_path: Path
) -> None:
    answers = [
        answered(
            invoke(
                "run",
                tiny_bundle,
                *PROMPT,
                "--runtime",
                "openvino",
                "--cache",
                tmp_path / "kept",
                "--json",
            )
        )["text"]
        for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert sorted(path.name.split("-")[0] for path in (tmp_path / "kept").iterdir()) == [
        "backbone",
        "embed_text",
        "text_head",
    ]


def test_verify_replays_on_another_runtime(
    invoke: Invoke, openvino: None, tiny_bundle: Path
) -> None:
    found = answered(invoke("verify", tiny_bundle, "--runtime", "openvino", "--json"))
    assert found["ok"] is True and found["runtime"] == "openvino" and found["near_ties"] == 0


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_provider_falls_back_only_where_it_may(
    invoke: Invoke, openvino: None, tiny_bundle: Path, runtime: str
) -> None:
    command = (
        "run",
        tiny_bundle,
        *PROMPT,
        "--runtime",
        runtime,
        "--provider",
        "MoonExecutionProvider",
    )
    refused(
        invoke(*command),
        5,
        "'MoonExecutionProvider' is not in this",
        "--allow-fallback runs on CPU",
    )
    assert answered(invoke(*command, "--allow-fallback", "--json"))["provider"].startswith("CPU")


def test_a_missing_library_is_told_with_the_command_that_installs_it(
    invoke: Invoke, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "nextomni_edge.runtimes.openvino", raising=False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    refused(
        invoke("run", tiny_bundle, *PROMPT, "--runtime", "openvino"),
        5,
        "runtime openvino: ",
        "pip install 'nextomni-edge[openvino]'",
    )


def test_core_ml_without_its_library_is_told_before_the_work(
    invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", None)
    command = ("export", tiny_checkpoint, "-o", tmp_path / "b", "--target", "coreml")
    refused(
        invoke(*command), 5, "coremltools is not installed", "pip install 'nextomni-edge[coreml]'"
    )
    assert not list(tmp_path.iterdir())


def test_arithmetic_that_the_runtime_has_not_is_refused(
    invoke: Invoke, tiny_bundle: Path, tiny_checkpoint: Path
) -> None:
    command = ("run", tiny_bundle, *PROMPT)
    refused(
        invoke(*command, "--compute", "float16"),
        2,
        "ONNX Runtime computes in float32 here; float16 was asked for",
    )
    refused(
        invoke(*command, "--cache", "kept"),
        2,
        "ONNX Runtime compiles nothing that could be kept in kept",
    )
    refused(
        invoke("run", tiny_checkpoint, *PROMPT, "--allow-fallback"),
        2,
        "is a model directory: it runs in torch alone",
    )


def test_a_core_ml_bundle_runs_and_is_shown(
    invoke: Invoke, tiny_coreml_bundle: Path, tiny_bundle: Path
) -> None:
    texts = [
        answered(invoke("run", bundle, *PROMPT, "--json"))
        for bundle in (tiny_coreml_bundle, tiny_bundle)
    ]
    assert texts[0]["text"] == texts[1]["text"] and texts[0]["provider"] == "interpreter"
    found = answered(invoke("inspect", tiny_coreml_bundle, "--json"))["components"]["backbone"]
    assert (
        found["format"] == "coreml"
        and found["file"] == "backbone.mlpackage"
        and found["weight_bytes"] > 4 * 36_000
    )
    refused(
        invoke("run", tiny_coreml_bundle, *PROMPT, "--runtime", "onnx"),
        2,
        "reads no component of this bundle (coreml)",
    )


@pytest.mark.skipif(
    platform.machine() not in MEASURED_ON, reason="the rule was measured on x86 alone"
)
def test_run_says_which_runtime_it_chose(
    invoke: Invoke, openvino: None, variant: Variant, tiny_bundle: Path
) -> None:
    ended = invoke("run", variant("int4"), *PROMPT, "--json")
    assert answered(ended)["provider"] == "CPU"
    said = (
        f"{variant('int4')} on openvino, the fastest runtime here for this bundle; --runtime names"
        " another\n"
    )
    assert ended.stderr.startswith(said)
    named = invoke("run", variant("int4"), *PROMPT, "--json", "--runtime", "onnx")
    assert answered(named)["provider"] == "CPUExecutionProvider" and "fastest" not in named.stderr
    assert "fastest" not in invoke("run", tiny_bundle, *PROMPT).stderr

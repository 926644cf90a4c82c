"""--runtime, --provider, --compute, --cache and --allow-fallback as a person gives them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nextomni_edge.files import user_cache
from nextomni_edge.runtimes import choice
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
        invoke("run", tiny_checkpoint, *PROMPT, "--allow-fallback"),
        2,
        "is a model directory, which only torch runs",
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


def test_run_stays_with_the_default_until_another_runtime_was_measured(
    invoke: Invoke, openvino: None, variant: Variant
) -> None:
    bundle = variant("int4")
    ended = invoke("run", bundle, *PROMPT, "--json")
    assert answered(ended)["provider"] == "CPUExecutionProvider" and ended.stderr == ""
    choice.keep(bundle, "openvino", 1.5, {})
    ended = invoke("run", bundle, *PROMPT, "--json")
    assert answered(ended)["provider"] == "CPU"
    assert ended.stderr == (
        f"{bundle} runs on openvino: measured 1.50 times as fast as onnx here; --runtime names"
        " another\n"
    )
    named = invoke("run", bundle, *PROMPT, "--json", "--runtime", "onnx")
    assert answered(named)["provider"] == "CPUExecutionProvider" and named.stderr == ""


def test_bench_measures_the_runtimes_and_keeps_which_to_take(
    invoke: Invoke, openvino: None, tiny_bundle: Path
) -> None:
    found = answered(invoke("bench", tiny_bundle, "--choose", "--json"))["choices"][0]
    assert found["seconds"].keys() >= {"onnx", "openvino"} and found["default"] == "onnx"
    assert found["times_as_fast"]["onnx"] == 1.0
    for tasks in found["seconds"].values():
        assert tasks.keys() == {"text-to-image", "image-to-text", "text-to-audio"}
        assert all(own["answer"] > own["load"] > 0 for own in tasks.values())
    kept = choice.kept(tiny_bundle)
    assert kept is not None and kept.runtime == found["runtime"]
    assert str(found["kept"]).startswith(str(user_cache()))


def test_what_bench_cannot_choose_for_is_refused(
    invoke: Invoke, tiny_bundle: Path, tiny_checkpoint: Path
) -> None:
    refused(
        invoke("bench", tiny_bundle, "--choose", "--runtime", "onnx"),
        2,
        "--choose compares the runtimes as they run by default",
    )
    refused(invoke("bench", tiny_checkpoint, "--choose"), 2, "it runs on PyTorch only")

"""The commands that make, check and show a bundle, and `run` on it; a person's mistakes with
each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.calls import Invoke, answered, refused
from tests.tiny import COMPONENTS


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle to damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def flip_a_byte(bundle: Path) -> str:
    """Change one byte of the largest weight, and nothing else; returns its name."""
    weight = max((bundle / "weights").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(weight.read_bytes())
    content[len(content) // 2] ^= 1
    weight.write_bytes(content)
    return weight.name


@pytest.mark.parametrize(
    ("kind", "suffix"), [("text", ".txt"), ("image", ".png"), ("audio", ".wav"), ("video", ".gif")]
)
def test_the_bundle_answers_as_the_model_does(
    invoke: Invoke,
    tiny_bundle: Path,
    tiny_checkpoint: Path,
    media: Path,
    tmp_path: Path,
    kind: str,
    suffix: str,
) -> None:
    for name, model in (("torch", tiny_checkpoint), ("onnx", tiny_bundle)):
        prompt = (
            "--image",
            media / "red.png",
            "--audio",
            media / "tone.wav",
            "--text",
            "what is this?",
            "--seed",
            "3",
        )
        assert (
            invoke(
                "run", model, *prompt, "--to", kind, "-o", tmp_path / f"{name}{suffix}"
            ).exit_code
            == 0
        )
    first, second = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("torch", "onnx"))
    assert len(first) == len(second)
    if kind != "audio":  # the last bit of a sample may differ
        assert first == second


def test_a_provider_that_is_not_here_is_refused(invoke: Invoke, tiny_bundle: Path) -> None:
    refused(
        invoke("run", tiny_bundle, "--text", "a", "--provider", "MoonExecutionProvider"),
        5,
        "'MoonExecutionProvider' is not in this",
    )


def test_an_unknown_runtime_is_refused(invoke: Invoke, tiny_bundle: Path) -> None:
    result = invoke("run", tiny_bundle, "--text", "a", "--runtime", "abacus")
    refused(
        result,
        2,
        "runtime 'abacus': expected one of coreml, llamacpp, onnx, openvino, tensorrt, torch",
    )


def test_a_damaged_bundle_is_refused(invoke: Invoke, copy: Path) -> None:
    name = flip_a_byte(copy)
    refused(invoke("run", copy, "--text", "a"), 3, f"weights/{name}", "sha256")
    refused(invoke("inspect", copy), 3, f"weights/{name}")
    assert invoke("inspect", copy, "--no-hashes").exit_code == 0


def test_inspect_shows_every_component(invoke: Invoke, tiny_bundle: Path) -> None:
    found = answered(invoke("inspect", tiny_bundle, "--json"))
    assert set(found["components"]) == set(COMPONENTS)
    backbone = found["components"]["backbone"]
    assert (
        "embeddings float32 (batch, rows, 48)" in backbone["inputs"]
        and backbone["weight_bytes"] > 4 * 36_000
    )
    assert found["bytes"] == sum(
        path.stat().st_size
        for path in tiny_bundle.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    )
    assert found["golden"] is True and found["config"]["backbone"]["hidden_size"] == 48
    shown = invoke("inspect", tiny_bundle).stdout
    assert all(name in shown for name in COMPONENTS) and "golden trace: yes" in shown


def test_inspect_diff_names_what_differs(invoke: Invoke, tiny_bundle: Path, copy: Path) -> None:
    assert invoke("inspect", tiny_bundle, "--diff", copy).stdout == "no difference\n"
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    manifest["provenance"]["versions"]["numpy"] = "0.0.1"
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    found = answered(invoke("inspect", tiny_bundle, "--diff", copy, "--json"))["differences"]
    assert [(change["what"], change["right"]) for change in found] == [
        ("provenance.versions.numpy", "0.0.1")
    ]


def test_verify_replays_the_trace(invoke: Invoke, tiny_bundle: Path) -> None:
    found = answered(invoke("verify", tiny_bundle, "--json"))
    assert (
        found["ok"] is True
        and found["failures"] == []
        and set(found["components"]) == set(COMPONENTS)
    )


def test_verify_ends_with_four_and_names_the_weight(invoke: Invoke, copy: Path) -> None:
    old = flip_a_byte(copy)
    rehash(copy, old)
    result = invoke("verify", copy, "--json")
    assert (
        result.exit_code == 4
        and result.stderr.startswith("error: ")
        and result.stderr.count("\n") == 1
    )
    found = json.loads(result.stdout)
    assert found["ok"] is False and found["failures"]
    shown = invoke("verify", copy)
    assert shown.exit_code == 4 and "FAIL: " in shown.stdout and "Traceback" not in shown.output


def test_doctor_reports_each_check_and_the_verdict(invoke: Invoke, tiny_bundle: Path) -> None:
    found = answered(invoke("doctor", tiny_bundle, "--json"))
    states = {check["name"]: check["state"] for check in found["checks"]}
    assert (
        found["ok"] is True
        and states["bundle"] == states["golden trace"] == states["onnxruntime"] == "ok"
    )
    assert invoke("doctor").stdout.endswith("all is well\n")


def test_doctor_ends_with_the_code_of_what_failed(
    invoke: Invoke, copy: Path, tmp_path: Path
) -> None:
    absent = invoke("doctor", tmp_path / "none")
    assert (
        absent.exit_code == 3
        and "FAIL  bundle" in absent.stdout
        and "checks failed: bundle" in absent.stdout
    )
    old = flip_a_byte(copy)
    damaged = invoke("doctor", copy)
    assert damaged.exit_code == 3 and "FAIL  bundle" in damaged.stdout
    rehash(copy, old)
    differing = invoke("doctor", copy)
    assert differing.exit_code == 4 and "FAIL  golden trace" in differing.stdout


def test_doctor_misses_a_library(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "nextomni_edge.cli.verbs.doctor.RUNTIME_LIBRARIES", ("onnxruntime-of-tomorrow",)
    )
    result = invoke("doctor")
    assert (
        result.exit_code == 5
        and "FAIL  onnxruntime" in result.stdout
        and "pip install 'nextomni-edge[cpu]'" in result.stdout
    )


def rehash(bundle: Path, old: str) -> None:
    """Make the manifest and the graphs agree with a changed weight, as someone would who knows the
    format."""
    import hashlib

    content = (bundle / "weights" / old).read_bytes()
    new = hashlib.sha256(content).hexdigest()
    (bundle / "weights" / old).rename(bundle / "weights" / new)
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    files = manifest["files"]
    files[f"weights/{new}"] = {"sha256": new, "size": files.pop(f"weights/{old}")["size"]}
    for graph in bundle.glob("*.onnx"):
        # the same length, so the protobuf stays well formed
        changed = graph.read_bytes().replace(old.encode(), new.encode())
        graph.write_bytes(changed)
        files[graph.name]["sha256"] = hashlib.sha256(changed).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_export_says_what_it_would_write(
    invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    found = answered(
        invoke(
            "export",
            tiny_checkpoint,
            "-o",
            tmp_path / "b",
            "--dry-run",
            "--components",
            "backbone,text_head",
            "--json",
        )
    )
    assert (
        list(found["parameters"]) == ["backbone", "text_head"]
        and found["dry_run"] is True
        and found["parity"] is None
    )
    assert not list(tmp_path.iterdir())


def test_export_refuses_what_cannot_be_meant(
    invoke: Invoke, tiny_checkpoint: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    refused(invoke("export", tmp_path / "none", "-o", tmp_path / "b"), 3, "none: no such directory")
    refused(
        invoke("export", tiny_checkpoint, "-o", tmp_path / "b", "--components", "backbon"),
        2,
        "did you mean 'backbone'?",
    )
    refused(
        invoke("export", tiny_checkpoint, "-o", tiny_bundle, "--components", "text_head"),
        2,
        "exists; choose another name or pass --overwrite",
    )
    refused(
        invoke("export", tiny_checkpoint, "-o", tmp_path / "b", "--target", "abacus"), 2, "'onnx'"
    )
    refused(
        invoke("export", tiny_checkpoint, "-o", tmp_path / "b", "--chunk-mb", "4"),
        2,
        "give --target coreml with them",
    )
    for given, sentence in (
        (("--rows", "32,x"), "'32,x': expected whole numbers"),
        (("--state",), "give --target coreml with them"),
    ):
        refused(invoke("export", tiny_checkpoint, "-o", tmp_path / "b", *given), 2, sentence)
    refused(invoke("export", tiny_checkpoint), 2, "Missing option '-o'")
    assert not (tmp_path / "b").exists()

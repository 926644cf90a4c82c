"""The commands that make, check and show a bundle, and `run` on it; a person's mistakes with
each."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

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
        if path.is_file() and path.name not in ("manifest.json", "config.json")
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


def test_inspect_and_export_show_the_parity_that_was_measured(
    invoke: Invoke, tiny_bundle: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    parity = json.loads((tiny_bundle / "manifest.json").read_text())["parity"]
    draws = sum(task["draws"] for task in parity["tasks"].values())
    worst = max(parity["components"], key=lambda name: parity["components"][name]["error"])
    lines = invoke("inspect", tiny_bundle).stdout.splitlines()
    first = lines.index("parity: compared with PyTorch, on onnx")
    assert f"9 generations, 72 steps, {draws:,} draws, 0 near ties" in lines[first + 1]
    assert f"{len(COMPONENTS)} components" in lines[first + 2]
    assert f"{parity['components'][worst]['error']:.1e} ({worst})" in lines[first + 2]
    few = ("--components", "embed_text")
    exported = invoke("export", tiny_checkpoint, "-o", tmp_path / "few", *few).stdout
    assert "parity: compared with PyTorch, on onnx\n" in exported
    assert "  0 generations, 0 steps, 0 draws, 0 near ties\n" in exported
    assert "  1 components, 0 codes, 0 near ties, largest errors of an output's scale:" in exported
    assert "not run: text-to-image: the bundle has no " in exported
    unchecked = invoke("export", tiny_checkpoint, "-o", tmp_path / "b", *few, "--verify", "none")
    assert "parity: not checked when it was made (--verify none)" in unchecked.stdout


@pytest.mark.parametrize(
    "parity",
    [
        {},
        {"check": "full"},
        {"check": "full", "tasks": [1], "components": {"a": 3, "b": {"error": "x"}}},
        {"check": 7, "tasks": None},
        {"check": "golden", "skipped": "nothing", "tasks": {"a": {"near_ties": 3}}},
    ],
)
def test_a_strangers_parity_is_shown_without_a_traceback(
    invoke: Invoke, copy: Path, parity: dict[str, object]
) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"parity": parity}))
    result = invoke("inspect", copy)
    assert result.exit_code == 0 and "parity: " in result.stdout


def test_inspect_diff_sums_up_and_lists_all_with_v(
    invoke: Invoke, tiny_bundle: Path, variant: Callable[[str], Path]
) -> None:
    other = variant("int4")
    short = invoke("inspect", tiny_bundle, "--diff", other).stdout.splitlines()
    assert short[0] == f"{tiny_bundle} -> {other}" and "times smaller" in short[1]
    layers = next(line for line in short if line.startswith("layers: none quantised -> "))
    assert " at 4 bits, blocks" in layers
    assert any(line.startswith("largest weight errors: ") for line in short)
    assert short[-1].endswith("differ; -v lists each") and len(short) < 40
    whole = invoke("inspect", tiny_bundle, "--diff", other, "-v").stdout.splitlines()
    found = answered(invoke("inspect", tiny_bundle, "--diff", other, "--json"))
    assert len(whole) == len(short) + len(found["differences"]) > 200
    summary = found["summary"]
    assert summary["bytes"][0] > summary["bytes"][1] and summary["schemes"][0] == {}
    layers_now = json.loads((other / "manifest.json").read_text())["components"]
    assert sum(summary["schemes"][1].values()) == sum(
        len(part["quantisation"]) for part in layers_now.values()
    )
    assert sum(summary["changes"].values()) == len(found["differences"])


@pytest.mark.parametrize(
    ("command", "overwritable"),
    [
        (("export", "MODEL", "-o", "OUT"), True),
        (("import", "MODEL", "-o", "OUT"), True),
        (("quantize", "BUNDLE", "-o", "OUT", "--recipe", "int8-dynamic"), True),
        (("calibrate", "BUNDLE", "-o", "OUT", "--random", "1"), False),
        (("report", "BUNDLE", "BUNDLE", "-o", "OUT"), False),
        (("pack", "BUNDLE", "--for", "jetson", "-o", "OUT"), True),
    ],
)
def test_an_output_that_cannot_be_is_told_before_anything_is_imported_or_read(
    invoke: Invoke,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    overwritable: bool,
) -> None:
    for library in ("torch", "onnx", "onnx_ir", "onnxruntime", "numpy"):
        monkeypatch.setitem(sys.modules, library, None)  # importing one raises
    out = tmp_path / "out"

    def call(place: Path) -> Result:
        # neither the model nor the bundle is there: nobody looked
        words = {"MODEL": tmp_path / "model", "BUNDLE": tmp_path / "bundle", "OUT": place}
        return invoke(*(words.get(word, word) for word in command))

    refused(call(out / "deep"), 2, f"{out / 'deep'}: the folder {out} does not exist")
    out.mkdir()
    refused(call(out), 2, f"{out} exists; choose another name")
    assert ("--overwrite" in call(out).stderr) is overwritable

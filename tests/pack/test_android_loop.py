"""The Kotlin loop on a desktop's JVM: the numbers that Python computed, runs that are drawn at
random, and a packed model's golden trace, with components that Python answers over a pipe."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from nextomni_edge.bundle import Bundle
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.steps import StepRecord
from nextomni_edge.pack import pack
from nextomni_edge.pack.android import MODEL
from nextomni_edge.pack.ios import options_json, rows
from nextomni_edge.tokens.chat import Part, Turn, conversation, respond
from tests.pack.integers import integer_model
from tests.pack.jvm import command, needs_compiler
from tests.pack.masked_vectors import segments_json
from tests.pack.replay import answered, replayed
from tests.pack.runs import drawn_at_random
from tests.pack.vectors import FOLDER, step_json

TESTS = 20  # at least so many sentences does Check.kt have


@pytest.fixture(scope="module", autouse=True)
def compiler() -> None:
    needs_compiler()


@pytest.fixture(scope="module")
def packed(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("android") / "nextomni"
    pack(Bundle.open(tiny_bundle), out, "android")
    return out


def test_the_loop_gives_the_numbers_that_python_computed() -> None:
    done = subprocess.run(
        command("Check", str(FOLDER)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (passed,) = re.findall(r"^(\d+) passed, 0 failed$", done.stdout, re.MULTILINE)
    assert int(passed) > TESTS


def test_the_golden_trace_of_a_packed_model_is_replayed_whole(
    packed: Path, tiny_bundle: Path
) -> None:
    model = EdgeModel.from_bundle(Bundle.open(tiny_bundle))
    (report,) = answered(command("Replay", "verify", str(packed / MODEL)), model)
    manifest = json.loads((packed / MODEL / "manifest.json").read_text())
    assert report["failures"] == [] and report["ties"] == []
    assert report["components"].keys() == manifest["components"].keys()
    assert report["draws"].keys() == manifest["golden"]["tasks"].keys()
    assert all(count > 0 for count in report["draws"].values())


def test_a_trace_of_another_model_fails(packed: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    """The tokens at the end of one task, and the outputs of one component, are others."""
    copy = Path(shutil.copytree(packed / MODEL, tmp_path / "copy"))
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["golden"]["tasks"]["text-to-image"]["options"]["seed"] += 1
    manifest["components"]["text_head"]["limit"] = -1.0
    path.write_text(json.dumps(manifest))
    model = EdgeModel.from_bundle(Bundle.open(tiny_bundle))
    (report,) = answered(command("Replay", "verify", str(copy)), model)
    first, *_ = report["failures"]
    assert first.startswith("text_head: logits differs by ")
    other = "text-to-image: x_t differs at step 0"
    assert any(line.startswith(other) for line in report["failures"])


def traced(config: Any, kind: Any, settings: dict[str, Any], model: EdgeModel) -> dict[str, Any]:
    """A run of Python's as a task of a trace."""
    said = conversation(model.tokenizer, [Turn("user", (Part("text", "a cat"),))])
    sequence = respond(said, kind, config, model.tokenizer, 1)
    records: list[StepRecord] = []
    options = GenerationOptions.defaults(config, kind, **settings)
    finished = generate(model, sequence, options, records.append)
    return {
        "name": json.dumps(settings),
        **options_json(options),
        "guidanceUntil": options.guidance_until,
        "segments": segments_json(sequence),
        "steps": [step_json(record) for record in records],
        "tokens": [rows([finished.segments[index].tokens]) for index in finished.generated()],
    }


def test_runs_drawn_at_random_have_the_tokens_of_python_at_every_step(tmp_path: Path) -> None:
    stored = json.loads((FOLDER / "loop.json").read_text())["tables"]
    tables = {name: np.array(table, np.float32) for name, table in stored.items()}
    save_file(tables, tmp_path / "tables.safetensors")
    cases: dict[str, tuple[EdgeModel, list[dict[str, Any]]]] = {}
    for config, kind, settings in drawn_at_random():
        key = json.dumps(config.to_json())
        model, tasks = cases.setdefault(
            key, (integer_model(config, FOLDER / "tokenizer.json", tables), [])
        )
        tasks.append(traced(config, kind, settings, model))
    assert len(cases) == 2
    for model, tasks in cases.values():
        draws = replayed(
            "kotlin", FOLDER / "tokenizer.json", tmp_path / "tables.safetensors",
            {"tasks": tasks}, model,
        )  # fmt: skip
        assert draws > 100


def test_a_damaged_or_foreign_folder_is_refused_in_one_sentence(
    packed: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    def said(folder: Path) -> str:
        done = subprocess.run(
            command("Replay", "verify", str(folder)), capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    copy = Path(shutil.copytree(packed / MODEL, tmp_path / "copy"))
    content = bytearray((copy / "tokenizer.json").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "tokenizer.json").write_bytes(content)
    assert "tokenizer.json is not what the manifest says (SHA-256)" in said(copy)
    (copy / "tokenizer.json").write_bytes(content[:-1])
    assert f"has {len(content) - 1} bytes, expected {len(content)}" in said(copy)
    assert "form '', expected nextomni-edge-android" in said(tiny_bundle)
    assert "no manifest.json; copy the whole folder here" in said(tmp_path)
    (copy / "manifest.json").write_text("{")
    assert "manifest.json: no JSON" in said(copy)


def test_an_app_installs_its_assets_once_and_again_where_they_changed(
    packed: Path, tmp_path: Path
) -> None:
    """Against stand-ins for Android and for ONNX Runtime, by which those two files are typed."""
    assets = packed / "src/main/assets"
    for changed in (False, False, True):
        files = tmp_path / "files" / "nextomni"
        if changed:
            (files / "manifest.json").unlink()
            (files / "left.ort").write_text("of an older model")
        done = subprocess.run(
            command("Install", str(assets), str(tmp_path / "files"), stand_in=True),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout == "installed 3 modalities\n"
        assert done.stderr.startswith("error: embed_text: ONNX Runtime failed (a stand-in ")
        for path in (packed / MODEL).iterdir():
            assert (files / path.name).read_bytes() == path.read_bytes()
        assert len(list(files.iterdir())) == len(list((packed / MODEL).iterdir()))

"""`import` as a person calls it, and what the imported model can then do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from tests.calls import Invoke, answered, refused
from tests.models.fudoki_oracle import fudoki_source


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return fudoki_source(tmp_path / "source")


def test_one_command_makes_a_model_of_a_published_folder(
    invoke: Invoke, source: Path, tmp_path: Path
) -> None:
    result = answered(invoke("import", source, "-o", tmp_path / "model", "--json"))
    assert (
        result["layout"] == "fudoki"
        and result["tensors"] == 354
        and result["referenced"] > result["copied"]
    )
    shown = invoke("import", source, "-o", tmp_path / "model", "--overwrite")
    assert (
        "354 tensors" in shown.stdout and "not used: 13 tensors (SigLIP's pooling" in shown.stdout
    )
    refused(
        invoke("import", source, "-o", tmp_path / "model"),
        2,
        "exists; choose another name or pass --overwrite",
    )


def test_the_imported_model_answers(invoke: Invoke, source: Path, tmp_path: Path) -> None:
    model, picture = tmp_path / "model", tmp_path / "cat.png"
    assert invoke("import", source, "-o", model).exit_code == 0
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(
        json.dumps(config | {"text": config["text"] | {"canvas": 90}})
    )
    drawn = invoke(
        "run", model, "--text", "draw a red cat", "--to", "image", "-o", picture, "--steps", "3"
    )
    assert drawn.exit_code == 0, drawn.output
    assert Image.open(picture).size == (64, 64)
    said = invoke("run", model, "--image", picture, "--text", "what is this ?", "--steps", "3")
    assert said.exit_code == 0, said.output
    sound = tmp_path / "tone.wav"
    sound.touch()
    refused(
        invoke("run", model, "--audio", sound, "--text", "a"),
        2,
        "this model takes text and image, no audio",
    )
    refused(
        invoke("run", model, "--text", "a", "--to", "audio", "-o", tmp_path / "a.wav"),
        2,
        "this model answers in text or image",
    )
    refused(
        invoke("run", model, "--text", "a", "--to", "video", "-o", tmp_path / "a.gif"),
        2,
        "this model answers in text or image",
    )
    refused(invoke("run", model, "--text", " a" * 90), 2, "positions: the model's canvas has 90")


def test_a_bad_source_is_one_line_and_nothing_is_written(
    invoke: Invoke, source: Path, tmp_path: Path
) -> None:
    tensors = load_file(source / "model.safetensors")
    save_file(
        {name: array for name, array in tensors.items() if "lm_head" not in name},
        source / "model.safetensors",
    )
    refused(
        invoke("import", source, "-o", tmp_path / "model"),
        3,
        "tensor language_model.lm_head.weight is missing",
    )
    weights = source / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    refused(
        invoke("import", source, "-o", tmp_path / "model"),
        3,
        "model.safetensors: tensors end at byte",
    )
    refused(invoke("import", tmp_path / "nothing", "-o", tmp_path / "model"), 3, "no such folder")
    refused(
        invoke("import", source, "-o", tmp_path / "model", "--layout", "qwen22"),
        2,
        "layout 'qwen22': did you mean 'qwen2'?",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_an_export_of_another_file_than_was_imported_is_refused(
    invoke: Invoke, source: Path, tmp_path: Path
) -> None:
    assert invoke("import", source, "-o", tmp_path / "model").exit_code == 0
    weights = source / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    changed = ("model.safetensors: sha256", "import the model again")
    refused(invoke("export", tmp_path / "model", "-o", tmp_path / "bundle"), 3, *changed)
    refused(
        invoke(
            "run", tmp_path / "model", "--text", "draw", "--to", "image", "-o", tmp_path / "a.png"
        ),
        3,
        *changed,
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "source"]

"""FUDOKI's recorded trajectories replayed token for token, with the recorded draws: in torch, and
through the exported graphs."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from nextomni_edge.bundle import Bundle
from nextomni_edge.cli import root
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.tokens.chat import Part, Turn, conversation, respond
from nextomni_edge.tokens.sequence import Sequence, unconditional
from nextomni_edge.verify import verify
from tests.models.fudoki_oracle import GOLDEN, IDS, fudoki_model, replay, sequence

CANVAS = 90  # of 516: text answers stay short


@pytest.fixture(scope="session")
def fudoki_checkpoint(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """The imported model, referring to its source beside it, with a small canvas."""

    def make(out: Path) -> None:
        shutil.rmtree(out, ignore_errors=True)
        config = fudoki_model(out) / "config.json"
        data = json.loads(config.read_text())
        config.write_text(json.dumps(data | {"text": data["text"] | {"canvas": CANVAS}}))

    return made_once("fudoki", make) / "model"


@pytest.fixture(scope="session")
def fudoki_bundle(
    fudoki_checkpoint: Path, made_once: Callable[[str, Callable[[Path], object]], Path]
) -> Path:
    """Its ONNX bundle, verified against PyTorch as it was written."""
    from nextomni_edge.export import export_bundle

    return made_once(
        "fudoki-bundle", lambda out: export_bundle(fudoki_checkpoint, out, overwrite=out.exists())
    )


@pytest.fixture(scope="session", params=["torch", pytest.param("onnx", marks=pytest.mark.slow)])
def model(request: pytest.FixtureRequest) -> EdgeModel:
    if request.param == "torch":
        return EdgeModel.from_checkpoint(request.getfixturevalue("fudoki_checkpoint"))
    return EdgeModel.from_bundle(Bundle.open(request.getfixturevalue("fudoki_bundle")))


@pytest.mark.parametrize("run", ["traj_gen", "traj_und"])
def test_a_trajectory_replays_token_for_token(model: EdgeModel, run: str) -> None:
    assert replay(model, run) <= {"traj_gen": 1e-5, "traj_und": 1e-5}[run]


def test_the_final_codes_decode_to_the_recorded_picture(model: EdgeModel) -> None:
    pixels = model.decode_image(GOLDEN["traj_gen.x_t"][-1][:, None])
    levels = ((pixels.transpose(1, 2, 0) + 1) / 2 * 255).astype(np.int64)
    assert np.abs(levels - GOLDEN["traj_gen.pixels_uint8"][0].astype(np.int64)).max() <= 1


def test_guidance_drops_what_fudoki_drops(model: EdgeModel) -> None:
    dropped = unconditional(sequence("gen", 1), model.tokenizer.special)
    ids = np.concatenate([segment.tokens.reshape(-1) for segment in dropped.segments])
    np.testing.assert_array_equal(ids, GOLDEN["gen.uncond_tokens"][1][: len(ids)])


def test_a_picture_is_asked_for_as_fudoki_asks(model: EdgeModel) -> None:
    """<BOS>, no system's words, roles in plain text, the picture between its markers at the end."""
    prompt = conversation(
        model.tokenizer, [Turn("user", (Part("text", "draw a red cat"),))], "image"
    )
    asked = respond(prompt, "image", model.config, model.tokenizer)
    texts = [segment.tokens.tolist() for segment in asked.segments if segment.modality == "text"]
    assert texts == [
        [IDS["bos"]],
        [0, 2, 7, 8, 9, 10, 1, 2],
        [IDS["begin_of_image"]],
        [IDS["end_of_image"]],
    ]
    options = GenerationOptions.defaults(model.config, "image", steps=4)
    assert options.guidance == 5.0 and options.temperature == 1.0
    answer = model.response(generate(model, asked, options))
    assert answer.kind == "image" and model.decode_image(answer.value).shape == (3, 64, 64)  # type: ignore[arg-type]


def test_a_text_answer_fills_the_canvas(model: EdgeModel) -> None:
    features = model.encode_image(np.zeros((3, 64, 64), np.float32))
    assert features.shape == (16, 64) and features.dtype == np.float32
    turn = Turn("user", (Part("image", features), Part("text", "what is this?")))
    asked = respond(conversation(model.tokenizer, [turn]), "text", model.config, model.tokenizer)
    assert asked.length == CANVAS and asked.segments[3].continuous
    finished = generate(model, asked, GenerationOptions.defaults(model.config, "text", steps=4))
    assert isinstance(model.response(finished).value, str)


def test_a_picture_has_codes_that_the_decoder_reads(model: EdgeModel) -> None:
    codes = model.quantise_image(GOLDEN["und.pixel_values"])
    assert codes.shape == (2, 16, 1) and not np.array_equal(*codes)
    assert model.decode_image(codes).shape == GOLDEN["und.pixel_values"].shape


@pytest.mark.slow
def test_the_bundle_is_the_model_and_a_device_can_check_it(
    fudoki_checkpoint: Path, fudoki_bundle: Path
) -> None:
    against = verify(fudoki_bundle, fudoki_checkpoint)
    assert set(against.tasks) == {"text-to-image", "image-to-text"} and len(against.components) == 8
    assert against.skipped["text-to-video"] == "the model's conversations hold no video"
    assert verify(fudoki_bundle).digests > 0


@pytest.mark.slow
def test_its_bundle_is_quantised_as_any_other(
    fudoki_checkpoint: Path, fudoki_bundle: Path, tmp_path: Path
) -> None:
    arguments = [
        "quantize",
        str(fudoki_bundle),
        "-o",
        str(tmp_path / "int8"),
        "--recipe",
        "int8-dynamic",
        "--json",
    ]
    result = CliRunner().invoke(root, arguments, prog_name="nextomni-edge")
    assert result.exit_code == 0, result.output
    before, after = (
        sum(file.stat().st_size for file in path.rglob("weights/*"))
        for path in (fudoki_bundle, tmp_path / "int8")
    )
    assert before > 3 * after
    verify(tmp_path / "int8", fudoki_checkpoint)


def test_a_feature_segment_is_given_and_never_generated() -> None:
    shown = sequence("und", 0, np.zeros((16, 64), np.float32))
    place = next(index for index, segment in enumerate(shown.segments) if segment.continuous)
    with pytest.raises(ValueError, match="image segment: int64 of rank 2 expected"):
        dataclasses.replace(shown.segments[place], frozen=False)
    assert isinstance(shown, Sequence) and shown.length == 42

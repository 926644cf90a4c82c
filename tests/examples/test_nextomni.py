"""The recipe of the paper as a person runs it: on a tiny model, with shards of every kind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nextomni_edge.models import native
from nextomni_edge.train.stages import Stage, read_stages
from tests.examples.media_shards import SAMPLES, write_shards
from tests.tiny import tiny_model

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "examples" / "nextomni"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny") / "model")


def train(model: Path, data: Path, out: Path, *more: object) -> tuple[int, str]:
    command = [
        sys.executable, "-m", "nextomni_edge", "train", RECIPE, "--init", model, "--out", out,
        "--data", data, "--stages", "rehearsal.json", *more,
    ]  # fmt: skip
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


def test_every_stage_trains_and_leaves_a_model(model: Path, data: Path, tmp_path: Path) -> None:
    code, said = train(model, data, tmp_path / "run")
    assert code == 0, said
    stages = read_stages(RECIPE / "rehearsal.json").stages
    states = [native.state(native.load(tmp_path / "run" / each.name / "model")) for each in stages]
    begun = native.state(native.load(model))
    changed = [{name for name in one if not torch.equal(one[name], two[name])}
               for one, two in zip([begun, *states], states, strict=False)]  # fmt: skip
    assert all(name.startswith(("image_", "embed_image.codebook")) for name in changed[0])
    assert all(name.startswith(("audio_", "embed_audio.codebook")) for name in changed[1])
    assert {"metric_tables.image", "metric_tables.audio"} < changed[2]
    assert changed[3] and not any("coder" in name or "codebook" in name for name in changed[3])
    codebook = states[1]["embed_image.codebook.entries"]
    unit = torch.nn.functional.normalize(codebook, dim=-1)
    torch.testing.assert_close(states[2]["metric_tables.image"], unit)


def test_a_sample_without_what_its_source_gives_is_one_line(
    model: Path, data: Path, tmp_path: Path
) -> None:
    own = tmp_path / "data"
    own.mkdir()
    for name in SAMPLES:
        (own / name).symlink_to(data / ("text-to-audio" if name == "text-to-image" else name))
    code, said = train(model, own, tmp_path / "run")
    assert code == 3 and "Traceback" not in said
    assert "source 'text-to-image': a sample has answer.wav, asked.txt, but no answer image" in said


def test_the_papers_stages_say_which_figures_are_the_papers() -> None:
    """Only what accounts of the paper give may be named."""
    stages: dict[str, Stage] = {
        each.name: each for each in read_stages(RECIPE / "stages.json").stages
    }
    assert [*stages] == ["image", "audio", "PT", "CPT", "SFT"]
    assert {name: each.accounts for name, each in stages.items() if each.trains == "flow"} == {
        "PT": ("name",), "CPT": ("name",), "SFT": ("name", "context"),
    }  # fmt: skip
    assert stages["SFT"].context == 16_384
    contexts = [each.context for each in stages.values() if each.context]
    assert contexts == sorted(contexts)
    assert json.loads((RECIPE / "stages.json").read_text())["model"] == "nextomni-7b"

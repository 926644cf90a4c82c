"""`train --init`: the model that a recipe is given to begin from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import CLIPVisionConfig, CLIPVisionModel

from nextomni_edge.config import ModelConfig
from nextomni_edge.models import native
from nextomni_edge.models.initial import read_part, with_sections
from nextomni_edge.tokens.text import TextTokenizer
from tests.calls import Invoke, answered, refused
from tests.cli.process import ended
from tests.models.published import VISION, published
from tests.tiny import tiny_config

RECIPE = """
import json, os, pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
out.mkdir(exist_ok=True)
(out / "arguments.json").write_text(json.dumps(sys.argv[1:]))
(out / f"process-{os.environ.get('RANK', 'alone')}-of-{os.environ.get('WORLD_SIZE', 1)}").touch()
"""


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    published(CLIPVisionModel(CLIPVisionConfig(**VISION)), tmp_path / "clip")
    return tmp_path / "clip"


@pytest.fixture
def recipe(tmp_path: Path, clip: Path) -> Path:
    """A recipe whose config takes CLIP's sizes, and that only says how it was called."""
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "train.py").write_text(RECIPE)
    config = with_sections(tiny_config(), read_part(f"clip={clip}"))
    (tmp_path / "recipe" / "config.json").write_text(json.dumps(config.to_json()))
    return tmp_path / "recipe"


def test_the_recipe_begins_from_the_published_parts(
    recipe: Path, clip: Path, tmp_path: Path
) -> None:
    code, _, errors = ended(
        "train", recipe, "--out", tmp_path / "run", "--init", f"clip={clip}", "--own", "option"
    )
    assert code == 0, errors
    asked = json.loads((tmp_path / "run" / "arguments.json").read_text())
    assert asked == [
        "--out",
        str(tmp_path / "run"),
        "--init",
        str(tmp_path / "run" / "initial"),
        "--own",
        "option",
    ]
    state, part = native.state(native.load(tmp_path / "run" / "initial")), read_part(f"clip={clip}")
    assert all(torch.equal(state[name], tensor) for name, tensor in part.tensors.items())


def test_a_model_directory_goes_to_the_recipe_as_it_is(recipe: Path, tmp_path: Path) -> None:
    assert ended("train", recipe, "--out", tmp_path / "run", "--init", tmp_path / "model")[0] == 0
    assert json.loads((tmp_path / "run" / "arguments.json").read_text())[2:] == [
        "--init",
        str(tmp_path / "model"),
    ]


def test_a_recipe_runs_in_as_many_processes_as_are_asked_for(recipe: Path, tmp_path: Path) -> None:
    assert ended("train", recipe, "--out", tmp_path / "run", "--processes", 2)[0] == 0
    assert sorted(path.name for path in (tmp_path / "run").glob("process-*")) == [
        "process-0-of-2",
        "process-1-of-2",
    ]


def test_parts_that_do_not_fit_are_one_line_before_the_recipe_starts(
    invoke: Invoke, recipe: Path, clip: Path, tmp_path: Path
) -> None:
    refused(
        invoke("train", recipe, "--out", tmp_path / "run", "--init", f"click={clip}"),
        2,
        "expected LAYOUT=FOLDER",
    )
    refused(
        invoke("train", recipe, "--out", tmp_path / "run", "--init", f"siglip={clip}"), 3, "missing"
    )
    (recipe / "config.json").write_text(json.dumps(tiny_config().to_json()))
    refused(
        invoke("train", recipe, "--out", tmp_path / "run", "--init", f"clip={clip}"),
        3,
        "the recipe's config.json says otherwise: image.encoder.",
    )
    assert not (tmp_path / "run").exists()


def test_special_tokens_that_a_tokenizer_lacks_are_named_and_added(
    recipe: Path, clip: Path, tmp_path: Path
) -> None:
    words = {"a": 0, "b": 1, "<|im_start|>": 2, "<|im_end|>": 3}
    made = Tokenizer(models.WordLevel(words, unk_token="a"))
    made.save(str(clip / "tokenizer.json"))
    call = ("train", recipe, "--init", f"clip={clip}", "--out")
    code, _, told = ended(*call, tmp_path / "run")
    assert code == 0, told
    assert "tokenizer.json lacks <|pad|>, <|eos|>, <|null|>, <|image_start|>" in told
    assert not (tmp_path / "run" / "initial" / "tokenizer.json").exists()
    assert ended(*call, tmp_path / "more", "--add-special-tokens")[0] == 0
    config = ModelConfig.load(recipe / "config.json")
    tokenizer = TextTokenizer(tmp_path / "more" / "initial" / "tokenizer.json", config.text)
    assert tokenizer.special.im_start == 2 and tokenizer.special.pad == 4


def test_added_tokens_need_rows_in_the_table(
    invoke: Invoke, recipe: Path, clip: Path, tmp_path: Path
) -> None:
    words = {f"word {index}": index for index in range(320)}
    Tokenizer(models.WordLevel(words, unk_token="word 0")).save(str(clip / "tokenizer.json"))
    call = ("train", recipe, "--init", f"clip={clip}", "--out", tmp_path / "run")
    refused(
        invoke(*call, "--add-special-tokens"), 3, "331 tokens with the special ones", "at least 331"
    )
    assert not (tmp_path / "run").exists()


def test_a_dry_run_says_what_every_stage_needs(
    invoke: Invoke, recipe: Path, tmp_path: Path
) -> None:
    source = {"name": "drawings", "weight": 2, "answer": "image"}
    stage = {"name": "PT", "steps": 3, "sequences": 8, "batch": 1, "context": 64, "shard": True,
             "mixture": [source], "accounts": ["name"]}  # fmt: skip
    (recipe / "stages.json").write_text(json.dumps({"stages": [stage]}))
    arguments = ("train", recipe, "--dry-run", "--device", "rtx-4060")
    found = answered(invoke(*arguments, "--processes", "2", "--json"))["stages"][0]
    assert found["tokens"] == 3 * 8 * 64 and found["operations"] > 0
    assert [row["processes"] for row in found["devices"]] == [1, 2, 8]
    assert all(row["fits"] and row["days_at_least"] > 0 for row in found["devices"])
    said = invoke(*arguments).stdout
    assert "GeForce RTX 4060" in said and "3 steps of 8 sequences of 64 rows" in said
    assert "from accounts of the paper: name; the other figures are the recipe's own" in said
    refused(invoke(*arguments, "--processes", "3"), 2, "no whole number of batches of 1 on each")


def test_a_recipe_that_declares_no_stages_has_no_dry_run(invoke: Invoke, recipe: Path) -> None:
    refused(invoke("train", recipe, "--dry-run"), 3, "no stages.json in it")
    refused(invoke("train", recipe), 2, "Missing option '--out'")
    refused(invoke("train", recipe, "--out", "x", "--device", "h100"), 2, "is for --dry-run")

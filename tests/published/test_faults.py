"""Folders that are no model this project reads: one sentence each, naming what was found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nextomni_edge.checkpoints.importing import import_model
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.models.networks import expected_shapes
from tests.published.goldens import FOLDER
from tests.published.models import image_tokenizer


def folder(tmp_path: Path, family: str, **changes: Any) -> Path:
    """A copy of a recorded checkpoint's folder with some keys of its config.json changed."""
    out = tmp_path / family
    out.mkdir()
    for name in ("model.safetensors", "tokenizer.json"):
        shutil.copyfile(FOLDER / family / name, out / name)
    config = json.loads((FOLDER / family / "config.json").read_text()) | changes
    (out / "config.json").write_text(json.dumps(config))
    return out


def imported(source: Path, tmp_path: Path, **options: Any) -> None:
    import_model(source, tmp_path / "out", expected_shapes, **options)


@pytest.mark.parametrize(
    ("family", "changes", "sentence"),
    [
        ("llada", {"model_type": "llada2_moe"},
         r"LLaDA2 is a mixture-of-experts block-diffusion model: not supported; layouts"),
        ("llada", {"model_type": "sdar"}, r"SDAR is a block-diffusion model: not supported"),
        ("llada", {"mask_token_id": 317},
         r"config.json says mask_token_id 317, but tokenizer.json has <\|mdm_mask\|> at 316$"),
        ("llada", {"eos_token_id": 5},
         r"config.json says eos_token_id 5, but tokenizer.json has <\|endoftext\|> at 301$"),
        ("llada", {"embedding_size": 320},
         r"tokenizer.json: 329 tokens, but config.json has an embedding_size of 320$"),
        ("llada", {"block_type": "sequential"},
         r"config.json: block_type is 'sequential', expected 'llama': this layout"),
        ("llada", {"alibi": True}, r"config.json: alibi is 'True', expected False"),
        ("llada", {"n_heads": 5}, r"backbone.hidden_size must be a multiple of query_heads"),
        ("llada", {"mlp_hidden_size": 180},
         r"blocks.0.ff_proj.weight has shape \(176, 64\), config.json asks"),
        ("mmada", {"num_vq_tokens": 15},
         r"config.json: num_vq_tokens is 15, expected a square$"),
        ("mmada", {"embedding_size": 380},
         r"329 tokens and 64 image codes, but config.json has an embedding_size of 380$"),
        ("dream", {"mask_token_id": None},
         r"config.json says mask_token_id None, but tokenizer.json has <\|mask\|> at 322$"),
        ("dream", {"vocab_size": 300}, r"tokenizer.json: \d+ tokens, but config.json has"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_named(
    family: str, changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    source = folder(tmp_path, family, **changes)
    with pytest.raises(InputError, match=sentence) as caught:
        imported(source, tmp_path, image_tokenizer=image_tokenizer(family))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_layout_that_would_sample_it_wrongly_refuses_dream(tmp_path: Path) -> None:
    source = folder(tmp_path, "dream")
    with pytest.raises(InputError, match=r"Dream is no autoregressive model: leave --layout"):
        imported(source, tmp_path, layout="qwen2")


def test_pickled_shards_are_not_read_but_named_with_what_to_do(tmp_path: Path) -> None:
    source = folder(tmp_path, "llada")
    (source / "model.safetensors").unlink()
    (source / "pytorch_model-00001-of-00002.bin").write_bytes(b"\x80\x04")
    with pytest.raises(
        InputError,
        match=r"of-00002.bin: a pickle, which can run code and is not read; convert",
    ):
        imported(source, tmp_path)


def test_an_image_tokenizer_of_another_kind_is_named(tmp_path: Path) -> None:
    beside = tmp_path / "vae"
    shutil.copytree(FOLDER / "vq_amused" / "vqvae", beside)
    config = json.loads((beside / "config.json").read_text())
    for changes, sentence in (
        (
            {"_class_name": "AutoencoderKL"},
            r"is a 'AutoencoderKL', expected one of MAGVITv2",
        ),
        ({"act_fn": "relu"}, r"the image tokenizer's act_fn is 'relu', expected 'silu'$"),
    ):
        (beside / "config.json").write_text(json.dumps(config | changes))
        with pytest.raises(InputError, match=sentence):
            imported(FOLDER / "lumina_dimoo", tmp_path, image_tokenizer=beside)
    (beside / "diffusion_pytorch_model.safetensors").rename(beside / "weights.bin")
    with pytest.raises(InputError, match=r"weights.bin: a pickle, which can run code"):
        imported(FOLDER / "lumina_dimoo", tmp_path, image_tokenizer=beside)


def test_without_its_image_tokenizer_a_model_answers_in_text(tmp_path: Path) -> None:
    imported(FOLDER / "mmada", tmp_path)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["modalities"] == ["text"]


def test_the_image_tokenizer_is_found_inside_the_folder(tmp_path: Path) -> None:
    source = folder(tmp_path, "lumina_dimoo")
    shutil.copytree(FOLDER / "vq_amused" / "vqvae", source / "vqvae")
    imported(source, tmp_path, copy=True)
    found = json.loads((tmp_path / "out" / "config.json").read_text())["modalities"]
    assert found == ["text", "image"]
    assert (tmp_path / "out" / "image_tokenizer-diffusion_pytorch_model.safetensors").is_file()


def test_an_unknown_layout_is_offered_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^layout 'lada': did you mean 'llada'\?$"):
        imported(FOLDER / "llada", tmp_path, layout="lada")

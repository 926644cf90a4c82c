"""A native model's first weights from published parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    WhisperConfig,
    WhisperModel,
)

from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import InputError
from nextomni_edge.models import native
from nextomni_edge.models.initial import read_part, with_sections, write_initial
from tests.models.published import LANGUAGE, VISION, published
from tests.tiny import tiny_config


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A published folder of each of the paper's three parts, tiny."""
    root = tmp_path_factory.mktemp("published")
    whisper = WhisperConfig(
        d_model=32, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=128,
        decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=64, num_mel_bins=80,
        max_source_positions=16, max_target_positions=8, vocab_size=60, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=3,
    )  # fmt: skip
    published(Qwen2ForCausalLM(Qwen2Config(**LANGUAGE)), root / "qwen2")
    published(CLIPVisionModel(CLIPVisionConfig(**VISION)), root / "clip")
    published(WhisperModel(whisper), root / "whisper")
    return [f"{name}={root / name}" for name in ("qwen2", "clip", "whisper")]


def fitting(folders: list[str]) -> ModelConfig:
    config = tiny_config()
    for spec in folders:
        config = with_sections(config, read_part(spec))
    return config


def test_the_three_parts_of_the_paper_make_one_model(folders: list[str], tmp_path: Path) -> None:
    parts = [read_part(spec) for spec in folders]
    assert write_initial(fitting(folders), parts, tmp_path / "model", None) == []
    state = native.state(native.load(tmp_path / "model"))
    for part in parts:
        assert all(torch.equal(state[name], tensor) for name, tensor in part.tensors.items())
    torch.testing.assert_close(state["metric_tables.audio"].norm(dim=-1), torch.ones(2, 16))


def test_two_parts_of_one_kind_are_refused(folders: list[str], tmp_path: Path) -> None:
    part = read_part(folders[0])
    other = type(part)("llama", part.path, part.sections, part.tensors)
    with pytest.raises(InputError, match="--init llama and --init qwen2 both hold backbone"):
        write_initial(fitting(folders), [part, other], tmp_path / "model", None)


def test_a_config_written_with_a_part_says_what_clip_needs(folders: list[str]) -> None:
    encoder = json.loads(json.dumps(fitting(folders).to_json()))["image"]["encoder"]
    assert encoder == {
        "width": 32, "layers": 2, "heads": 4, "activation": "quick_gelu", "class_token": True,
        "first_norm": True,
    }  # fmt: skip

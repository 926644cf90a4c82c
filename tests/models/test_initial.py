"""A native model's first weights from published parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
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
from nextomni_edge.models.resized import patches, positions
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


SECTIONS = {
    "heads": ("qwen2", "backbone", {"query_heads": 2, "kv_heads": 2}, "query_heads is 2"),
    "a RoPE base": (
        "qwen2",
        "backbone",
        {"rope_base": 5e5},
        "rope_base is 500000.0, the part's is",
    ),
    "a norm's constant": ("qwen2", "backbone", {"rms_norm_eps": 1e-5}, "rms_norm_eps is 1e-05"),
    "tied tables": ("qwen2", "text", {"tied_head": True}, "tied_head is True"),
    "an activation": ("clip", "image.encoder", {"activation": "gelu"}, "activation is gelu"),
    "heads of a tower": ("whisper", "audio.encoder", {"heads": 4}, "audio.encoder.heads is 4"),
    "a tower's norm": ("clip", "image.encoder", {"norm_eps": 1e-3}, "norm_eps is 0.001"),
}


@pytest.mark.parametrize("name", SECTIONS)
def test_a_part_that_was_trained_with_other_values_is_refused(
    folders: list[str], tmp_path: Path, name: str
) -> None:
    """Its tensors would fit, and what it computes would be wrong."""
    layout, section, change, sentence = SECTIONS[name]
    data = fitting(folders).to_json()
    place = data
    for key in section.split("."):
        place = place[key]
    place.update(change)
    (spec,) = [spec for spec in folders if spec.startswith(layout)]
    with pytest.raises(InputError, match=r"the recipe's config\.json says otherwise") as caught:
        write_initial(ModelConfig.from_json(data), [read_part(spec)], tmp_path / "model", None)
    assert sentence in str(caught.value)


def test_another_vocabulary_and_a_shorter_context_are_no_fault(
    folders: list[str], tmp_path: Path
) -> None:
    data = fitting(folders).to_json()
    data["text"] |= {"vocabulary_size": 300, "tied_head": True}
    data["backbone"]["max_positions"] = 64
    left = write_initial(
        ModelConfig.from_json(data), [read_part(folders[0])], tmp_path / "model", None
    )
    assert [line.split()[0] for line in left] == ["embed_text.weight", "text_head.weight"]


def test_clip_begins_at_another_size_and_patch(folders: list[str], tmp_path: Path) -> None:
    part, data = read_part(folders[1]), fitting(folders).to_json()
    data["image"] |= {"size": 64, "patch": 16}
    left = write_initial(ModelConfig.from_json(data), [part], tmp_path / "model", None)
    assert len(left) == 2 and all("interpolated to" in line for line in left)
    state = native.state(native.load(tmp_path / "model"))
    kept = {name for name in part.tensors if "patch.weight" not in name and "positions" not in name}
    assert all(torch.equal(state[name], part.tensors[name]) for name in kept)


def test_a_resized_patch_answers_as_the_published_one_on_a_resized_picture() -> None:
    """Exactly where the larger patch is the smaller one, resized: B⁺ᵀ·w is then its solution."""
    torch.manual_seed(0)
    filters, patch = torch.randn(5, 3, 4, 4), torch.randn(1, 3, 4, 4)
    larger = F.interpolate(patch, (6, 6), mode="bicubic", antialias=True)
    found = (patches(filters, 6) * larger).sum(dim=(1, 2, 3))
    torch.testing.assert_close(found, (filters * patch).sum(dim=(1, 2, 3)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(patches(filters, 4), filters, atol=1e-5, rtol=1e-5)


def test_resized_positions_keep_the_class_token_and_a_flat_grid() -> None:
    table = torch.cat((torch.full((1, 3), 7.0), torch.ones(16, 3)))
    found = positions(table, 1 + 81)
    assert found is not None and torch.equal(found[0], table[0])
    torch.testing.assert_close(found[1:], torch.ones(81, 3))
    assert positions(table, 81) is None and positions(torch.ones(15, 3), 16) is None

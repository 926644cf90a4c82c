"""Published architectures against `transformers` (random weights): each comes through its layout,
as a user's checkpoint would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SiglipVisionConfig,
    SiglipVisionModel,
    WhisperConfig,
    WhisperModel,
)

from nextomni_edge.checkpoints.importing import import_model
from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.models.initial import initialise, read_part, with_sections
from nextomni_edge.models.networks import expected_shapes
from nextomni_edge.models.omni import OmniModel
from tests.models.published import LANGUAGE, VISION, native, published
from tests.tiny import tiny_config

TIGHT = 1e-5


@torch.no_grad()
def causal_logits(model: OmniModel, tokens: torch.Tensor) -> torch.Tensor:
    """One row after another over a growing cache: every row sees the rows before it alone, which is
    the causal mask."""
    backbone, past = model.backbone, model.backbone.empty_past(len(tokens))
    keys, values, rows = past, past, []
    for position in range(tokens.shape[1]):
        row = model.embed_text(tokens[:, position : position + 1])
        at, mask = (
            torch.full((len(tokens), 1), position),
            torch.ones(len(tokens), position + 1, dtype=torch.bool),
        )
        hidden, key, value = backbone(row, at, mask, keys, values)
        keys, values = torch.cat((keys, key), dim=3), torch.cat((values, value), dim=3)
        rows.append(model.text_head(hidden))
    return torch.cat(rows, dim=1)


@pytest.mark.parametrize(
    ("layout", "make"),
    [
        ("qwen2", lambda: Qwen2ForCausalLM(Qwen2Config(**LANGUAGE))),
        (
            "qwen2",
            lambda: Qwen2ForCausalLM(Qwen2Config(**LANGUAGE | {"tie_word_embeddings": True})),
        ),
        ("qwen3", lambda: Qwen3ForCausalLM(Qwen3Config(**LANGUAGE | {"head_dim": 24}))),
        ("llama", lambda: LlamaForCausalLM(LlamaConfig(**LANGUAGE))),
        (
            "llama",
            lambda: LlamaForCausalLM(
                LlamaConfig(**LANGUAGE | {"num_key_value_heads": 4, "rope_theta": 5e5})
            ),
        ),
    ],
    ids=["qwen2", "qwen2-tied", "qwen3", "llama", "llama-mha"],
)
@torch.no_grad()
def test_a_language_model_with_its_causal_mask_on(
    tmp_path: Path, layout: str, make: Callable[[], PreTrainedModel]
) -> None:
    oracle = published(make(), tmp_path)
    tokens = torch.randint(0, 70, (2, 11), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        causal_logits(native(f"{layout}={tmp_path}"), tokens),
        oracle(tokens).logits,
        atol=TIGHT,
        rtol=TIGHT,
    )


@pytest.mark.parametrize("whole", [False, True], ids=["tower", "in-clip"])
@torch.no_grad()
def test_clip_s_vision_tower(tmp_path: Path, whole: bool) -> None:
    if whole:
        text = {
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "vocab_size": 20,
        }
        oracle = published(
            CLIPModel(CLIPConfig(vision_config=VISION, text_config=text)), tmp_path
        ).vision_model
    else:
        oracle = published(CLIPVisionModel(CLIPVisionConfig(**VISION)), tmp_path)
    encoder = native(f"clip={tmp_path}").image_encoder
    pixels = torch.randn(2, 3, 24, 24)
    found = encoder.rows(pixels)
    for block in encoder.transformer.blocks:
        found = block(found)
    expected = oracle(pixels)
    torch.testing.assert_close(found, expected.last_hidden_state, atol=TIGHT, rtol=TIGHT)
    torch.testing.assert_close(
        encoder.transformer.norm(found)[:, 0], expected.pooler_output, atol=TIGHT, rtol=TIGHT
    )
    assert encoder.latents(pixels).shape[1] == 9  # the class token's row stays out


@torch.no_grad()
def test_siglip_s_vision_tower(tmp_path: Path) -> None:
    oracle = published(SiglipVisionModel(SiglipVisionConfig(**VISION)), tmp_path)
    encoder, pixels = native(f"siglip={tmp_path}").image_encoder, torch.randn(2, 3, 24, 24)
    torch.testing.assert_close(
        encoder.transformer(encoder.rows(pixels)),
        oracle(pixels).last_hidden_state,
        atol=TIGHT,
        rtol=TIGHT,
    )


@torch.no_grad()
def test_whisper_s_encoder(tmp_path: Path) -> None:
    config = WhisperConfig(
        d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=128,
        decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=64, num_mel_bins=20,
        max_source_positions=16, max_target_positions=8, vocab_size=60, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=3,
    )  # fmt: skip
    oracle = published(WhisperModel(config), tmp_path)
    encoder, mel = native(f"whisper={tmp_path}").audio_encoder, torch.randn(2, 4, 8, 20)
    expected = oracle.encoder(mel.flatten(1, 2).transpose(1, 2)).last_hidden_state
    torch.testing.assert_close(encoder.features(mel), expected, atol=TIGHT, rtol=TIGHT)
    assert oracle.encoder.layers[0].self_attn.k_proj.bias is None


def test_an_imported_part_is_one_too_and_is_no_whole_model(tmp_path: Path) -> None:
    published(CLIPVisionModel(CLIPVisionConfig(**VISION)), tmp_path / "clip")
    report = import_model(tmp_path / "clip", tmp_path / "part", expected_shapes)
    assert report.layout == "clip" and report.copied == 0
    first, second = (read_part(f"clip={tmp_path / name}") for name in ("clip", "part"))
    assert first.tensors.keys() == second.tensors.keys()
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)
    from nextomni_edge.checkpoints.directory import Checkpoint

    with pytest.raises(InputError, match=r"a part of a model \(layout clip\)"):
        Checkpoint.open(tmp_path / "part")
    with pytest.raises(InputError, match="imported with layout clip, not siglip"):
        read_part(f"siglip={tmp_path / 'part'}")


def test_a_part_that_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    published(Qwen2ForCausalLM(Qwen2Config(**LANGUAGE)), tmp_path)
    part = read_part(f"qwen2={tmp_path}")
    with pytest.raises(InputError, match=r"backbone\.layers is 2, the part's is 3"):
        initialise(OmniModel(tiny_config()), part)
    config = with_sections(tiny_config(), part)
    with pytest.raises(InputError, match=r"backbone\.kv_heads is 4, the part's is 2"):
        initialise(
            OmniModel(
                ModelConfig.from_json(
                    config.to_json() | {"backbone": {**part.sections["backbone"], "kv_heads": 4}}
                )
            ),
            part,
        )
    with pytest.raises(UsageError, match="expected LAYOUT=FOLDER"):
        read_part("qwen9=here")


def test_a_tokenizer_of_its_own_keeps_its_own_tables(tmp_path: Path) -> None:
    published(Qwen2ForCausalLM(Qwen2Config(**LANGUAGE)), tmp_path)
    part = read_part(f"qwen2={tmp_path}")
    config = with_sections(tiny_config(), part).to_json()
    model = OmniModel(
        ModelConfig.from_json(config | {"text": config["text"] | {"vocabulary_size": 90}})
    )
    left = initialise(model, part)
    assert [line.split()[0] for line in left] == ["embed_text.weight", "text_head.weight"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"intermediate_size": 96},
            "mlp.fc1.weight has shape (128, 32), config.json asks for (96, 32)",
        ),
        ({"hidden_act": "relu"}, "hidden_act is 'relu', expected one of"),
        ({"num_hidden_layers": 3}, "layers.2.layer_norm1.weight is missing"),
        (
            {"patch_size": 12},
            "patch_embedding.weight has shape (32, 3, 8, 8), config.json asks for (32, 3, 12, 12)",
        ),
    ],
)
def test_an_encoder_s_config_that_disagrees_is_one_sentence(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    published(CLIPVisionModel(CLIPVisionConfig(**VISION)), tmp_path / "clip")
    path = tmp_path / "clip" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError) as caught:
        import_model(tmp_path / "clip", tmp_path / "part", expected_shapes)
    assert words in str(caught.value) and not (tmp_path / "part").exists()

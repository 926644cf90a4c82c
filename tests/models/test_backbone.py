"""The backbone against `transformers`' Qwen2 under a full mask, and against itself with a cache."""

import dataclasses

import pytest
import torch
from transformers import Qwen2Config, Qwen2Model

from nextomni_edge.config import BackboneConfig
from nextomni_edge.models.backbone import Backbone

CONFIG = BackboneConfig(48, layers=3, query_heads=4, kv_heads=2, mlp_size=96, max_positions=128)


def inputs(batch: int, rows: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, rows, CONFIG.hidden_size, generator=generator), torch.arange(
        rows
    ).expand(batch, rows)


def plain(
    backbone: Backbone, embeddings: torch.Tensor, positions: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    past = backbone.empty_past(len(embeddings))
    out: tuple[torch.Tensor, ...] = backbone(
        embeddings, positions, torch.ones(positions.shape, dtype=torch.bool), past, past
    )
    return out


@torch.no_grad()
def test_it_is_qwen2_without_the_causal_mask() -> None:
    torch.manual_seed(0)
    backbone = Backbone(CONFIG).eval()
    oracle = Qwen2Model(
        Qwen2Config(
            hidden_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=96, vocab_size=8, rms_norm_eps=CONFIG.rms_norm_eps,
            rope_theta=CONFIG.rope_base, attn_implementation="eager",
        )
    ).eval()  # fmt: skip
    missing, unexpected = oracle.load_state_dict(backbone.state_dict(), strict=False)
    assert missing == ["embed_tokens.weight"] and not unexpected
    embeddings, positions = inputs(2, 9)
    expected = oracle(
        inputs_embeds=embeddings, position_ids=positions, attention_mask=torch.zeros(2, 1, 9, 9)
    ).last_hidden_state
    torch.testing.assert_close(
        plain(backbone, embeddings, positions)[0], expected, atol=2e-5, rtol=0
    )


@torch.no_grad()
def test_rows_over_a_cached_past_are_the_rows_of_the_whole() -> None:
    """With the past's keys taken from the whole sequence, the last rows come out the same: the
    cache itself is exact."""
    torch.manual_seed(1)
    backbone = Backbone(CONFIG).eval()
    embeddings, positions = inputs(2, 11)
    hidden, keys, values = plain(backbone, embeddings, positions)
    mask = torch.ones(2, 11, dtype=torch.bool)
    last, own, _ = backbone(
        embeddings[:, 7:], positions[:, 7:], mask, keys[..., :7, :], values[..., :7, :]
    )
    torch.testing.assert_close(last, hidden[:, 7:], atol=2e-5, rtol=0)
    torch.testing.assert_close(own, keys[..., 7:, :], atol=2e-5, rtol=0)


@torch.no_grad()
def test_masked_columns_change_nothing_for_the_others() -> None:
    torch.manual_seed(2)
    backbone = Backbone(CONFIG).eval()
    embeddings, positions = inputs(1, 8)
    alone = plain(backbone, embeddings[:, :6], positions[:, :6])[0]
    mask = torch.arange(8)[None] < 6
    past = backbone.empty_past(1)
    torch.testing.assert_close(
        backbone(embeddings, positions, mask, past, past)[0][:, :6], alone, atol=2e-5, rtol=0
    )


@torch.no_grad()
def test_every_row_sees_later_rows() -> None:
    torch.manual_seed(3)
    backbone = Backbone(CONFIG).eval()
    embeddings, positions = inputs(1, 5)
    changed = embeddings.clone()
    changed[:, 4] += 1.0
    difference = plain(backbone, embeddings, positions)[0] - plain(backbone, changed, positions)[0]
    assert (difference.abs().amax(dim=-1) > 1e-3).all()


def test_sizes_that_do_not_fit_are_refused() -> None:
    from nextomni_edge.config import ModelConfig
    from nextomni_edge.errors import InputError

    with pytest.raises(InputError, match="hidden_size must be a multiple of query_heads"):
        ModelConfig(backbone=dataclasses.replace(CONFIG, query_heads=5))


@torch.no_grad()
def test_a_causal_one_is_qwen2_with_its_mask_and_with_a_past() -> None:
    torch.manual_seed(4)
    backbone = Backbone(dataclasses.replace(CONFIG, attention="causal")).eval()
    oracle = Qwen2Model(
        Qwen2Config(
            hidden_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=96, vocab_size=8, rms_norm_eps=CONFIG.rms_norm_eps,
            rope_theta=CONFIG.rope_base, attn_implementation="eager",
        )
    ).eval()  # fmt: skip
    oracle.load_state_dict(backbone.state_dict(), strict=False)
    embeddings, positions = inputs(2, 9)
    expected = oracle(inputs_embeds=embeddings, position_ids=positions).last_hidden_state
    hidden, keys, values = plain(backbone, embeddings, positions)
    torch.testing.assert_close(hidden, expected, atol=2e-5, rtol=0)
    mask = torch.ones(2, 9, dtype=torch.bool)
    last = backbone(
        embeddings[:, 6:], positions[:, 6:], mask, keys[..., :6, :], values[..., :6, :]
    )[0]
    torch.testing.assert_close(last, expected[:, 6:], atol=2e-5, rtol=0)

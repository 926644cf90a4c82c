"""The imported networks in PyTorch against what the authors' own code computed, array by array."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import VQModel
from safetensors.torch import load_file as load_tensors
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from nextomni_edge.models import networks
from nextomni_edge.models.unified import UnifiedModel
from tests.published.bounds import forward, rows
from tests.published.goldens import FOLDER, Array, arrays, read
from tests.published.models import imported

HIDDEN = 1e-4  # of hidden states and logits
PIXELS = 1e-4


@pytest.fixture(scope="module")
def models() -> dict[str, UnifiedModel]:
    found = {}
    for family in ("llada", "mmada", "lumina_dimoo", "dream"):
        model = networks.load(imported(family))
        assert isinstance(model, UnifiedModel)
        found[family] = model
    return found


def close(found: Tensor, expected: Array, atol: float) -> None:
    torch.testing.assert_close(found, torch.from_numpy(expected.copy()), atol=atol, rtol=0)


@pytest.mark.parametrize(
    ("family", "run", "tokens", "mask"),
    [
        ("llada", "fwd", "fwd.tokens", None),
        ("llada", "pad", "pad.tokens", "pad.attention_mask"),
        ("mmada", "fwd_mmu", "mmu.ids", None),
        ("lumina_dimoo", "fwd", "t2i.prompt", None),
        ("dream", "bb", "bb.ids", None),
    ],
)
def test_hidden_states_and_logits(
    models: dict[str, UnifiedModel], family: str, run: str, tokens: str, mask: str | None
) -> None:
    golden = arrays(family)
    hidden, logits = forward(models[family], golden[tokens], None if mask is None else golden[mask])
    expected = golden[f"{run}.hidden"]
    close(hidden.reshape(expected.shape), expected, HIDDEN)
    close(logits.reshape(golden[f"{run}.logits"].shape), golden[f"{run}.logits"], HIDDEN)


@torch.inference_mode()
def test_the_input_of_every_block(models: dict[str, UnifiedModel]) -> None:
    golden, seen = arrays("llada"), list[Tensor]()
    backbone = models["llada"].backbone
    handles = [
        layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        for layer in backbone.layers
    ]
    forward(models["llada"], golden["fwd.tokens"])
    for handle in handles:
        handle.remove()
    for found, expected in zip(seen, golden["fwd.block_out"], strict=True):
        close(found, expected, HIDDEN)


def test_rows_of_padding_aside_a_padded_prompt_is_as_recorded(
    models: dict[str, UnifiedModel],
) -> None:
    """MMaDA's rows of padding average everything and are seen by nobody."""
    golden = arrays("mmada")
    mask = golden["fwd.attention_mask"]
    hidden, logits = forward(models["mmada"], golden["fwd.ids"], mask)
    real = torch.from_numpy(mask.astype(bool))
    close(hidden[real], golden["fwd.hidden"][mask == 1], HIDDEN)
    close(logits[real], golden["fwd.logits"][mask == 1], HIDDEN)


def test_left_padding_can_be_left_out(models: dict[str, UnifiedModel]) -> None:
    """Rotary positions are relative: so the prompts that run are not padded."""
    golden = arrays("mmada")
    for ids, mask, logits in zip(
        golden["fwd.ids"], golden["fwd.attention_mask"], golden["fwd.logits"], strict=True
    ):
        close(forward(models["mmada"], ids[mask == 1])[1][0], logits[mask == 1], HIDDEN)


@torch.inference_mode()
@pytest.mark.parametrize("family", ["mmada", "lumina_dimoo"])
def test_the_image_head_is_a_slice_of_the_one_head(
    models: dict[str, UnifiedModel], family: str
) -> None:
    model, offset = models[family], models[family].config.image.offset
    assert offset is not None
    hidden = torch.randn(2, 5, model.config.backbone.hidden_size)
    torch.testing.assert_close(
        model.image_head(hidden)[:, :, 0], model.text_head(hidden)[..., offset : offset + 64]
    )
    codes = torch.tensor([[[0], [63], [64]]])
    mask = model.config.flow.text.mask
    assert mask is not None
    rows = model.embed_text(torch.tensor([[offset, offset + 63, mask]]))
    torch.testing.assert_close(model.embed_image(codes), rows)


def test_every_bound_of_the_page_holds() -> None:
    """The table in docs/published.md: hidden states, every run's logits, latents and pixels."""
    found = list(rows())
    assert [row for row in found if not row[1] <= row[2]] == []
    assert len(found) == 50


@torch.inference_mode()
def test_magvit_encodes_and_decodes(models: dict[str, UnifiedModel]) -> None:
    golden, model = arrays("magvitv2"), models["mmada"]
    pixels = torch.from_numpy(golden["enc.pixels"])
    close(model.image_encoder.latents(pixels), golden["enc.latents"], HIDDEN)
    codes = model.image_encoder(pixels)
    np.testing.assert_array_equal(codes.flatten(1).numpy(), golden["enc.codes"])
    close(model.image_decoder.latents(codes), golden["enc.quantized"].round(), 0)
    assert float(model.image_encoder.margins(pixels).min()) == pytest.approx(
        np.abs(golden["enc.latents"]).min(), abs=HIDDEN
    )
    close(model.image_decoder.decoded(codes), golden["dec.pixels"], PIXELS)
    other = torch.from_numpy(golden["dec2.codes"]).reshape(1, 3, 4, 1)
    close(model.image_decoder.decoded(other), golden["dec2.pixels"], PIXELS)


@torch.inference_mode()
def test_amused_encodes_and_decodes(models: dict[str, UnifiedModel]) -> None:
    golden, model = arrays("vq_amused"), models["lumina_dimoo"]
    pixels = torch.from_numpy(golden["enc.pixels"]) * 2 - 1
    close(model.image_encoder.latents(pixels), golden["enc.latents"], HIDDEN)
    codes = model.image_encoder(pixels)
    np.testing.assert_array_equal(codes.flatten().numpy(), golden["enc.codes"])
    close(model.image_decoder.latents(codes), golden["enc.quantized"], 1e-6)
    close(model.image_decoder.decoded(codes), golden["dec.pixels"], PIXELS)
    other = torch.from_numpy(golden["dec2.codes"]).reshape(1, 3, 5, 1)
    close(model.image_decoder.decoded(other), golden["dec2.pixels"], PIXELS)


@torch.inference_mode()
def test_amused_is_what_diffusers_computes(models: dict[str, UnifiedModel]) -> None:
    theirs = VQModel.from_pretrained(FOLDER / "vq_amused" / "vqvae").eval()
    ours, generator = models["lumina_dimoo"], torch.Generator().manual_seed(5)
    pixels = torch.rand((2, 3, 48, 64), generator=generator)
    latents = theirs.encode(pixels).latents
    torch.testing.assert_close(
        ours.image_encoder.latents(pixels * 2 - 1), latents, atol=HIDDEN, rtol=0
    )
    codes = torch.randint(0, 64, (2, 3, 4), generator=generator)
    expected = theirs.decode(
        codes, force_not_quantize=True, shape=(2, 3, 4, ours.config.image.codebook.code_dim)
    ).sample
    torch.testing.assert_close(
        ours.image_decoder.decoded(codes[..., None]), expected, atol=PIXELS, rtol=0
    )


def test_dream_is_qwen2_without_its_mask(models: dict[str, UnifiedModel]) -> None:
    """`transformers`' Qwen2 with every position attended, on the same weights."""
    config = {
        key: value for key, value in read("dream", "config.json").items()
        if key not in ("architectures", "auto_map", "model_type", "transformers_version")
    }  # fmt: skip
    theirs = Qwen2ForCausalLM(Qwen2Config(**config, attn_implementation="eager")).eval()
    theirs.load_state_dict(load_tensors(FOLDER / "dream" / "model.safetensors"))
    ids = torch.from_numpy(arrays("dream")["bb.ids"])[None].long()
    with torch.inference_mode():
        everywhere = torch.zeros(1, 1, ids.shape[1], ids.shape[1])
        expected = theirs(ids, attention_mask=everywhere).logits
    torch.testing.assert_close(
        forward(models["dream"], ids.numpy())[1], expected, atol=HIDDEN, rtol=0
    )

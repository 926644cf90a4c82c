"""FUDOKI's vision tower and VQ are Janus': against Janus in `transformers`, random weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.models.janus.configuration_janus import JanusVisionConfig, JanusVQVAEConfig
from transformers.models.janus.modeling_janus import JanusVisionModel, JanusVQVAE

from nextomni_edge.checkpoints.layouts.fudoki import vq_decoder_tensors, vq_encoder_tensors
from nextomni_edge.config import CodebookConfig, ImageConfig, TransformerConfig, VqConfig
from nextomni_edge.models.fudoki import VisionTower
from nextomni_edge.models.vq import VqDecoder, VqEncoder

TIGHT = 1e-5
# Of the VQ's parts, the names in `transformers` by those of the released layout.
RENAMED = {
    ".mid.0": ".mid.block_1", ".mid.1": ".mid.attn_1", ".mid.2": ".mid.block_2",
    "decoder.conv_blocks": "decoder.up", "encoder.conv_blocks": "encoder.down", ".res.": ".block.",
}  # fmt: skip


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return module.eval()


SIZES = {"channels": 32, "multipliers": [1, 1, 2], "residual_blocks": 1}
CONFIG = VqConfig(channels=32, multipliers=(1, 1, 2), residual_blocks=1, latent_channels=32)
IMAGE = ImageConfig(12, 4, codebook=CodebookConfig(1, 64, 8))


@pytest.fixture(scope="module")
def oracle() -> nn.Module:
    config = JanusVQVAEConfig(
        embed_dim=8, num_embeddings=64, base_channels=32, channel_multiplier=[1, 1, 2],
        num_res_blocks=1, latent_channels=32, num_patches=3,
    )  # fmt: skip
    return randomised(JanusVQVAE(config))


def copy_weights(
    module: nn.Module, oracle: nn.Module, names: dict[str, tuple[str | None, ...]]
) -> None:
    """Fill our module, to the last tensor, with those that the released layout's names stand
    for."""
    ours, theirs = module.state_dict(), oracle.state_dict()
    for name, (source,) in names.items():
        assert source is not None
        found = source.removeprefix("gen_vision_model.")
        for released, renamed in RENAMED.items():
            found = found.replace(released, renamed)
        ours.pop(name.partition(".")[2]).copy_(theirs[found])
    assert not ours


@torch.no_grad()
def test_the_decoder(oracle: JanusVQVAE) -> None:
    decoder = VqDecoder(IMAGE, CONFIG)
    copy_weights(decoder, oracle, vq_decoder_tensors(SIZES))
    codes = torch.randint(0, 64, (2, 9))
    found_pixels = decoder.pixels(decoder.latents(codes[:, :, None]))
    torch.testing.assert_close(found_pixels, oracle.decode(codes), atol=TIGHT, rtol=TIGHT)


@torch.no_grad()
def test_the_encoder(oracle: JanusVQVAE) -> None:
    encoder = VqEncoder(nn.Parameter(torch.empty(64, 8)), CONFIG)
    codebook = {"codebook.codebook": ("gen_vision_model.quantize.embedding.weight",)}
    copy_weights(encoder, oracle, vq_encoder_tensors(SIZES) | codebook)
    pixels = torch.randn(4, 3, 12, 12)
    latents = (
        nn.functional.normalize(oracle.quant_conv(oracle.encoder(pixels)), dim=1)
        .flatten(2)
        .transpose(1, 2)
    )
    torch.testing.assert_close(encoder.latents(pixels), latents, atol=TIGHT, rtol=TIGHT)
    # `transformers` leaves out the normalisation that LlamaGen and FUDOKI look codes up with, so
    # its codes are others.
    nearest = torch.cdist(latents, nn.functional.normalize(encoder.codebook, dim=1)).argmin(dim=2)
    codes = encoder(pixels)
    assert torch.equal(codes[:, :, 0], nearest) and len(codes.unique()) > 4


@torch.no_grad()
def test_the_vision_tower() -> None:
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 24,
        "patch_size": 8,
        "mlp_ratio": 4.0,
    }
    oracle = randomised(JanusVisionModel(JanusVisionConfig(**sizes)))
    tower = VisionTower(
        ImageConfig(24, 8, encoder=TransformerConfig(32, 2, 4, norm_eps=1e-6))
    ).eval()
    theirs, ours = oracle.state_dict(), tower.state_dict()
    names = {"patch": "embeddings.patch_embedding", "transformer.norm": "post_layernorm"}
    for index in range(2):
        block, layer = f"transformer.blocks.{index}", f"encoder.layers.{index}"
        names |= {
            f"{block}.norm1": f"{layer}.layer_norm1",
            f"{block}.norm2": f"{layer}.layer_norm2",
        }
        names |= {f"{block}.mlp.0": f"{layer}.mlp.fc1", f"{block}.mlp.2": f"{layer}.mlp.fc2"}
        names[f"{block}.out"] = f"{layer}.self_attn.projection_layer"
        for part in ("weight", "bias"):
            fused = torch.cat([theirs[f"{layer}.self_attn.{name}_proj.{part}"] for name in "qkv"])
            ours.pop(f"{block}.qkv.{part}").copy_(fused)
    for mine, his in names.items():
        for part in ("weight", "bias"):
            ours.pop(f"{mine}.{part}").copy_(theirs[f"{his}.{part}"])
    ours.pop("positions").copy_(theirs["embeddings.position_embedding.weight"])
    assert not ours
    pixels = torch.randn(2, 3, 24, 24)
    torch.testing.assert_close(
        tower(pixels), oracle(pixels).last_hidden_state, atol=TIGHT, rtol=TIGHT
    )

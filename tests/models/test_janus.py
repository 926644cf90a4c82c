"""FUDOKI's vision tower and decoder are Janus': against Janus in `transformers`, random weights."""

from __future__ import annotations

import torch
from torch import nn
from transformers.models.janus.configuration_janus import JanusVisionConfig, JanusVQVAEConfig
from transformers.models.janus.modeling_janus import JanusVisionModel, JanusVQVAE

from nextomni_edge.config import CodebookConfig, ImageConfig, TransformerConfig, VqDecoderConfig
from nextomni_edge.layouts.fudoki import vq_tensors
from nextomni_edge.models.fudoki import VisionTower
from nextomni_edge.models.vq import VqDecoder

TIGHT = 1e-5
# Of the decoder's parts, the names in `transformers` by those of the released layout.
RENAMED = {
    "decoder.mid.0": "decoder.mid.block_1", "decoder.mid.1": "decoder.mid.attn_1", "decoder.mid.2": "decoder.mid.block_2",
    "decoder.conv_blocks": "decoder.up", ".res.": ".block.",
}  # fmt: skip


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return module.eval()


@torch.no_grad()
def test_the_decoder() -> None:
    config = JanusVQVAEConfig(
        embed_dim=8, num_embeddings=64, base_channels=32, channel_multiplier=[1, 1, 2], num_res_blocks=1, latent_channels=32,
        num_patches=3,
    )  # fmt: skip
    oracle = randomised(JanusVQVAE(config))
    image = ImageConfig(12, 4, codebook=CodebookConfig(1, 64, 8))
    decoder = VqDecoder(image, VqDecoderConfig(channels=32, multipliers=(1, 1, 2), residual_blocks=1, latent_channels=32))
    ours, theirs = decoder.state_dict(), oracle.state_dict()
    sizes = {"channels": 32, "multipliers": [1, 1, 2], "residual_blocks": 1}
    for name, (source,) in vq_tensors(sizes).items():
        assert source is not None
        found = source.removeprefix("gen_vision_model.")
        for released, renamed in RENAMED.items():
            found = found.replace(released, renamed)
        ours.pop(name.removeprefix("image_decoder.")).copy_(theirs[found])
    assert not ours
    codes = torch.randint(0, 64, (2, 9))
    found_pixels = decoder.pixels(decoder.latents(codes[:, :, None]))
    torch.testing.assert_close(found_pixels, oracle.decode(codes), atol=TIGHT, rtol=TIGHT)


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
    tower = VisionTower(ImageConfig(24, 8, encoder=TransformerConfig(32, 2, 4, norm_eps=1e-6))).eval()
    theirs, ours = oracle.state_dict(), tower.state_dict()
    names = {"patch": "embeddings.patch_embedding", "transformer.norm": "post_layernorm"}
    for index in range(2):
        block, layer = f"transformer.blocks.{index}", f"encoder.layers.{index}"
        names |= {f"{block}.norm1": f"{layer}.layer_norm1", f"{block}.norm2": f"{layer}.layer_norm2"}
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
    torch.testing.assert_close(tower(pixels), oracle(pixels).last_hidden_state, atol=TIGHT, rtol=TIGHT)

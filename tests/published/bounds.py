"""The largest error of each recorded array, as docs/published.md lists them:
`python -m tests.published.bounds`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from nextomni_edge.flow.guidance import guided
from nextomni_edge.models import networks
from nextomni_edge.models.unified import UnifiedModel
from tests.published.goldens import Array, arrays
from tests.published.models import imported


def model_of(family: str) -> UnifiedModel:
    model = networks.load(imported(family))
    assert isinstance(model, UnifiedModel)
    return model


@torch.inference_mode()
def forward(model: UnifiedModel, tokens: Array, mask: Array | None = None) -> tuple[Tensor, Tensor]:
    """(hidden, logits) of ids (B,S), or (S,); mask (B,S): 1 where a key is attended."""
    ids = torch.from_numpy(tokens.reshape(-1, tokens.shape[-1]).astype(np.int64))
    attended = torch.ones_like(ids) if mask is None else torch.from_numpy(mask)
    positions, past = torch.arange(ids.shape[1]).expand_as(ids), model.backbone.empty_past(len(ids))
    hidden = model.backbone(model.embed_text(ids), positions, attended.bool(), past, past)[0]
    return hidden, model.text_head(hidden)


def error(found: Tensor, expected: Array) -> float:
    return float(np.abs(found.numpy().reshape(expected.shape) - expected).max())


def rows() -> Iterator[tuple[str, float, float]]:
    """(array, largest error, allowed)."""
    forwards = (
        ("llada", "fwd", "fwd.tokens", None), ("llada", "pad", "pad.tokens", "pad.attention_mask"),
        ("mmada", "fwd_mmu", "mmu.ids", None), ("lumina_dimoo", "fwd", "t2i.prompt", None),
        ("dream", "bb", "bb.ids", None),
    )  # fmt: skip
    for family, run, tokens, mask in forwards:
        golden = arrays(family)
        found = forward(model_of(family), golden[tokens], None if mask is None else golden[mask])
        for name, tensor in zip(("hidden", "logits"), found, strict=True):
            yield f"{family} {run}.{name}", error(tensor, golden[f"{run}.{name}"]), 1e-4
    yield from guided_rows()
    yield from image_rows()


def guided_rows() -> Iterator[tuple[str, float, float]]:
    """LLaDA's answer under guidance, and Lumina-DiMOO's pictures with one and with two branches."""
    golden, model = arrays("llada"), model_of("llada")
    for run, scale in (("traj_cfg", 1.5), ("traj_noise", 0.5)):
        worst = 0.0
        for step, expected in enumerate(golden[f"{run}.logits"]):
            both = [forward(model, golden[f"{run}.{x}"][step])[1] for x in ("x", "un_x")]
            found = guided(both[0], both[1], scale)[:, -expected.shape[1] :]
            worst = max(worst, error(found, expected))
        yield f"llada {run}.logits", worst, 1e-3
    golden, model = arrays("lumina_dimoo"), model_of("lumina_dimoo")
    branches = {
        "t2i": (("uncond_x",), (4.0,)),
        "i2i": (("uncond_text_x", "uncond_image_x"), (2.5, 4.0)),
    }
    for run, (names, scales) in branches.items():
        worst = 0.0
        for step in range(len(golden[f"{run}.logits"])):
            found = []
            for name in ("x", *names):
                ids = golden[f"{run}.{name}"][step]
                found.append(forward(model, ids)[1][0, torch.from_numpy(ids == 316)][:, 336:400])
            more = zip(found[2:], scales[1:], strict=True)
            all_guided = guided(found[0], found[1], scales[0], *more)
            worst = max(worst, error(all_guided, golden[f"{run}.logits"][step, : len(found[0])]))
        yield f"lumina_dimoo {run}.logits", worst, 1e-3


@torch.inference_mode()
def image_rows() -> Iterator[tuple[str, float, float]]:
    for family, tokenizer, height in (("mmada", "magvitv2", 3), ("lumina_dimoo", "vq_amused", 3)):
        golden, model = arrays(tokenizer), model_of(family)
        pixels = torch.from_numpy(golden["enc.pixels"])
        seen = pixels if tokenizer == "magvitv2" else pixels * 2 - 1
        latents = model.image_encoder.latents(seen)
        yield f"{tokenizer} enc.latents", error(latents, golden["enc.latents"]), 1e-4
        codes = model.image_encoder(seen)
        yield (
            f"{tokenizer} dec.pixels",
            error(model.image_decoder.decoded(codes), golden["dec.pixels"]),
            1e-4,
        )
        other = torch.from_numpy(golden["dec2.codes"]).reshape(1, height, -1, 1)
        yield (
            f"{tokenizer} dec2.pixels",
            error(model.image_decoder.decoded(other), golden["dec2.pixels"]),
            1e-4,
        )


if __name__ == "__main__":
    for array, found, allowed in rows():
        print(f"| `{array}` | {found:.1e} | {allowed:.0e} |")

"""The largest error of each recorded array, as docs/published.md lists them:
`python -m tests.published.bounds`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nextomni_edge.flow.guidance import guided
from nextomni_edge.models import networks
from nextomni_edge.models.unified import UnifiedModel
from tests.published.goldens import SETTINGS, Array, arrays, read
from tests.published.models import imported
from tests.published.omnidiffusion_bounds import omnidiffusion_rows
from tests.published.runs import of_run


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
        ("mmada", "fwd", "fwd.ids", "fwd.attention_mask"), ("dream", "bb", "bb.ids", None),
    )  # fmt: skip
    for family, run, tokens, mask in forwards:
        golden = arrays(family)
        found = forward(model_of(family), golden[tokens], None if mask is None else golden[mask])
        # a row of padding averages everything in MMaDA's code, and is seen by nobody
        real = (
            golden[mask] == 1
            if family == "mmada" and mask
            else np.ones(golden[f"{run}.hidden"].shape[:-1], bool)
        )
        for name, tensor in zip(("hidden", "logits"), found, strict=True):
            expected = golden[f"{run}.{name}"]
            shaped = tensor.reshape(expected.shape)[torch.from_numpy(real)]
            yield f"{family} {run}.{name}", error(shaped, expected[real]), 1e-4
    golden = arrays("llada")  # what older copies of the code compute, which attend to padding
    found = forward(model_of("llada"), golden["pad.tokens"])[1]
    yield "llada pad.logits_nomask", error(found, golden["pad.logits_nomask"]), 1e-4
    yield from run_rows()
    yield from image_rows()


def run_rows() -> Iterator[tuple[str, float, float]]:
    """What every recorded run decides by, at every recorded step."""
    groups = (("llada", "llada"), ("mmada", "mmada_text"), ("lumina_dimoo", "lumina_text"))
    for family, group in groups:
        for name, settings in SETTINGS[group].items():
            run = name if name.startswith("traj_") else f"traj_{name}"
            allowed = 1e-3 if settings.get("cfg_scale") else 1e-4
            yield f"{family} {run}.logits", text_error(family, run, settings), allowed
    for run, settings in SETTINGS["mmada_t2i"].items():
        yield f"mmada {run}.probs", mmada_image_error(run, settings), 1e-4
    for run, settings in SETTINGS["lumina_image"].items():
        if not settings.get("use_cache"):  # with a cache: see test_runs.py
            allowed = 1e-3 if settings["cfg"] else 1e-4
            yield f"lumina_dimoo {run}.logits", lumina_image_error(run, settings), allowed
    for run in read("dream", "traj.json")["trajectories"]:
        yield f"dream traj.{run}.logits", dream_error(run), 1e-4


def text_error(family: str, run: str, settings: dict[str, Any]) -> float:
    golden, model, worst = of_run(family, run), model_of(family), 0.0
    start, scale = first_row(family, settings, golden["x"]), settings.get("cfg_scale", 0.0)
    attended = np.ones(golden["x"].shape[1:], np.int64)
    if "attention_mask" in golden:
        attended[:, : golden["attention_mask"].shape[1]] = golden["attention_mask"]
    for step, expected in enumerate(golden["logits"]):
        logits = forward(model, golden["x"][step], attended)[1]
        if scale:
            logits = guided(logits, forward(model, golden["un_x"][step], attended)[1], scale)
        worst = max(worst, error(logits[:, start : start + expected.shape[1]], expected))
    return worst


def first_row(family: str, settings: dict[str, Any], x: Array) -> int:
    """Where the answer begins; Lumina-DiMOO's stands before </answer>."""
    if family == "lumina_dimoo":
        return int(arrays(family)[f"{settings['start']}.code_start"][0])
    rows: int = settings.get("gen_length") or settings["max_new_tokens"]
    return int(x.shape[2]) - rows


def mmada_image_error(run: str, settings: dict[str, Any]) -> float:
    golden, model, worst = of_run("mmada", run), model_of("mmada"), 0.0
    offset = model.config.image.offset
    for step, expected in enumerate(golden["probs"]):
        logits = forward(model, golden["x"][step], golden["attention_mask"])[1]
        if settings["guidance"]:
            other = forward(model, golden["un_x"][step], golden["uncond_attention_mask"])[1]
            logits = guided(logits, other, settings["guidance"])
        codes = logits[:, -17:-1, offset : offset + 64] if offset is not None else logits
        worst = max(worst, error(codes.softmax(dim=-1), expected))
    return worst


def lumina_image_error(run: str, settings: dict[str, Any]) -> float:
    golden, model, worst = of_run("lumina_dimoo", run), model_of("lumina_dimoo"), 0.0
    others = ("uncond_text_x", "uncond_image_x") if run == "i2i" else ("uncond_x",)
    for step, expected in enumerate(golden["logits"]):
        found = []
        for name in ("x", *(others if settings["cfg"] else ())):
            ids = golden[name][step]
            found.append(forward(model, ids)[1][0, torch.from_numpy(ids == 316)][:, 336:400])
        logits = found[0]
        if settings["cfg"]:
            more = zip(found[2:], [settings.get("cfg_img", 0.0)], strict=False)
            logits = guided(found[0], found[1], settings["cfg"], *more)
        worst = max(worst, error(logits, expected[: len(logits)]))
    return worst


def dream_error(run: str) -> float:
    """Of the steps whose logits are recorded; row i − 1 predicts position i."""
    golden, model, worst = of_run("dream", f"traj.{run}"), model_of("dream"), 0.0
    for step, expected in zip(golden["logits_steps"], golden["logits"], strict=True):
        ids = np.concatenate([golden["prompt_ids"], golden["states"][step]])
        logits = forward(model, ids)[1][0, len(golden["prompt_ids"]) - 1 : -1]
        worst = max(worst, error(logits, expected))
    return worst


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
    for array, found, allowed in (*rows(), *omnidiffusion_rows()):
        print(f"| `{array}` | {found:.1e} | {allowed:.0e} |")

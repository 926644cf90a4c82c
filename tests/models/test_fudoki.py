"""FUDOKI in torch against what FUDOKI's own code computed, array by array
(fudoki_golden/README.md)."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from nextomni_edge.checkpoints.layouts.fudoki import vq_decoder_tensors
from nextomni_edge.config import CodebookConfig, ImageConfig, VqConfig
from nextomni_edge.flow.guidance import guided
from nextomni_edge.flow.metric import MetricPath
from nextomni_edge.flow.schedule import MetricSchedule
from nextomni_edge.flow.velocity import intensity, jump_weight, velocity
from nextomni_edge.models import networks
from nextomni_edge.models.fudoki import FudokiModel
from nextomni_edge.models.vq import VqDecoder
from tests.models.fudoki_oracle import FOLDER, GOLDEN, fudoki_model

TIGHT = 1e-5


@pytest.fixture(scope="module")
def fudoki(tmp_path_factory: pytest.TempPathFactory) -> FudokiModel:
    model = networks.load(fudoki_model(tmp_path_factory.mktemp("fudoki")))
    assert isinstance(model, FudokiModel)
    return model


def golden(name: str) -> Tensor:
    return torch.from_numpy(GOLDEN[name].copy())


def close(found: Tensor, expected: Tensor, atol: float = TIGHT) -> None:
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)


@torch.no_grad()
def hidden(
    model: FudokiModel, run: str, sample: int, tokens: Tensor, image: Tensor | None
) -> Tensor:
    """Hidden states of a sample's attended rows; `image` replaces the embeddings of its image
    rows."""
    length = int(GOLDEN[f"{run}.attention_mask"][sample].sum())
    shown = golden(f"{run}.image_token_mask")[sample].bool()
    text = torch.where(shown, 0, tokens)
    rows = model.embed_text(text[None])
    if image is not None:
        rows[0, shown] = image
    positions, past = torch.arange(length)[None], model.backbone.empty_past(1)
    return model.backbone(
        rows[:, :length], positions, torch.ones(1, length, dtype=torch.bool), past, past
    )[0]


def generation_rows(model: FudokiModel, sample: int, tokens: Tensor) -> Tensor:
    codes = tokens[golden("gen.image_token_mask")[sample].bool()]
    with torch.no_grad():
        return hidden(model, "gen", sample, tokens, model.embed_image(codes[None, :, None])[0])


def shifted(logits: Tensor, expected: Tensor) -> None:
    """Their row i is predicted from hidden state i−1, so it is our row i−1; their row 0 is zero."""
    assert (expected[0] == 0).all()
    rows = min(len(logits), len(expected) - 1)
    assert rows >= len(logits) - 1
    close(logits[:rows], expected[1 : rows + 1])


@torch.no_grad()
@pytest.mark.parametrize("sample", [0, 1])
def test_generation_logits_of_both_heads(fudoki: FudokiModel, sample: int) -> None:
    rows = generation_rows(fudoki, sample, golden("gen.tokens")[sample])
    close(rows[0], golden("gen.hidden")[sample, : rows.shape[1]])
    shifted(fudoki.image_head(rows)[0, :, 0], golden("gen.img_logits")[sample])
    shifted(fudoki.text_head(rows)[0], golden("gen.txt_logits")[sample])


@torch.no_grad()
@pytest.mark.parametrize("sample", [0, 1])
def test_guidance(fudoki: FudokiModel, sample: int) -> None:
    conditional, unconditional = (
        fudoki.image_head(generation_rows(fudoki, sample, golden(name)[sample]))[0, :, 0]
        for name in ("gen.tokens", "gen.uncond_tokens")
    )
    shifted(unconditional, golden("gen.uncond_img_logits")[sample])
    expected = golden("gen.cfg_img_logits")[sample]
    torch.testing.assert_close(
        guided(golden("gen.img_logits")[sample], golden("gen.uncond_img_logits")[sample], 5.0),
        expected,
        atol=TIGHT,
        rtol=1e-6,
    )
    both = guided(conditional, unconditional, 5.0)
    close(both, expected[1 : len(both) + 1], atol=11 * TIGHT)  # 6 and 5 times the error of each


@torch.no_grad()
@pytest.mark.parametrize("sample", [0, 1, 2])
def test_understanding_logits(fudoki: FudokiModel, sample: int) -> None:
    pixels = golden("und.pixel_values")
    image = (
        fudoki.image_encoder(pixels[sample : sample + 1])[0]
        if GOLDEN["und.has_image"][sample]
        else None
    )
    rows = hidden(fudoki, "und", sample, golden("und.tokens")[sample], image)
    shifted(fudoki.text_head(rows)[0], golden("und.txt_logits")[sample])


@torch.no_grad()
def test_vision_features_and_aligner(fudoki: FudokiModel) -> None:
    pixels = golden("und.pixel_values")
    close(fudoki.image_encoder.tower(pixels), golden("und.vision_features"))
    close(fudoki.image_encoder(pixels), golden("und.aligner"))
    codes = golden("genembed.codes")
    close(fudoki.embed_image.table[codes], golden("genembed.embed"), atol=0)
    close(fudoki.embed_image(codes[None, :, None])[0], golden("genembed.aligned"))


@torch.no_grad()
def test_decoded_pixels(fudoki: FudokiModel) -> None:
    codes = golden("vq.codes")[:, :, None]
    latents = fudoki.image_decoder.latents(codes)
    close(latents, golden("vq.latents"), atol=1e-6)
    close(fudoki.image_decoder.pixels(latents)[1:], golden("vq.pixels"))
    levels = (
        ((fudoki.image_decoder(codes).clamp(-1, 1) + 1) / 2 * 255)
        .to(torch.int64)
        .permute(0, 2, 3, 1)
    )
    assert (levels - golden("vq.uint8").long()).abs().max() <= 1


@torch.no_grad()
def test_the_decoder_at_its_published_size() -> None:
    """VQ-16 as released, 344 tensors with weights by the recipe: the names, shapes and computation
    of the real thing."""
    real = json.loads((FOLDER / "vq_real.json").read_text())
    names = sorted(real["keys"])
    assert len(names) == 344
    decoder = VqDecoder(ImageConfig(64, 16, codebook=CodebookConfig(1, 16384, 8)), VqConfig())
    mapped = {
        source: ours
        for ours, (source,) in vq_decoder_tensors(
            {"channels": 128, "multipliers": [1, 1, 2, 2, 4], "residual_blocks": 2}
        ).items()
    }
    state = decoder.state_dict()
    for index, name in enumerate(names):
        key = "gen_vision_model." + name
        if key in mapped:
            state[mapped.pop(key).removeprefix("image_decoder.")].copy_(
                torch.from_numpy(recipe(real["seed"], index, name, real["keys"][name]))
            )
    assert not mapped
    close(
        decoder.pixels(decoder.latents(golden("vq_real.codes")[:, :, None])),
        golden("vq_real.pixels"),
    )


def recipe(seed: int, index: int, name: str, shape: list[int]) -> np.ndarray:
    raw = np.random.Philox(key=seed * 1000 + index).random_raw(int(np.prod(shape)))
    v = ((raw >> np.uint64(40)) * 2.0**-24 * 2 - 1).reshape(shape)
    if name.endswith("bias"):
        v = 0.1 * v
    elif len(shape) == 4:
        v = v * np.sqrt(3 / np.prod(shape[1:]))
    elif len(shape) == 1:
        v = 1 + 0.25 * v
    return v.astype(np.float32)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(
        (np.abs(found.astype(np.float64) - expected) / np.maximum(1.0, np.abs(expected))).max()
    )


@pytest.mark.parametrize(("modality", "name"), [("text", "txt"), ("image", "img")])
def test_flow_quantities_of_the_model_s_own_tables(
    fudoki: FudokiModel, modality: str, name: str
) -> None:
    table = getattr(fudoki.metric_tables, modality).numpy()
    path = MetricPath(table if modality == "text" else table[0], MetricSchedule(3.0, 0.9))
    x_1, x_t = GOLDEN[f"flow.{name}.x_1"], GOLDEN[f"flow.{name}.x_t"]
    assert relative(path.metric.distance(x_1), GOLDEN[f"flow.{name}.distance"]) <= 1e-6
    for index, t in enumerate(GOLDEN["flow.t"].tolist()):
        assert relative(path.probability(x_1, t), GOLDEN[f"flow.{name}.p_t"][index]) <= 1e-6
        assert (
            relative(
                intensity(x_t, x_1, t, path.metric, path.schedule),
                GOLDEN[f"flow.{name}.intensity"][index],
            )
            <= 1e-6
        )
        beta, d_beta = path.schedule(t)
        u = d_beta * jump_weight(GOLDEN[f"flow.{name}.distance"], x_t, beta)
        assert relative(u, GOLDEN[f"flow.{name}.u"][index]) <= 1e-6
        # With our own distances, exact but for their last float32 digit as theirs are: beta, 100 at
        # the last t, multiplies that.
        assert (
            relative(
                velocity(x_t, x_1, t, path.metric, path.schedule), GOLDEN[f"flow.{name}.u"][index]
            )
            <= 1e-5
        )


@pytest.mark.parametrize(
    ("run", "modality", "bound"), [("traj_gen", "image", 1.8e-6), ("traj_und", "text", 7e-7)]
)
def test_intensities_of_the_trajectories_are_nearer_to_the_exact_ones_than_the_reference_s(
    fudoki: FudokiModel, run: str, modality: str, bound: float
) -> None:
    """The reference computes them in float32: its own rounding is most of the difference."""
    table = getattr(fudoki.metric_tables, modality).numpy()
    path = MetricPath(table if modality == "text" else table[0], MetricSchedule(3.0, 0.9))
    differences, ours, theirs = [], [], []
    for index, expected in enumerate(GOLDEN[f"{run}.intensity"]):
        x_t, x_1 = GOLDEN[f"{run}.x_t"][index], GOLDEN[f"{run}.x_1"][index]
        t = float(GOLDEN[f"{run}.t"][index])
        found = intensity(x_t, x_1, t, path.metric, path.schedule)
        exact = exact_intensity(table if modality == "text" else table[0], x_t, x_1, t)
        differences.append(relative(found, expected))
        ours.append(relative(found, exact))
        theirs.append(relative(expected, exact))
    assert max(differences) <= bound * 1.02
    assert max(ours) < max(theirs) / 2


def exact_intensity(table: np.ndarray, x_t: np.ndarray, x_1: np.ndarray, t: float) -> np.ndarray:
    """lambda by its definition (METHOD 3) with the widest floats there are: ids (N,) → (N,)."""
    rows = table.astype(np.longdouble)
    norm = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    rows /= np.where(norm > 0, norm, 1)
    distance = ((rows[x_1][:, None] - rows[None]) ** 2).sum(axis=-1) ** 2
    beta, rate = MetricSchedule(3.0, 0.9)(t)
    weight = np.exp(-beta * (distance - distance.min(axis=1, keepdims=True)))
    weight /= weight.sum(axis=1, keepdims=True)
    here = np.take_along_axis(distance, x_t[:, None], axis=1)
    return rate * (weight * np.maximum(0, here - distance)).sum(axis=1)

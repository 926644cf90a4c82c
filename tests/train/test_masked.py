"""Training with a mask source: what is masked, what counts, and that a model learns from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from nextomni_edge.config import ModelConfig, PathConfig
from nextomni_edge.decoding import CommitConfig
from nextomni_edge.errors import InputError
from nextomni_edge.flow.mixture import MixtureSchedule
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.models import native
from nextomni_edge.models.omni import OmniModel
from nextomni_edge.tokens.chat import Part, Turn, conversation, respond, text_response
from nextomni_edge.tokens.sequence import Segment, Sequence
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.train.batch import Batch, collate
from nextomni_edge.train.flow_loss import Corruption
from nextomni_edge.train.objective import Draw, Objective
from tests.tiny import tiny_config, tiny_model

ROWS = 4_000


def masked_config(mask: int, **path: object) -> ModelConfig:
    config = tiny_config()
    commit = CommitConfig("even", block=4)
    text = PathConfig(
        kind="mixture",
        mask=mask,
        commit=commit,
        steps=4,
        temperature=0.0,
        **path,  # type: ignore[arg-type]
    )
    return dataclasses.replace(config, flow=dataclasses.replace(config.flow, text=text))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[OmniModel, TextTokenizer, Path]:
    path = tiny_model(tmp_path_factory.mktemp("tiny"))
    return native.load(path), TextTokenizer(path / "tokenizer.json"), path / "tokenizer.json"


def text_batch(config: ModelConfig) -> Batch:
    """One sample of many rows of text to generate."""
    rows = np.arange(ROWS) % 50
    return collate([Sequence((Segment("text", rows, frozen=False),))], config)


@pytest.mark.parametrize("rate", ["sample", "position"])
def test_the_share_of_masks_is_that_of_the_path(
    parts: tuple[OmniModel, TextTokenizer, Path], rate: str
) -> None:
    model, mask = parts[0], parts[1].special.null
    config = masked_config(mask, rate=rate)
    noisy = Corruption(config, model.metric_tables)(
        text_batch(config), torch.tensor([0.3]), torch.Generator().manual_seed(1)
    )
    share = float((noisy.tokens == mask).float().mean())
    assert share == pytest.approx(0.7 if rate == "sample" else 0.5, abs=0.03)


@pytest.mark.parametrize("kappa", ["linear", "cosine"])
def test_only_masked_rows_count_by_the_weight_of_their_time(
    parts: tuple[OmniModel, TextTokenizer, Path], kappa: str
) -> None:
    model, mask = parts[0], parts[1].special.null
    config = masked_config(mask, kappa=kappa)
    noisy = Corruption(config, model.metric_tables)(
        text_batch(config), torch.tensor([0.4]), torch.Generator().manual_seed(1)
    )
    schedule = MixtureSchedule(kappa)  # type: ignore[arg-type]
    expected = schedule.slope(0.4) / (1.0 - float(schedule.kappa(0.4)))
    masked = noisy.tokens == mask
    assert (noisy.text_weight[~masked] == 0).all()
    torch.testing.assert_close(
        noisy.text_weight[masked], torch.full_like(noisy.text_weight[masked], expected)
    )


def test_unweighted_every_masked_row_counts_alike(
    parts: tuple[OmniModel, TextTokenizer, Path],
) -> None:
    model, mask = parts[0], parts[1].special.null
    config = masked_config(mask, weighted=False)
    noisy = Corruption(config, model.metric_tables)(
        text_batch(config), torch.tensor([0.4]), torch.Generator().manual_seed(1)
    )
    assert float(noisy.text_weight.mean()) == pytest.approx(1.0)


def test_a_tiny_model_learns_an_answer_and_unmasks_it(
    parts: tuple[OmniModel, TextTokenizer, Path], tmp_path: Path
) -> None:
    _, tokenizer, file = parts
    torch.manual_seed(0)
    model, rng = OmniModel(masked_config(tokenizer.special.null)), np.random.default_rng(0)
    size = model.config.text.block_size
    asked = conversation(tokenizer, [Turn("user", (Part("text", "what is this?"),))])
    answer = Segment("text", text_response(tokenizer, "a cat", size), frozen=False)
    objective = Objective(model, tokenizer.special, condition_dropout=0.0)
    draw = Draw("name", lambda *_: ([Sequence((*asked, answer))] * 8,))
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss, _ = objective(draw, rng, reconstruct=False)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-10:]) < 0.2 * np.mean(losses[:10])
    native.save(model, file, tmp_path / "model")
    edge = EdgeModel.from_checkpoint(tmp_path / "model")
    blocks = len(answer) // size
    for stepper in ("commit", "jump"):
        options = GenerationOptions.defaults(edge.config, "text", stepper=stepper, steps=blocks * 2)
        sequence = respond(asked, "text", edge.config, edge.tokenizer, blocks)
        assert edge.response(generate(edge, sequence, options)).value == "a cat"


def test_codes_have_no_mask_to_train_with() -> None:
    config = tiny_config()
    flow = dataclasses.replace(config.flow, image=PathConfig(kind="mixture"))
    with pytest.raises(InputError, match=r"flow.image.source must be uniform: no code is a mask$"):
        dataclasses.replace(config, flow=flow)
    text = dataclasses.replace(config.flow, text=PathConfig(kind="mixture"))
    with pytest.raises(InputError, match=r"flow.text.mask must be an id under"):
        dataclasses.replace(config, flow=text)

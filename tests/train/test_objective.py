"""The training loss: what is corrupted, what is predicted, and that a few seconds of it learn
something."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from nextomni_edge.errors import UsageError
from nextomni_edge.models import native
from nextomni_edge.models.omni import OmniModel
from nextomni_edge.tokens.chat import Part, Turn, conversation, part_segments
from nextomni_edge.tokens.sequence import Ids, Sequence
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.train.batch import collate, embed
from nextomni_edge.train.flow_loss import Corruption, contrastive_loss, flow_loss
from nextomni_edge.train.gradnorm import GradNorm
from nextomni_edge.train.objective import Draw, Objective
from tests.tiny import causal_config, tiny_model
from tests.train.sequences import sequences


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[OmniModel, TextTokenizer]:
    path = tiny_model(tmp_path_factory.mktemp("tiny"))
    return native.load(path), TextTokenizer(path / "tokenizer.json")


@torch.no_grad()
def test_padding_changes_no_row(parts: tuple[OmniModel, TextTokenizer]) -> None:
    model, tokenizer = parts
    listed = sequences(model, tokenizer)
    batch = collate(listed, model.config)
    hidden = model.hidden(embed(model, batch), batch.attention)
    for index, sequence in enumerate(listed):
        alone = collate([sequence], model.config)
        expected = model.hidden(embed(model, alone), alone.attention)[0]
        torch.testing.assert_close(hidden[index, : sequence.length], expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("t", [0.0, 0.5, 0.999])
def test_corruption_touches_generated_rows_alone_and_vanishes_at_one(
    parts: tuple[OmniModel, TextTokenizer], t: float
) -> None:
    model, tokenizer = parts
    clean = collate(sequences(model, tokenizer), model.config)
    corruption = Corruption(model.config, model.metric_tables)
    changed = np.zeros(3)
    for seed in range(20):
        noisy = corruption(clean, torch.full((3,), t), torch.Generator().manual_seed(seed))
        assert (noisy.tokens[~clean.text_generated] == clean.tokens[~clean.text_generated]).all()
        for before, after in ((clean.image, noisy.image), (clean.audio, noisy.audio)):
            assert (after.codes[~before.generated] == before.codes[~before.generated]).all()
        changed += [
            float((noisy.tokens != clean.tokens)[clean.text_generated].float().mean()),
            float((noisy.image.codes != clean.image.codes)[clean.image.generated].float().mean()),
            float((noisy.audio.codes != clean.audio.codes)[clean.audio.generated].float().mean()),
        ]
    rate = changed / 20
    if t == 0.0:
        np.testing.assert_allclose(
            rate, [1 - 1 / model.config.text.vocabulary_size, 15 / 16, 15 / 16], atol=0.12
        )
    elif t == 0.999:
        assert (rate < 0.02).all()


@torch.no_grad()
def test_the_loss_of_a_uniform_prediction_is_the_log_of_the_vocabulary(
    parts: tuple[OmniModel, TextTokenizer],
) -> None:
    model, tokenizer = parts
    clean = collate(sequences(model, tokenizer), model.config)
    kept = {name: tensor.clone() for name, tensor in native.state_names(model).items()}
    for name, tensor in native.state_names(model).items():
        if name == "text_head.weight" or name.endswith(("head.out", "head.bias")):
            tensor.zero_()
    _, losses = flow_loss(model, clean, clean)
    for name, tensor in native.state_names(model).items():
        tensor.copy_(kept[name])
    assert losses["text"] == pytest.approx(math.log(model.config.text.vocabulary_size), abs=1e-4)
    assert losses["image"] == pytest.approx(math.log(16), abs=1e-4)
    assert losses["audio"] == pytest.approx(math.log(16), abs=1e-4)


def test_a_few_seconds_of_training_learn_one_drawing(tmp_path: Path) -> None:
    path = tiny_model(tmp_path)
    model, tokenizer = native.load(path), TextTokenizer(path / "tokenizer.json")
    model.train()
    objective = Objective(model, tokenizer.special, 0.1)
    pixels = np.random.default_rng(0).uniform(-1, 1, (8, 3, 16, 16)).astype(np.float32)
    pixels[:] = pixels[:1]

    def build(image: Ids, _: Ids) -> tuple[list[Sequence], ...]:
        given = conversation(tokenizer, [Turn("user", (Part("text", "draw a cat"),))])
        return (
            [
                Sequence((*given, *part_segments(tokenizer, Part("image", codes), frozen=False)))
                for codes in image
            ],
        )

    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    losses = []
    for step in range(60):
        loss, metrics = objective(
            Draw("draw", build, pixels), np.random.default_rng(step), reconstruct=step % 10 == 0
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(metrics["image"])
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_a_step_is_a_function_of_its_generator(parts: tuple[OmniModel, TextTokenizer]) -> None:
    model, tokenizer = parts
    objective = Objective(model, tokenizer.special, 0.5)
    first = objective.flow(sequences(model, tokenizer), np.random.default_rng(3))[1]
    assert first == objective.flow(sequences(model, tokenizer), np.random.default_rng(3))[1]
    assert first != objective.flow(sequences(model, tokenizer), np.random.default_rng(4))[1]


def test_contrastive_loss_knows_aligned_pairs() -> None:
    first = torch.nn.functional.normalize(
        torch.randn(8, 16, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    aligned, top1 = contrastive_loss(first, first)
    shuffled, _ = contrastive_loss(first, first.roll(1, 0))
    assert top1 == 1.0 and float(aligned) < 0.1 < float(shuffled)


def test_gradnorm_raises_the_weight_of_the_loss_with_the_smaller_gradient() -> None:
    shared = torch.nn.Parameter(torch.ones(4))
    balance = GradNorm(("ce", "image", "audio"))
    for _ in range(50):
        balance.update({"ce": 10.0 * shared.sum(), "image": 0.1 * shared.sum()}, shared)
    assert balance.weights["image"] > balance.weights["audio"] > balance.weights["ce"] > 0
    assert sum(balance.weights.values()) == pytest.approx(3.0)
    again = GradNorm(("ce", "image", "audio"))
    again.load(balance.state())
    assert again.weights == balance.weights


def test_a_causal_model_learns_the_next_token_up_to_the_end(tmp_path: Path) -> None:
    path = tiny_model(tmp_path / "causal", causal_config())
    model, tokenizer = native.load(path).train(), TextTokenizer(path / "tokenizer.json")
    objective, rng = Objective(model, tokenizer.special, 0.0), np.random.default_rng(0)
    named = [sequences(model, tokenizer)[1]] * 4
    draw = Draw("image_to_text", lambda _, __: (named,))
    clean = collate(named, model.config)
    hidden, start = model.hidden(embed(model, clean), clean.attention), named[0].spans()[-1][0]
    ids = [*tokenizer.encode("a cat").tolist(), tokenizer.special.eos]
    assert len(ids) < len(named[0].segments[-1]), "there is padding, which is not learnt"
    logits = model.text_head(hidden[0, start - 1 : start - 1 + len(ids)])
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(ids))
    loss, metrics = objective(draw, rng, False)
    torch.testing.assert_close(loss, expected)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(30):
        optimizer.zero_grad()
        loss, metrics = objective(draw, rng, False)
        loss.backward()
        optimizer.step()
    assert metrics["text"] < 0.2 * float(expected.detach())
    with pytest.raises(UsageError, match="only learns to answer in text"):
        objective(Draw("all", lambda _, __: (sequences(model, tokenizer),)), rng, False)

"""Greedy decoding against the likeliest next token of whole forwards, and what it refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import UsageError
from nextomni_edge.export import export_bundle
from nextomni_edge.generate.autoregressive import greedy
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.steps import NOT_DRAWN, StepRecord
from nextomni_edge.models import native
from nextomni_edge.tokens.chat import Kind, Part, Turn, conversation, respond
from nextomni_edge.tokens.sequence import Sequence
from nextomni_edge.train.batch import collate, embed
from tests.tiny import causal_config, tiny_model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("causal"), causal_config())


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> EdgeModel:
    return EdgeModel.from_checkpoint(checkpoint)


def ask(model: EdgeModel, prompt: str, kind: Kind = "text", count: int | None = 3) -> Sequence:
    turns = [Turn("user", (Part("text", prompt),))]
    return respond(conversation(model.tokenizer, turns), kind, model.config, model.tokenizer, count)


def test_every_token_is_the_likeliest_after_all_before_it(
    model: EdgeModel, checkpoint: Path
) -> None:
    """The whole sequence in one causal forward, no past, in PyTorch."""
    network, records = native.load(checkpoint), list[StepRecord]()
    found = greedy(model, [ask(model, "draw a red rocket")], records.append)[0]
    batch = collate([found], network.config)
    with torch.no_grad():
        logits = network.text_head(network.hidden(embed(network, batch), batch.attention))[0]
    start = found.spans()[-1][0]
    expected = logits[start - 1 : -1].argmax(dim=-1).tolist()
    answer = found.segments[-1].tokens.tolist()
    ended = (
        answer.index(model.tokenizer.special.eos) + 1
        if model.tokenizer.special.eos in answer
        else len(answer)
    )
    assert min(record.margin for record in records) > 1e-5, (
        "no draw so near a tie that rounding may decide it"
    )
    assert answer[:ended] == expected[:ended] and set(answer[ended:]) <= {
        model.tokenizer.special.pad
    }
    assert len(set(answer)) > 1 and [record.step for record in records] == list(range(ended))


def test_records_hold_the_tokens_so_far_and_the_next(model: EdgeModel) -> None:
    records: list[StepRecord] = []
    answer = greedy(model, [ask(model, "a cat")], records.append)[0].segments[-1].tokens
    for step, record in enumerate(records):
        assert record.x_1 is not None and record.margins is not None
        assert (record.x_t[0][:step] == answer[:step]).all() and record.x_1[0][step] == answer[step]
        assert (np.delete(record.x_1[0], step) == NOT_DRAWN).all() and np.isinf(
            np.delete(record.margins[0], step)
        ).all()


def test_a_batch_of_requests_gets_the_answers_of_each_alone(model: EdgeModel) -> None:
    asked = [
        ask(model, prompt) for prompt in ("a cat", "draw a red rocket", "a tree", "what is this?")
    ]
    meter = Meter()
    together = greedy(model, asked, meter=meter)
    for one, request in zip(together, asked, strict=True):
        assert (one.segments[-1].tokens == greedy(model, [request])[0].segments[-1].tokens).all()
    assert meter.requests == 4 and meter.rows < sum(sequence.length for sequence in asked), (
        "each row is computed once"
    )


def test_an_answer_ends_at_eos(model: EdgeModel) -> None:
    """The head is made to say <EOS> third."""
    special, calls = model.tokenizer.special, list[int]()
    spoilt = EdgeModel(model.config, model.tokenizer, model.session, lambda _: np.zeros(0))

    def head(modality: str, hidden: np.ndarray, codes: np.ndarray) -> np.ndarray:
        calls.append(len(hidden))
        logits = np.zeros((len(hidden), 1, 1, model.config.text.vocabulary_size), np.float32)
        logits[..., special.eos if len(calls) == 3 else 40] = 1.0
        return logits

    spoilt.head = head  # type: ignore[assignment,method-assign]
    answer = greedy(spoilt, [ask(model, "a cat")])[0].segments[-1].tokens.tolist()
    assert answer == [40, 40, special.eos] + [special.pad] * 9 and len(calls) == 3


def test_each_decoder_refuses_the_other_s_model(model: EdgeModel, tiny_checkpoint: Path) -> None:
    with pytest.raises(
        UsageError, match="this model is autoregressive, there is no flow to sample"
    ):
        generate(model, ask(model, "a cat"), GenerationOptions(temperature=0.0))
    flow = EdgeModel.from_checkpoint(tiny_checkpoint)
    with pytest.raises(UsageError, match="this model is a flow, which no next token is read from"):
        greedy(flow, [ask(flow, "a cat")])


def test_what_is_no_text_or_too_long_is_refused(model: EdgeModel) -> None:
    with pytest.raises(UsageError, match="answers in text, at the end of the sequence"):
        greedy(model, [ask(model, "a cat", "image", None)])
    short = dataclasses.replace(
        model.config, backbone=dataclasses.replace(model.config.backbone, max_positions=16)
    )
    with pytest.raises(UsageError, match="the model takes at most 16"):
        greedy(
            EdgeModel(short, model.tokenizer, model.session, lambda _: np.zeros(0)),
            [ask(model, "a cat")],
        )


def test_a_bundle_gives_pytorch_s_tokens_one_by_one(
    model: EdgeModel, checkpoint: Path, tmp_path: Path
) -> None:
    """`export` compares the twin's own decoding, task by task, and leaves out what it cannot answer
    in."""
    parts = ("embed_text", "embed_image", "backbone", "text_head", "image_encoder")
    export_bundle(checkpoint, tmp_path / "bundle", parts)
    bundle = Bundle.open(tmp_path / "bundle")
    tasks, skipped = bundle.manifest.parity["tasks"], bundle.manifest.parity["skipped"]
    assert isinstance(tasks, dict) and isinstance(skipped, dict)
    assert tasks.keys() == {"image-to-text", "video-to-text"} and all(
        task["draws"] > 1 for task in tasks.values()
    )
    assert skipped["text-to-image"] == "an autoregressive model answers in text"
    on_device, asked = EdgeModel.from_bundle(bundle), ask(model, "draw a red rocket")
    assert (
        greedy(on_device, [asked])[0].segments[-1].tokens
        == greedy(model, [asked])[0].segments[-1].tokens
    ).all()

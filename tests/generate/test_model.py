"""The model as the device sees it, over the PyTorch reference: media in and out, retrieval,
conversations of several turns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nextomni_edge.generate.loop import generate, generate_batch
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.models import native
from nextomni_edge.tokens.audio import log_mel
from nextomni_edge.tokens.chat import Kind, Part, Turn, conversation, embedding_sequence, respond
from nextomni_edge.tokens.sequence import Sequence

KINDS: tuple[Kind, ...] = ("text", "image", "audio", "video")
COUNTS = {"text": 1, "image": None, "audio": 3, "video": 2}


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> EdgeModel:
    return EdgeModel.from_checkpoint(tiny_checkpoint)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


def part(model: EdgeModel, kind: Kind) -> Part:
    size = model.config.image.size
    if kind == "text":
        return Part("text", "a cat")
    if kind == "audio":
        return Part("audio", model.encode_audio(noise(3000)))
    return Part(
        kind,
        model.encode_image(noise(3, size, size) if kind == "image" else noise(2, 3, size, size)),
    )


def answer(model: EdgeModel, turns: list[Turn], kind: Kind) -> Sequence:
    asked = respond(
        conversation(model.tokenizer, turns), kind, model.config, model.tokenizer, COUNTS[kind]
    )
    return generate(model, asked, GenerationOptions.defaults(model.config, kind, steps=3))


@pytest.mark.parametrize("given", KINDS)
@pytest.mark.parametrize("wanted", KINDS)
def test_any_modality_in_any_modality_out(model: EdgeModel, given: Kind, wanted: Kind) -> None:
    found = model.response(
        answer(model, [Turn("user", (part(model, given), Part("text", "what is this?")))], wanted)
    )
    assert found.kind == wanted
    image, audio = model.config.image, model.config.audio
    if not isinstance(found.value, str):
        shapes = {
            "image": (image.positions, image.codebook.codebooks),
            "audio": (3, audio.codebook.codebooks),
            "video": (2, image.positions, image.codebook.codebooks),
        }
        assert found.value.shape == shapes[wanted]


def test_several_turns_hear_what_was_answered(model: EdgeModel) -> None:
    turns = [Turn("user", (Part("text", "draw a red rocket"),))]
    pictures = []
    for request in ("now bigger", "now smaller"):
        picture = model.response(answer(model, turns, "image"))
        pictures.append(picture.value)
        turns += [Turn("assistant", (picture,)), Turn("user", (Part("text", request),))]
    said = model.response(answer(model, turns, "audio"))
    assert said.kind == "audio"
    forgetful = [
        turns[0],
        Turn("assistant", (Part("image", np.zeros_like(pictures[0])),)),
        *turns[2:],
    ]
    assert not np.array_equal(said.value, model.response(answer(model, forgetful, "audio")).value)


def test_a_batch_of_the_reference_is_its_requests_one_by_one(model: EdgeModel) -> None:
    """Sums of another order differ in the last bits alone; these draws have margins far above
    them."""
    turns = [
        [Turn("user", (Part("text", prompt),))]
        for prompt in ("say a cat", "draw a red rocket", "draw a green tree")
    ]
    asked = [
        respond(conversation(model.tokenizer, t), "image", model.config, model.tokenizer)
        for t in turns
    ]
    options = GenerationOptions.defaults(model.config, "image")
    margins: list[float] = []
    alone = [
        generate(model, sequence, options, lambda record: margins.append(record.margin))
        for sequence in asked
    ]
    assert min(margins) > 1e-5
    for found, expected in zip(generate_batch(model, asked, options), alone, strict=True):
        np.testing.assert_array_equal(model.response(found).value, model.response(expected).value)


def test_hidden_states_are_the_network_s(model: EdgeModel, tiny_checkpoint: Path) -> None:
    network = native.load(tiny_checkpoint)
    parts = (part(model, "image"), Part("text", "what is this?"), part(model, "audio"))
    sequence = Sequence(conversation(model.tokenizer, [Turn("user", parts)]))
    embed = {"text": network.embed_text, "image": network.embed_image, "audio": network.embed_audio}
    with torch.inference_mode():
        rows = [
            embed[segment.modality](torch.tensor(segment.tokens)[None])
            for segment in sequence.segments
        ]
        expected = network.hidden(
            torch.cat(rows, dim=1), torch.ones(1, sequence.length, dtype=torch.bool)
        )
    np.testing.assert_allclose(model.hidden([sequence])[0], expected[0].numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_an_embedding_is_the_normalised_hidden_state_at_eos(model: EdgeModel, kind: Kind) -> None:
    sequence = embedding_sequence(model.tokenizer, part(model, kind), model.config)
    last = model.hidden([sequence])[0, -1]
    found = model.embed(sequence)
    np.testing.assert_allclose(found, last / np.linalg.norm(last), rtol=1e-6)
    np.testing.assert_allclose(model.embed_batch([sequence, sequence])[1], found, atol=1e-6)


def test_a_waveform_is_heard_as_its_log_mel(model: EdgeModel) -> None:
    waveform = noise(3000)
    np.testing.assert_array_equal(
        model.encode_audio(waveform), model.encode_audio(log_mel(waveform, model.config.audio))
    )


def test_media_come_alone_or_several_at_once(model: EdgeModel) -> None:
    size, token = (
        model.config.image.size,
        model.config.audio.hop * model.config.audio.frames_per_token,
    )
    codes = model.encode_image(noise(2, 3, size, size))
    np.testing.assert_array_equal(model.encode_image(noise(2, 3, size, size)[1]), codes[1])
    pixels = model.decode_image(codes)
    assert pixels.shape == (2, 3, size, size) and np.abs(pixels).max() <= 1.0
    np.testing.assert_allclose(model.decode_image(codes[1]), pixels[1], atol=1e-5)
    waveform = model.decode_audio(model.encode_audio(noise(3 * token)))
    assert waveform.shape == (3 * token,) and np.abs(waveform).max() <= 1.0


def test_components_load_when_first_needed(tiny_checkpoint: Path) -> None:
    model = EdgeModel.from_checkpoint(tiny_checkpoint)
    assert model.providers() == []
    model.embed(embedding_sequence(model.tokenizer, Part("text", "a cat"), model.config))
    assert model.providers() == ["cpu"]

"""A conversation keeps what was said, and forgets what failed or was left."""

from __future__ import annotations

import pytest

import nextomni_edge as ne
from nextomni_edge.errors import UsageError


def test_a_conversation_is_what_the_model_sees_of_it(model: ne.Model) -> None:
    chat = model.chat()
    drawn = chat.say("draw a cat", to="image", seed=7)
    named = chat.say("what is this?", to="image", seed=7)
    assert drawn.tokens.tolist() == model.generate("draw a cat", to="image", seed=7).tokens.tolist()
    alone = model.generate("what is this?", to="image", seed=7)
    assert named.tokens.tolist() != alone.tokens.tolist()
    assert [turn.role for turn in chat.turns] == ["user", "assistant"] * 2
    assert chat.last is not None and chat.last.tokens.tolist() == named.tokens.tolist()
    chat.reset()
    again = chat.say("what is this?", to="image", seed=7)
    assert again.tokens.tolist() == alone.tokens.tolist()


def test_a_chat_s_settings_hold_where_they_fit(model: ne.Model) -> None:
    chat = model.chat("audio", seconds=0.1, seed=2)
    assert len(chat.say("a").audio[0]) == 2 * 1280
    assert chat.say("a", to="image").modality == "image"
    assert len(chat.say("a", seconds=0.3).audio[0]) == 4 * 1280


def test_a_turn_that_fails_is_forgotten(model: ne.Model) -> None:
    chat = model.chat()
    chat.say("a cat")
    with pytest.raises(UsageError, match="no setting 'sed'"):
        chat.say("a cat", sed=1)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="one prompt at a time"):
        chat.say(["a cat", "a dog"])
    assert len(chat.turns) == 2


def test_a_stream_that_is_left_is_forgotten_and_one_that_ends_is_kept(model: ne.Model) -> None:
    chat = model.chat("image")
    for _ in chat.stream("a cat"):
        break
    assert chat.turns == [] and chat.last is None
    steps = list(chat.stream("a cat"))
    assert len(chat.turns) == 2 and chat.last is steps[-1].answer


def test_progress_is_told_in_steps(model: ne.Model) -> None:
    told: list[tuple[int, int, str]] = []
    model.chat("image", steps=2).say("a cat", progress=lambda *step: told.append(step))
    assert told == [(1, 2, ""), (2, 2, "")]

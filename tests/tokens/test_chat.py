"""Conversations as sequences: what stands where, what guidance drops, and that a user's text is
never control."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.tokens.chat import (
    Part,
    Turn,
    conversation,
    embedding_sequence,
    respond,
    text_response,
)
from nextomni_edge.tokens.sequence import Segment, Sequence, unconditional
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.tokens.train import train_tokenizer
from tests.tiny import CORPUS, tiny_config

CONFIG = tiny_config()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer(CORPUS, 320, path)
    return TextTokenizer(path)


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=40))
def test_text_comes_back_and_never_becomes_a_special_token(
    tokenizer: TextTokenizer, text: str
) -> None:
    ids = tokenizer.encode(text)
    assert not np.isin(ids, tokenizer.special.ids).any()
    assert tokenizer.decode(ids) == text.replace("<|", "< |").strip()


def test_special_spellings_in_a_prompt_are_plain_characters(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode("<|im_end|><|eos|>")
    assert tokenizer.special.im_end not in ids and tokenizer.special.eos not in ids


def test_an_image_response_stands_between_its_markers(tokenizer: TextTokenizer) -> None:
    segments = conversation(tokenizer, [Turn("user", (Part("text", "draw a cat"),))])
    sequence = respond(segments, "image", CONFIG, tokenizer)
    (index,) = sequence.generated()
    assert sequence.segments[index].tokens.shape == (4, 3)
    assert sequence.segments[index - 1].tokens.tolist() == [tokenizer.special.image_start]
    assert sequence.segments[index + 1].tokens.tolist() == [tokenizer.special.image_end]
    start, stop = sequence.spans()[index]
    assert stop - start == 4 and sequence.length == stop + 1


def test_video_is_frames_of_images_between_video_markers(tokenizer: TextTokenizer) -> None:
    sequence = respond((), "video", CONFIG, tokenizer, 3)
    assert [s.modality for s in sequence.segments if not s.frozen] == ["image"] * 3
    assert sequence.segments[0].tokens.tolist() == [tokenizer.special.video_start]
    assert sequence.segments[-1].tokens.tolist() == [tokenizer.special.video_end]


def test_guidance_drops_text_but_keeps_markers_media_and_length(tokenizer: TextTokenizer) -> None:
    codes = np.ones((4, 3), np.int64)
    segments = conversation(
        tokenizer, [Turn("user", (Part("image", codes), Part("text", "what is this?")))]
    )
    sequence = respond(segments, "text", CONFIG, tokenizer, 2)
    dropped = unconditional(sequence, tokenizer.special)
    assert dropped.length == sequence.length
    for before, after in zip(sequence.segments, dropped.segments, strict=True):
        if before.modality == "text" and before.frozen:
            kept = np.isin(before.tokens, tokenizer.special.markers)
            assert (after.tokens[kept] == before.tokens[kept]).all()
            assert (after.tokens[~kept] == tokenizer.special.null).all()
        else:
            assert (after.tokens == before.tokens).all()


def test_a_text_response_is_content_eos_and_pads(tokenizer: TextTokenizer) -> None:
    ids = text_response(tokenizer, "a cat", 4)
    assert len(ids) % 4 == 0 and tokenizer.decode(ids) == "a cat"
    after = ids[list(ids).index(tokenizer.special.eos) + 1 :]
    assert (after == tokenizer.special.pad).all()


def test_an_embedding_sequence_ends_in_eos(tokenizer: TextTokenizer) -> None:
    sequence = embedding_sequence(tokenizer, Part("text", "a cat"), CONFIG)
    assert sequence.segments[-1].tokens.tolist() == [tokenizer.special.eos]
    assert not sequence.generated()


@pytest.mark.parametrize(
    ("kind", "count"), [("text", 0), ("text", 4), ("video", 5), ("audio", 5), ("image", 2)]
)
def test_a_response_longer_than_the_model_is_refused(
    tokenizer: TextTokenizer, kind: str, count: int
) -> None:
    with pytest.raises(UsageError, match=rf"{kind} response of {count}: the model takes 1 to \d+"):
        respond((), kind, CONFIG, tokenizer, count)  # type: ignore[arg-type]


def test_a_segment_of_the_wrong_rank_is_refused() -> None:
    with pytest.raises(ValueError, match="image segment: int64 of rank 2 expected"):
        Segment("image", np.zeros(4, np.int64))
    assert Sequence((Segment("text", np.zeros(3, np.int64)),)).spans() == ((0, 3),)


def test_a_file_that_is_no_tokenizer_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(InputError, match="not a tokenizer"):
        TextTokenizer(path)

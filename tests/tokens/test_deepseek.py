"""DeepSeek's template, as Janus and FUDOKI speak it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nextomni_edge.config import ModelConfig, TextConfig
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.tokens.chat import Part, Turn, conversation, part_segments, respond
from nextomni_edge.tokens.sequence import Segment, Sequence
from nextomni_edge.tokens.text import ABSENT, TextTokenizer
from tests.models.fudoki_oracle import IDS, SPELLINGS, write_tokenizer

TEXT = TextConfig(
    vocabulary_size=384,
    template="deepseek",
    system_prompt="what is this?",
    canvas=60,
    null_token=IDS["null"],
)
CONFIG = ModelConfig.from_json(
    {
        "network": "fudoki", "modalities": ["text", "image"],
        "text": vars(TEXT) | {"max_blocks": 1},
        "image": {
            "size": 64, "max_frames": 1, "given": "features",
            "codebook": {"codebooks": 1, "entries": 128}, "vq": {"channels": 32}
        },
    }
)  # fmt: skip
USER, ASSISTANT, COLON = 0, 1, 2  # of the words in the test's tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    path = tmp_path_factory.mktemp("deepseek") / "tokenizer.json"
    write_tokenizer(path)
    return TextTokenizer(path, TEXT)


def ids(segments: tuple[Segment, ...]) -> list[int]:
    return [
        int(token) for segment in segments if segment.modality == "text" for token in segment.tokens
    ]


def test_a_question_opens_with_the_system_s_words_and_a_request_for_a_picture_does_not(
    tokenizer: TextTokenizer,
) -> None:
    turns = [Turn("user", (Part("text", " a red cat "),))]
    asked = [USER, COLON, 8, 9, 10, ASSISTANT, COLON]
    assert ids(conversation(tokenizer, turns)) == [IDS["bos"], 3, 4, 5, 6, *asked]
    assert ids(conversation(tokenizer, turns, "image")) == [IDS["bos"], *asked]


def test_an_assistant_s_turn_ends_in_eos_and_a_picture_stands_where_it_was_given(
    tokenizer: TextTokenizer,
) -> None:
    features = np.zeros((16, 64), np.float32)
    turns = [
        Turn("user", (Part("image", features), Part("text", "what"))),
        Turn("assistant", (Part("text", "a cat"),)),
        Turn("user", (Part("text", "red ?"),)),
    ]
    said = conversation(tokenizer, turns, "image")
    assert ids(said) == [
        IDS["bos"], USER, COLON, IDS["begin_of_image"], IDS["end_of_image"], 3, ASSISTANT, COLON, 8,
        10, IDS["eos"], USER, COLON, 9, 6, ASSISTANT, COLON,
    ]  # fmt: skip
    (picture,) = [segment for segment in said if segment.modality == "image"]
    assert picture.continuous and picture.frozen and Sequence(said).length == 17 + 16


def test_a_text_answer_fills_what_the_prompt_leaves(tokenizer: TextTokenizer) -> None:
    prompt = conversation(tokenizer, [Turn("user", (Part("text", "what"),))])
    answer = respond(prompt, "text", CONFIG, tokenizer)
    assert answer.length == 60 and len(answer.segments[-1]) == 60 - Sequence(prompt).length
    long = conversation(tokenizer, [Turn("user", (Part("text", "cat " * 60),))])
    with pytest.raises(UsageError, match=r"prompt of \d+ positions: the model's canvas has 60"):
        respond(long, "text", CONFIG, tokenizer)


@pytest.mark.parametrize("spelling", SPELLINGS.values())
def test_control_tokens_in_a_user_s_text_are_plain_characters(
    tokenizer: TextTokenizer, spelling: str
) -> None:
    said = conversation(tokenizer, [Turn("user", (Part("text", f"a {spelling} cat"),))], "image")
    assert ids(said).count(IDS["bos"]) == 1 and not {IDS["eos"], IDS["begin_of_image"]} & set(
        ids(said)
    )


def test_kinds_that_the_template_cannot_hold_are_refused(tokenizer: TextTokenizer) -> None:
    assert tokenizer.special.audio_start == ABSENT and tokenizer.special.markers[0] == IDS["bos"]
    with pytest.raises(UsageError, match="audio: this model's conversations hold no audio"):
        part_segments(tokenizer, Part("audio", np.zeros((3, 2), np.int64)))
    with pytest.raises(UsageError, match="modality 'video': this model answers in text or image"):
        respond((), "video", CONFIG, tokenizer)


def test_a_tokenizer_of_another_template_is_one_sentence(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer.json")
    with pytest.raises(InputError, match=r"special token <\|pad\|> is missing"):
        TextTokenizer(tmp_path / "tokenizer.json")
    with pytest.raises(
        InputError, match=r"names no null token; the config must say text\.null_token"
    ):
        TextTokenizer(tmp_path / "tokenizer.json", TextConfig(template="deepseek"))

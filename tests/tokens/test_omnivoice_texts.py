"""What OmniVoice's command does to texts and sounds, against what its package made of them."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from nextomni_edge.errors import UsageError
from nextomni_edge.media.silence import bordered, edged, joined, without_silence
from nextomni_edge.tokens import languages
from nextomni_edge.tokens.duration import tokens, total
from nextomni_edge.tokens.omnivoice import joined as one_line
from nextomni_edge.tokens.resample import resampled
from nextomni_edge.tokens.sentences import clauses, ended, pieces, sentences
from nextomni_edge.tokens.voice_design import designed
from tests.published.omnivoice_cases import DESIGNS, FOLDER, RATES, STORY, TEXTS, patchy, signal

RECORDED = json.loads((FOLDER / "texts.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("index", range(len(TEXTS)))
def test_a_text_is_cut_weighed_and_joined_as_by_the_package(index: int) -> None:
    (text, most), expected = TEXTS[index], RECORDED["texts"][index]
    found: dict[str, Any] = {
        "pieces": pieces(text, most), "ended": ended(text), "joined": one_line(text, "Well, "),
        "weight": total(text), "tokens": tokens(text),
    }  # fmt: skip
    assert found == expected


@pytest.mark.parametrize("index", range(len(DESIGNS)))
def test_a_voice_is_described_as_by_the_package(index: int) -> None:
    expected = RECORDED["designs"][index]
    if expected is False:
        with pytest.raises(UsageError, match="voice"):
            designed(*DESIGNS[index])
    else:
        assert designed(*DESIGNS[index]) == expected


@pytest.mark.parametrize("seed", range(len(RECORDED["silences"])))
def test_silences_are_cut_out_as_by_the_package(seed: int) -> None:
    """Sample for sample, in 16 bits."""
    found = without_silence(patchy(seed, 24_000), 24_000, 500 - 300 * (seed % 2), 100, 200)
    whole = (found * 32768).astype("<i2").tobytes()
    assert [len(found), zlib.crc32(whole)] == RECORDED["silences"][seed]


@pytest.mark.parametrize("rates", RATES, ids=str)
def test_a_sound_is_resampled_as_torchaudio_does(rates: tuple[int, int]) -> None:
    source, target = rates
    expected = load_file(FOLDER / "resampled.safetensors")[f"{source}.{target}"]
    np.testing.assert_allclose(resampled(signal(source, 700), *rates), expected, atol=1e-6, rtol=0)


@given(st.text(alphabet='ab .,!?。Mr\n"”', max_size=60), st.integers(1, 20))
def test_nothing_of_a_text_is_lost_between_its_pieces(text: str, most: int) -> None:
    letters = [c for c in text if not c.isspace()]
    for found in (pieces(text, most), sentences(text), clauses(text)):
        assert [c for part in found for c in part if not c.isspace()] == letters


def test_a_story_has_its_sentences() -> None:
    found = sentences(STORY)
    assert found[0] == "The train to Gdańsk left at 9:15, Dr. Ito said."
    assert "We walked." in found
    assert len(found) == 9


def test_an_abbreviation_that_fills_a_text_is_read_in_no_time() -> None:
    assert pieces("No. " * 25_000, 200)


@pytest.mark.parametrize(
    ("name", "code"),
    [("English", "en"), ("ZULU", "zu"), ("zh", "zh"), ("none", None), ("Yutanduchi Mixtec", "mab")],
)
def test_a_language_is_found_by_name_and_by_code(name: str, code: str | None) -> None:
    assert languages.code(name) == code


def test_an_unknown_language_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'german'"):
        languages.code("Germn")


def test_a_sound_in_parts_is_the_sound_of_all() -> None:
    """What is heard part by part is what one joining gives."""
    rate, parts = 24_000, [signal(index, 9_000 + index) for index in range(3)]
    heard = [piece for index, part in enumerate(parts)
             for piece in bordered(part, rate, index > 0, index < 2)]  # fmt: skip
    np.testing.assert_array_equal(np.concatenate(heard), joined(parts, rate))
    whole = edged(parts[0], rate)
    assert len(whole) == 9_000 + 2 * 2_400 and not whole[:2_401].any() and not whole[-2_401:].any()

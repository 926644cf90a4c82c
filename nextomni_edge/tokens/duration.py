"""How long a text takes to be said, from the weights of its characters: OmniVoice's rule, whose
numbers are those of its package (k2-fsa/OmniVoice, Apache-2.0)."""

from __future__ import annotations

import bisect
import functools
import unicodedata
from typing import Final

LATIN, ARABIC, INDIC, KHMER, HANGUL, ETHIOPIC, KANA, HAN = 1.0, 1.5, 1.8, 1.8, 2.5, 3.0, 2.2, 3.0
# (last code point, weight) of ranges that follow each other; one Latin letter is 1
RANGES: Final = (
    (0x058F, LATIN), (0x08FF, ARABIC), (0x0DFF, INDIC), (0x0EFF, ARABIC), (0x0FFF, INDIC),
    (0x109F, KHMER), (0x10FF, LATIN), (0x11FF, HANGUL), (0x139F, ETHIOPIC), (0x177F, LATIN),
    (0x17FF, KHMER), (0x18FF, LATIN), (0x1C7F, INDIC), (0x1CBF, LATIN), (0x1CFF, INDIC),
    (0x1EFF, LATIN), (0x30FF, KANA), (0x312F, HAN), (0x318F, HANGUL), (0xA4CF, HAN),
    (0xA7FF, LATIN), (0xA82F, INDIC), (0xA87F, LATIN), (0xA95F, INDIC), (0xA97F, HANGUL),
    (0xAAFF, INDIC), (0xAB2F, ETHIOPIC), (0xABBF, LATIN), (0xABFF, INDIC), (0xD7AF, HANGUL),
    (0xFAFF, HAN), (0xFDFF, ARABIC), (0xFE6F, LATIN), (0xFEFF, ARABIC), (0xFFEF, LATIN),
)  # fmt: skip
STOPS: Final = [last for last, _ in RANGES]
# by the first letter of a character's category: marks, punctuation and symbols, spaces, numbers
CATEGORIES: Final = {"M": 0.0, "P": 0.5, "S": 0.5, "Z": 0.2, "N": 3.5}
TATWEEL, SUPPLEMENTS = 0x0640, 0x20000  # a lengthening line; the planes of more Han characters
# the voice that is taken where none is given: 25 tokens a second
USUAL_TEXT, USUAL_TOKENS = "Nice to meet you.", 25
SHORT, BOOST = 50.0, 3.0  # tokens under which an estimate grows, and by which root


@functools.lru_cache(maxsize=4096)
def weight(character: str) -> float:
    """How long one character takes, as a multiple of a Latin letter."""
    code = ord(character)
    if code == TATWEEL:
        return 0.0
    category = unicodedata.category(character)[0]
    if category in CATEGORIES:
        return CATEGORIES[category]
    at = bisect.bisect_left(STOPS, code)
    if at < len(RANGES):
        return RANGES[at][1]
    return HAN if code > SUPPLEMENTS else LATIN


def total(text: str) -> float:
    """How long a text takes, in Latin letters."""
    return sum(weight(character) for character in text)


def tokens(text: str, voice_text: str = "", voice_tokens: int = 0, speed: float = 1.0) -> int:
    """
    How many tokens a text takes in the pace of a voice that needs `voice_tokens` for its own text,
    at least one. A short text gets more than its share: s·(n/s)^(1/3) under s = 50 tokens.
    """
    if not voice_text:
        voice_text, voice_tokens = USUAL_TEXT, USUAL_TOKENS
    found, pace = 0.0, total(voice_text)
    if voice_tokens > 0 and pace > 0.0:
        found = total(text) / (pace / voice_tokens)
        if found < SHORT:
            found = SHORT * (found / SHORT) ** (1.0 / BOOST)
    return max(1, int(found / speed if speed != 1.0 else found))

"""What a voice may be described by where no clip of it is given: OmniVoice's words, in English and
Chinese."""

from __future__ import annotations

import difflib
import re
from typing import Final

from nextomni_edge.errors import UsageError
from nextomni_edge.tokens.omnivoice import HAN

# English → Chinese, by category; of each at most one word is given
CATEGORIES: Final = (
    {"male": "男", "female": "女"},
    {"child": "儿童", "teenager": "少年", "young adult": "青年", "middle-aged": "中年",
     "elderly": "老年"},
    {"very low pitch": "极低音调", "low pitch": "低音调", "moderate pitch": "中音调",
     "high pitch": "高音调", "very high pitch": "极高音调"},
    {"whisper": "耳语"},
)  # fmt: skip
# of English speech, and of Chinese speech: neither has a word in the other language
ACCENTS: Final = tuple(
    f"{name} accent"
    for name in ("american", "british", "australian", "chinese", "canadian", "indian", "korean",
                 "portuguese", "russian", "japanese")
)  # fmt: skip
DIALECTS: Final = tuple(
    f"{name}话"
    for name in ("河南", "陕西", "四川", "贵州", "云南", "桂林", "济南", "石家庄", "甘肃", "宁夏",
                 "青岛", "东北")
)  # fmt: skip
TO_CHINESE: Final = {english: own for each in CATEGORIES for english, own in each.items()}
TO_ENGLISH: Final = {own: english for english, own in TO_CHINESE.items()}
GROUPS: Final = (*((*each, *each.values()) for each in CATEGORIES), ACCENTS, DIALECTS)
WORDS: Final = tuple(word for group in GROUPS for word in group)


def designed(words: str, text: str) -> str | None:
    """The words as the model was trained on them: in Chinese where the text has Han characters or a
    dialect is asked for, in English with an accent. None of an empty description. UsageError: an
    unknown word, with the nearest one, or words that contradict each other."""
    asked = [word.strip().lower() for word in re.split(r"[,，]", words) if word.strip()]
    if not asked:
        return None
    for word in asked:
        if word not in WORDS:
            near = difflib.get_close_matches(word, WORDS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected some of {', '.join(WORDS)}"
            raise UsageError(f"voice {word[:40]!r}: {hint}")
    dialect, accent = (any(word in group for word in asked) for group in (DIALECTS, ACCENTS))
    if dialect and accent:
        raise UsageError("voice: a dialect is of Chinese speech, an accent of English; give one")
    chinese = dialect or (not accent and re.search(HAN, text) is not None)
    found = [(TO_CHINESE if chinese else TO_ENGLISH).get(word, word) for word in asked]
    for group in GROUPS:
        if len(both := [word for word in found if word in group]) > 1:
            raise UsageError(f"voice: {' and '.join(both)} contradict each other; give one")
    return ("，" if any(re.search(HAN, word) for word in found) else ", ").join(found)

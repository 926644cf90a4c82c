"""A text cut into pieces that are said one after another, at its punctuation, as OmniVoice cuts
it."""

from __future__ import annotations

from typing import Final

from nextomni_edge.tokens.omnivoice import HAN

STOPS: Final = frozenset(".,;:!?。，；：！？")
CLOSING: Final = frozenset("\"'“”‘’）]》>」】")
# what a text may end in, and is then left as it is
ENDS: Final = frozenset(";:,.!?…)]}\"'“”‘’；：，。！？、）】")
ABBREVIATIONS: Final = frozenset((
    "Mr.", "Mrs.", "Ms.", "Dr.", "Prof.", "Sr.", "Jr.", "Rev.", "Fr.", "Hon.", "Pres.", "Gov.",
    "Capt.", "Gen.", "Sen.", "Rep.", "Col.", "Maj.", "Lt.", "Cmdr.", "Sgt.", "Cpl.", "Co.", "Corp.",
    "Inc.", "Ltd.", "Est.", "Dept.", "St.", "Ave.", "Blvd.", "Rd.", "Mt.", "Ft.", "No.", "Jan.",
    "Feb.", "Mar.", "Apr.", "Aug.", "Sep.", "Sept.", "Oct.", "Nov.", "Dec.", "i.e.", "e.g.", "vs.",
    "Vs.", "Etc.", "approx.", "fig.", "def.",
))  # fmt: skip
SENTENCE_ENDS: Final = frozenset(".!?。！？")
LEAST: Final = 3  # characters of a piece


def pieces(text: str, most: int) -> list[str]:
    """The text in pieces of at most `most` characters where its clauses allow that; one of fewer
    than three joins a neighbour."""
    return _stripped(_lengthened(_merged(clauses(text), most)))


def sentences(text: str) -> list[str]:
    """The text in sentences, for speech that is to begin at once."""
    found = [""]
    for clause in clauses(text):
        found[-1] += clause
        if clause.rstrip().rstrip("".join(CLOSING))[-1:] in SENTENCE_ENDS:
            found.append("")
    return _stripped(_lengthened([each for each in found if each]))


def clauses(text: str) -> list[str]:
    """The text cut behind each stop, but for an abbreviation's; what closes a clause belongs to
    it."""
    found: list[str] = []
    clause = ""
    for character in text:
        if not clause and found and (character in STOPS or character in CLOSING):
            found[-1] += character
            continue
        clause += character
        abbreviated = character == "." and clause.rsplit(maxsplit=1)[-1] in ABBREVIATIONS
        if character in STOPS and not abbreviated:
            found.append(clause)
            clause = ""
    return [*found, clause] if clause else found


def _merged(parts: list[str], most: int) -> list[str]:
    """Neighbours joined as long as they are not over `most` characters."""
    found: list[str] = []
    for part in parts:
        if found and len(found[-1]) + len(part) <= most:
            found[-1] += part
        else:
            found.append(part)
    return found


def _lengthened(parts: list[str]) -> list[str]:
    """A short piece joins the one before it; a short first piece the one behind it."""
    found: list[str] = []
    for index, part in enumerate(parts):
        first_is_short = index == 1 and len(parts[0]) < LEAST
        if found and (first_is_short or len(part) < LEAST):
            found[-1] += part
        else:
            found.append(part)
    return found


def _stripped(parts: list[str]) -> list[str]:
    return [part.strip() for part in parts if part.strip()]


def ended(text: str) -> str:
    """The text of a voice with a full stop, where it ends in no punctuation."""
    text = text.strip()
    if not text or text[-1] in ENDS:
        return text
    return text + ("。" if any(HAN[1] <= character <= HAN[3] for character in text) else ".")

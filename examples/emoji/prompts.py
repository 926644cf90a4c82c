"""What the demo is asked and how it answers: words, and sequences of them."""

from __future__ import annotations

from catalog import Concept
from poses import MOTIONS

from nextomni_edge.config import ModelConfig
from nextomni_edge.tokens.chat import Part, Turn, conversation, part_segments, text_response
from nextomni_edge.tokens.sequence import Segment, Sequence
from nextomni_edge.tokens.text import TextTokenizer

FRAMES = 4
# the voices that the model speaks with
GENERATION_VOICES = ("hibari-heart-us", "hibari-heart-gb", "flite-rms", "espeak-en-us-p50")
WHAT_IS_THIS, WHAT_WAS_SAID, WHAT_HAPPENS = "what is this?", "what was said?", "what happens here?"
LIST_IT, SPELL_IT = "list it", "spell it"
LISTING_TOKENS, PAGE_TOKENS = 64, 256
LEAD_TOKENS = 4
"""First part of the two in which a flow writes a listing or a page: enough to tell of what it
is."""


def draw_prompt(name: str, artist: str) -> str:
    return f"draw {name}, {artist} style"


def say_prompt(name: str, voice: str) -> str:
    return f"say {name}, {voice} voice"


def film_prompt(name: str, motion: str, artist: str) -> str:
    return f"film {name} {motion}, {artist} style"


def now(change: str) -> str:
    return f"now {change}"


def make_it(colour: str) -> str:
    return f"make it {colour}"


def listing(concept: Concept, artist: str) -> str:
    """All that is known of a drawing: the longest answer in words, 37 to 60 tokens with <EOS>."""
    tags, letters = ", ".join(concept.tags), " ".join(concept.name)
    return (
        f"name {concept.name}; kind {concept.category}; tags {tags}; letters {letters}; by {artist}"
    )


def page(concept: Concept, artist: str) -> str:
    """The words known of a drawing, each spelled forwards, backwards and sorted: 183 to 241 tokens
    with <EOS>."""
    known = [
        ("name", concept.name),
        ("kind", concept.category),
        *(("tag", tag) for tag in concept.tags),
    ]
    return "; ".join(f"{label} {spelled(word)}" for label, word in known) + f"; by {artist}"


def spelled(word: str) -> str:
    forwards, backwards, ordered = (
        " ".join(word),
        " ".join(word[::-1]),
        " ".join(sorted(word.replace(" ", ""))),
    )
    return f"{word}, {len(word)} letters {forwards}, backwards {backwards}, sorted {ordered}"


def answer(
    tokenizer: TextTokenizer, config: ModelConfig, parts: tuple[Part, ...], response: str | Part
) -> Sequence:
    """One user turn and its response, which holds x_1."""
    return dialogue(tokenizer, config, (Turn("user", parts),), response)


def dialogue(
    tokenizer: TextTokenizer, config: ModelConfig, turns: tuple[Turn, ...], response: str | Part
) -> Sequence:
    """Turns so far and the response to the last, which holds x_1."""
    given = conversation(tokenizer, turns)
    if isinstance(response, str):
        return Sequence(
            (
                *given,
                Segment(
                    "text", text_response(tokenizer, response, config.text.block_size), frozen=False
                ),
            )
        )
    return Sequence((*given, *part_segments(tokenizer, response, frozen=False)))


def corpus(names: list[str], artists: list[str]) -> list[str]:
    """Every word that the tasks use, often enough for each to become one token."""
    spoken = [
        say_prompt(name, GENERATION_VOICES[i % len(GENERATION_VOICES)])
        for i, name in enumerate(names)
    ]
    drawn = [draw_prompt(name, artists[i % len(artists)]) for i, name in enumerate(names)]
    filmed = [
        film_prompt(name, MOTIONS[i % len(MOTIONS)], artists[i % len(artists)])
        for i, name in enumerate(names)
    ]
    asked = [
        WHAT_IS_THIS,
        WHAT_WAS_SAID,
        WHAT_HAPPENS,
        "say it, it voice",
        "draw it, it style",
        "now bigger",
        "now smaller",
    ]
    return [*names, *spoken, *drawn, *filmed, *asked * 8, *["user\n", "assistant\n"] * 32] * 4

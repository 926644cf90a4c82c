"""tokenizer.json, checked before its library sees it: the components that a text may pass through,
each with bounded parameters.

The library's own faults are no errors but panics and endless work: a pattern that backtracks, a
replacement that grows the text, a template that repeats it, a compiled table. What is listed here
does work that is linear, or nearly, in the text; `tokens/text.py` bounds the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nextomni_edge.errors import InputError
from nextomni_edge.formats.regular import read_regular
from nextomni_edge.formats.strict_json import parse_json

MAX_TOKENIZER: Final = 40 * 2**20
MAX_COMPONENTS: Final = 16  # of one stage
MAX_WORD: Final = 4096  # characters of one piece of the vocabulary
MAX_PATTERN: Final = 4096

# The components of each stage. What they say of themselves beyond numbers, switches and short texts
# is checked by `_parameters`.
STAGES: Final[Mapping[str, frozenset[str]]] = {
    "normalizer": frozenset({
        "BertNormalizer", "ByteLevel", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Prepend",
        "Replace", "Sequence", "Strip", "StripAccents",
    }),
    "pre_tokenizer": frozenset({
        "BertPreTokenizer", "ByteLevel", "Digits", "Metaspace", "Punctuation", "Sequence", "Split",
        "Whitespace", "WhitespaceSplit",
    }),
    "post_processor": frozenset({"ByteLevel", "Sequence", "TemplateProcessing"}),
    "decoder": frozenset({
        "ByteFallback", "ByteLevel", "Fuse", "Metaspace", "Replace", "Sequence", "Strip",
        "WordPiece",
    }),
}  # fmt: skip
MODELS: Final = frozenset({"BPE", "Unigram", "WordLevel", "WordPiece"})
# of a Sequence, by stage
_INSIDE: Final = {
    "normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "post_processor": "processors",
    "decoder": "decoders",
}  # fmt: skip
_SHORT: Final = 16  # characters of a prefix, of what is prepended or stripped
_UNBOUNDED: Final = 8  # quantifiers without end in one alternative of a pattern


def read_tokenizer(path: Path) -> dict[str, Any]:
    """A tokenizer's JSON. InputError: it is none, or has a component whose work is not bounded."""
    return parse_tokenizer(read_regular(path, MAX_TOKENIZER), path)


def parse_tokenizer(content: bytes, path: Path) -> dict[str, Any]:
    """`read_tokenizer` of the bytes that stand at `path`."""
    data = parse_json(content, str(path))
    try:
        _check(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    found: dict[str, Any] = data
    return found


def _check(data: object) -> None:
    if not isinstance(data, dict) or not isinstance(data.get("model"), dict):
        raise InputError("not a tokenizer (no object 'model')")
    for stage in STAGES:
        _stage(stage, data.get(stage))
    _model(data["model"])
    added = data.get("added_tokens", [])
    if not isinstance(added, list):
        raise InputError("not a tokenizer (added_tokens is no list)")
    for token in added:
        content = token.get("content") if isinstance(token, dict) else None
        if not isinstance(content, str) or not 1 <= len(content) <= MAX_WORD:
            raise InputError(
                f"an added token is not 1 to {MAX_WORD} characters of text (found"
                f" {str(content)[:40]!a})"
            )


def _model(model: Mapping[str, object]) -> None:
    kind = model.get("type", "BPE")
    if not isinstance(kind, str) or kind not in MODELS:
        raise InputError(f"model {_shown(kind)} is not supported, expected {_listed(MODELS)}")
    vocabulary = model.get("vocab")
    if not isinstance(vocabulary, dict | list):
        raise InputError("not a tokenizer (no 'vocab')")
    longest = max((len(str(word)) for word in vocabulary), default=0)
    if isinstance(vocabulary, dict) and longest > MAX_WORD:
        raise InputError(f"a word of {longest} characters, at most {MAX_WORD} are read")
    for key in ("continuing_subword_prefix", "end_of_word_suffix", "unk_token"):
        _text(f"model {kind}: {key}", model.get(key) or "", MAX_WORD)
    most = model.get("max_input_chars_per_word", 100)
    if type(most) is not int or not 1 <= most <= MAX_WORD:
        raise InputError(
            f"model {kind}: max_input_chars_per_word is {_shown(most)}, expected 1 to {MAX_WORD}"
        )


def _stage(stage: str, component: object) -> None:
    if component is None:
        return
    parts = _parts(stage, component)
    if len(parts) > MAX_COMPONENTS:
        raise InputError(f"{stage} of {len(parts)} parts, at most {MAX_COMPONENTS} are read")
    for part in parts:
        _parameters(stage, str(part["type"]), part)


def _parts(stage: str, component: object, depth: int = 0) -> list[Mapping[str, object]]:
    """The components of a stage in order, sequences opened."""
    if not isinstance(component, dict):
        raise InputError(f"{stage} {_shown(component)}, expected an object")
    kind = component.get("type")
    if not isinstance(kind, str) or kind not in STAGES[stage]:
        raise InputError(
            f"{stage} {_shown(kind)} is not supported, expected {_listed(STAGES[stage])}"
        )
    if kind != "Sequence":
        return [component]
    inside = component.get(_INSIDE[stage], [])
    if not isinstance(inside, list) or depth > 2 or len(inside) > MAX_COMPONENTS:
        raise InputError(f"{stage}: a sequence that is no list of at most {MAX_COMPONENTS} parts")
    return [part for each in inside for part in _parts(stage, each, depth + 1)]


def _parameters(stage: str, kind: str, part: Mapping[str, object]) -> None:
    where = f"{stage} {kind}"
    if kind == "Replace":
        length = _pattern(where, part.get("pattern"))
        content = _text(f"{where}: content", part.get("content", ""), _SHORT)
        if len(content) > length:
            raise InputError(
                f"{where}: {length} characters become {len(content)}, expected a text that does"
                " not grow"
            )
    elif kind == "Split":
        _pattern(where, part.get("pattern"))
    elif kind == "TemplateProcessing":
        for key in ("single", "pair"):
            _template(f"{where}: {key}", part.get(key, []))
    else:
        for key, value in part.items():
            if isinstance(value, str):
                _text(f"{where}: {key}", value, 2 * _SHORT)
            elif type(value) is int and not 0 <= value <= _SHORT:
                raise InputError(f"{where}: {key} is {_shown(value)}, expected 0 to {_SHORT}")


def _template(where: str, pieces: object) -> None:
    """What stands around a text may name it once: a template repeats what it names."""
    if not isinstance(pieces, list) or len(pieces) > MAX_COMPONENTS:
        raise InputError(f"{where} is no list of at most {MAX_COMPONENTS} pieces")
    texts = [str(piece) for piece in pieces if isinstance(piece, dict) and "Sequence" in piece]
    if len(texts) > 2:
        raise InputError(f"{where} repeats its text {len(texts)} times, expected once")


def _pattern(where: str, pattern: object) -> int:
    """The fewest characters that a pattern stands for. InputError: its work is not bounded."""
    value = next(iter(pattern.values()), None) if isinstance(pattern, dict) else None
    if not isinstance(pattern, dict) or len(pattern) != 1 or not isinstance(value, str):
        raise InputError(f"{where}: a pattern that is no text")
    text = _text(f"{where}: pattern", value, MAX_PATTERN)
    if "Regex" in pattern:
        _simple(where, text)
        return 1
    if not text:
        raise InputError(f"{where}: an empty pattern")
    return len(text)


_TOKENS: Final = re.compile(
    r"(?P<back>\\[1-9kgGRXyYKA])|(?P<atom>\\[pP]\{\^?\w+\}|\\x\{[0-9a-fA-F]{1,6}\}|\\.)"
    r"|(?P<set>\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\])|(?P<look>\(\?[=!])"
    r"|(?P<other>\(\?(?![imx]*[:)]))|(?P<open>\((?:\?[imx]*[:)])?)|(?P<close>\))|(?P<or>\|)"
    r"|(?P<times>[*+?]|\{\d{0,3}(?:,\d{0,3})?\})|(?P<char>.)",
    re.DOTALL,
)


def _simple(where: str, pattern: str) -> None:
    """InputError: a pattern that could backtrack without end. No group repeats (it may be absent),
    nothing refers back, and one alternative has few quantifiers without end."""
    shown, unbounded, last = f"{where}: pattern {_shown(pattern)}", 0, ""
    for token in _TOKENS.finditer(pattern):
        kind, text = str(token.lastgroup), token.group()
        if kind in ("back", "other"):
            raise InputError(f"{shown} has {text!a}, which is not supported")
        if kind == "or":
            unbounded = 0
        elif kind == "times":
            if last == "close" and text != "?":
                raise InputError(f"{shown} repeats a group, which is not supported")
            if last != "times":  # a second one makes the first lazy or possessive
                unbounded += text in "*+" or text.endswith(",}")
        last = kind
        if unbounded > _UNBOUNDED:
            raise InputError(
                f"{shown} repeats {unbounded} parts without end, at most {_UNBOUNDED} are read"
            )


def _text(where: str, value: object, most: int) -> str:
    if not isinstance(value, str) or len(value) > most:
        found = f"{len(value)} characters" if isinstance(value, str) else _shown(value)
        raise InputError(f"{where} is {found}, expected at most {most} characters")
    return value


def _shown(value: object) -> str:
    return ascii(str(value)[:60]) if isinstance(value, str) else ascii(value)[:60]


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))

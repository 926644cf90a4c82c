"""Texts, tokenizers and sizes of pictures that a loop in another language must prepare as Python
does."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from nextomni_edge.verify.preparation import TEXTS
from tests.sources import ROOT

DEMO = ROOT / "examples/emoji/checkpoint/tokenizer.json"
# Pillow from 13 takes another order of its two passes where a picture is over twice as high as wide
SIDES = ((1, 1), (16, 16), (31, 17), (17, 31), (130, 90), (640, 9), (257, 255))
QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MORE = ("It'S we'LL 'x 123  \n\n a ", "$& $1 <|eos|> $")


def tokenizer_json(pattern: str) -> dict[str, Any]:
    """The demo's tokenizer with the split pattern of "demo", "qwen" or "gpt2"."""
    data: dict[str, Any] = json.loads(DEMO.read_text())
    if pattern == "gpt2":
        data["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False,
                                 "trim_offsets": True, "use_regex": True}  # fmt: skip
    if pattern == "qwen":
        data["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": QWEN}
        data["normalizer"] = {"type": "NFC"}
    return data


def texts_for(pattern: str, old: bool = False) -> list[str]:
    """Texts that hold every character. `old`: those of Unicode 3.2 only."""
    return [*TEXTS, *characters(old or pattern == "qwen"), *MORE]


def characters(old: bool) -> list[str]:
    """Every assigned character of the Basic Multilingual Plane, and some beyond, in words of
    several. Whether what is not assigned yet is a letter depends on each library's Unicode, and so
    does the order of marks that composition gives: for that, characters of Unicode 3.2."""
    category = unicodedata.ucd_3_2_0.category if old else unicodedata.category
    codes = (*range(1, 0xD800), *range(0xE000, 0x10000), *range(0x1F300, 0x1F700))
    known = [chr(code) for code in codes if category(chr(code)) != "Cn"]
    return ["".join(known[at : at + 64]) for at in range(0, len(known), 64)]

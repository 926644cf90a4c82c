"""Consoles that are not UTF-8: no verb ends because of a character, and what is printed can be
read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextomni_edge.cli.encoding import ERRORS, tolerate_consoles
from tests.sources import ROOT

tolerate_consoles()


@given(st.text(), st.sampled_from(["ascii", "cp1252", "cp850", "latin-1", "shift_jis", "utf-8"]))
def test_any_text_can_be_printed(text: str, encoding: str) -> None:
    kept = text.encode(encoding, ERRORS).decode(encoding)
    for character in text:
        if character.isascii():
            assert character in kept


def test_our_own_signs_stay_readable() -> None:
    sentence = "seconds ≥ max(a, b) · x1 → é, KL(parent ‖ variant) − 3 × 猫"
    assert sentence.encode("ascii", ERRORS).decode() == (
        "seconds >= max(a, b) * x1 -> e, KL(parent || variant) - 3 x ?"
    )


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("bench", "--plan", "nextomni-7b", "--device", "iphone"),
        ("inspect", "BUNDLE"),
        ("inspect", "BUNDLE", "--diff", "BUNDLE"),
        ("doctor", "BUNDLE"),
        ("run", "BUNDLE", "--text", "≥ 猫"),
        ("run", "猫", "--text", "a"),
        ("report", "--help"),
    ],
)
def test_no_verb_ends_because_of_a_consoles_encoding(
    arguments: tuple[str, ...], encoding: str, tiny_bundle: Path
) -> None:
    given = [str(tiny_bundle) if word == "BUNDLE" else word for word in arguments]
    ended = subprocess.run(
        [sys.executable, "-m", "nextomni_edge", *given],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    refused = "猫" in arguments
    assert ended.returncode == (3 if refused else 0), ended.stderr.decode(encoding)
    assert b"UnicodeEncodeError" not in ended.stderr and b"Traceback" not in ended.stderr
    said = (ended.stderr if refused else ended.stdout).decode(encoding)
    if "--plan" in arguments:
        assert ">= max(weights read" in said or "≥ max(weights read" in said
    assert said or refused

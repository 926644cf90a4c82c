"""No number that is typed is our fault: every option that takes one says its range, with exit 2."""

from __future__ import annotations

import importlib
import keyword
from collections.abc import Iterator

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextomni_edge.cli.numbers import Real, Whole
from nextomni_edge.cli.root import VERBS
from nextomni_edge.errors import GateError, one_line

HOSTILE = ("nan", "inf", "-inf", "1e308", "-1e308", str(2**70), "9" * 5000, "1e999", "", "zwölf")


def number_options() -> Iterator[tuple[str, click.Option]]:
    for verb in VERBS:
        name = f"{verb}_" if keyword.iskeyword(verb) else verb
        command = getattr(importlib.import_module(f"nextomni_edge.cli.verbs.{name}"), name)
        commands = [command, *getattr(command, "commands", {}).values()]
        for each in commands:
            for option in each.params:
                if isinstance(option, click.Option) and not option.is_flag and not option.count:
                    yield f"{verb} {option.opts[-1]}", option


OPTIONS = list(number_options())
NUMBERS = [(name, option) for name, option in OPTIONS if isinstance(option.type, Real | Whole)]


def test_no_option_takes_a_number_without_a_range() -> None:
    unbounded = (click.types.IntParamType, click.types.FloatParamType)
    assert [name for name, option in OPTIONS if isinstance(option.type, unbounded)] == []
    assert len(NUMBERS) > 30


@pytest.mark.parametrize(("name", "option"), NUMBERS, ids=[name for name, _ in NUMBERS])
def test_a_hostile_number_is_refused_with_its_range(name: str, option: click.Option) -> None:
    for typed in HOSTILE:
        with pytest.raises(click.BadParameter) as raised:
            option.type.convert(typed, option, None)
        message = raised.value.message
        shown = ascii(typed[:40]) + (f" ({len(typed)} characters)" if len(typed) > 40 else "")
        assert message.startswith(f"{shown} is no ") and len(message) < 200


@pytest.mark.parametrize(
    ("kind", "typed", "error"),
    [
        (Whole(1, 9), "1.5", "'1.5' is no whole number from 1 to 9"),
        (Whole(1, 9), "0", "'0' is no whole number from 1 to 9"),
        (Whole(0, 2**63 - 1), "-1", "'-1' is no whole number from 0 to 9223372036854775807"),
        (Real(0, 5, "seconds", above=True), "0", "'0' is no number above 0 and at most 5 seconds"),
        (Real(0.1, 100, "frames per second"), "1e308",
         "'1e308' is no number from 0.1 to 100 frames per second"),
    ],
)  # fmt: skip
def test_the_sentence_says_the_range_and_the_unit(
    kind: Real | Whole, typed: str, error: str
) -> None:
    with pytest.raises(click.BadParameter) as raised:
        kind.convert(typed, None, None)
    assert raised.value.message == error


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\x07\u202eb", "a\\x07\\u202eb"),
        ("a\r\nb\x00", "a b\\x00"),
        ("x" * 2**20, "x" * 200 + "... (1048576 characters)"),
        ("a: 'b " + "c " * 2**19 + "d', expected e",
         "a: 'b " + "c " * 99 + "'... (1048579 characters), expected e"),
        (f'a: "{"é" * 201}" twice', 'a: "' + "é" * 200 + '"... (201 characters) twice'),
        ("x" * 200, "x" * 200),
        ("ab " * 2**20, "ab " * 333 + "a... (3145727 characters)"),
    ],
)  # fmt: skip
def test_an_error_is_one_line_that_a_terminal_can_show(text: str, line: str) -> None:
    assert one_line(text) == line


@given(st.text(max_size=3000))
def test_no_text_makes_a_line_long_or_steers_a_terminal(text: str) -> None:
    line = one_line(text * 3)
    assert len(line) < 10_000 and "\n" not in line and "\x1b" not in line


def test_an_error_of_the_front_door_repeats_no_megabyte_either() -> None:
    assert str(GateError(f"key {'k' * 2**20!r}: expected one")) == (
        f"key '{'k' * 200}'... (1048576 characters): expected one"
    )

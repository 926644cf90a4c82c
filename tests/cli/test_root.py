"""Whatever is typed wrong is told in one line, with the nearest right thing and the exit code of
its kind."""

from __future__ import annotations

import json

import pytest

from nextomni_edge.cli.root import VERBS, report
from nextomni_edge.errors import (
    GateError,
    InputError,
    MissingRuntimeError,
    NextOmniError,
    UsageError,
)
from tests.calls import Invoke, refused


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_the_common_options(invoke: Invoke, verb: str) -> None:
    arguments = ("search", "index") if verb == "search" else (verb,)
    result = invoke(*arguments, "--help")
    assert result.exit_code == 0
    for option in ("--json", "-q, --quiet", "-v, --verbose", "--progress [auto|plain|json|none]"):
        assert option in result.stdout


def test_help_lists_every_verb(invoke: Invoke) -> None:
    result = invoke("--help")
    assert result.exit_code == 0 and all(f"\n  {verb} " in result.stdout for verb in VERBS)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("exprt", "export"), ("serch", "search"), ("doctr", "doctor"), ("inspct", "inspect")],
)
def test_an_unknown_command_offers_the_nearest(invoke: Invoke, typed: str, meant: str) -> None:
    refused(invoke(typed), 2, f"no command {typed!r}", f"did you mean {meant!r}?")


def test_an_unknown_command_like_none_lists_them(invoke: Invoke) -> None:
    refused(invoke("zzz"), 2, "expected one of train, import")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("--tmperature", "--temperature"), ("--steeps", "--steps"), ("--jsn", "--json")],
)
def test_an_unknown_option_offers_the_nearest(invoke: Invoke, typed: str, meant: str) -> None:
    refused(
        invoke("run", "bundle", typed, "1"),
        2,
        f"no option {typed!r}; did you mean {meant!r}?",
        "`nextomni-edge run --help`",
    )


def test_a_wrong_choice_lists_the_choices(invoke: Invoke) -> None:
    refused(
        invoke("run", "bundle", "--text", "a", "--to", "smell"),
        2,
        "'text', 'image', 'audio', 'video'",
    )


def test_a_missing_argument_is_named(invoke: Invoke) -> None:
    refused(invoke("run"), 2, "Missing argument 'BUNDLE'")


def test_quiet_and_verbose_exclude_each_other(invoke: Invoke) -> None:
    refused(invoke("doctor", "-q", "-v"), 2, "-q and -v cannot be meant together")


def test_no_command_shows_the_help(invoke: Invoke) -> None:
    result = invoke()
    assert result.exit_code == 2 and "Commands:" in result.output


def test_with_json_an_error_is_json_on_stdout_too(invoke: Invoke) -> None:
    result = invoke("run", "none", "--text", "a", "--json")
    assert result.exit_code == 3 and result.stderr.startswith("error: none: no such directory")
    error = json.loads(result.stdout)
    assert (
        error["exit_code"] == 3
        and error["error"]["type"] == "InputError"
        and "no such directory" in error["error"]["message"]
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NextOmniError("a"), 1), (UsageError("a"), 2), (InputError("a"), 3), (GateError("a"), 4),
        (MissingRuntimeError("a"), 5), (MemoryError(), 1),
        (FileNotFoundError(2, "No such file or directory", "x"), 3), (RuntimeError("a"), 1),
    ],
)  # fmt: skip
def test_exit_codes(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(error, []) == code
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1


def test_a_message_of_several_lines_becomes_one(capsys: pytest.CaptureFixture[str]) -> None:
    report(InputError("first\n  second"), [])
    assert capsys.readouterr().err == "error: first second\n"


def test_our_own_fault_says_how_to_see_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(ZeroDivisionError("division by zero"), []) == 1
    shown = capsys.readouterr().err
    assert (
        "ZeroDivisionError: division by zero" in shown
        and "NEXTOMNI_EDGE_TRACEBACK=1" in shown
        and "Traceback" not in shown
    )


@pytest.mark.parametrize("arguments", [["-vv"], ["-v", "-v"], ["--verbose", "-v"]])
def test_twice_verbose_shows_the_traceback(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        raise InputError("found by a test")
    except InputError as error:
        report(error, arguments)
    assert "Traceback" in capsys.readouterr().err


def test_the_variable_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NEXTOMNI_EDGE_TRACEBACK", "1")
    report(InputError("a"), [])
    assert "InputError" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [*VERBS, "search index", "search find", "search watch"])
def test_help_fits_a_terminal_of_80_columns(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    wide = [line for line in invoke(*verb.split(), "--help").stdout.splitlines() if len(line) > 80]
    assert not wide


@pytest.mark.parametrize("verb", ["run", "chat"])
def test_help_of_many_options_stands_under_headings(invoke: Invoke, verb: str) -> None:
    lines = invoke(verb, "--help").stdout.splitlines()
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings[-11:] == [
        "Sampling:", "Guidance:", "Length of a text:", "Length of a sound or a video:",
        "Masked models:", "Pictures of masked models:", "Speech in a voice:",
        "Cache (approximates):",
        "Where it runs:", "What is trusted:", "Output and help:",
    ]  # fmt: skip
    under = {heading: [0] for heading in headings}
    for line in lines[lines.index(headings[0]) :]:
        if line in under:
            current = under[line]
        elif line.startswith("  -"):
            current[0] += 1
    assert all(2 <= count[0] <= 8 or heading == "Answer:" for heading, count in under.items())


def test_help_tells_how_to_complete_and_completion_works(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 'eval "$(_NEXTOMNI_EDGE_COMPLETE=bash_source nextomni-edge)"' in invoke("--help").stdout
    monkeypatch.setenv("_NEXTOMNI_EDGE_COMPLETE", "bash_source")
    assert "complete -o nosort -F" in invoke().stdout
    monkeypatch.setenv("_NEXTOMNI_EDGE_COMPLETE", "bash_complete")
    cases = (
        ("nextomni-edge ru", "plain,run"),
        ("nextomni-edge run --gu", "--guidance"),
    )
    for words, found in cases:
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
        assert found in invoke().stdout

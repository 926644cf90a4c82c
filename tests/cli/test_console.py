"""What is printed: progress in its forms, and text that cannot harm a terminal."""

from __future__ import annotations

import json

import pytest

from nextomni_edge.cli.console import Console, Line, say

HOSTILE = "a\x1b[2Jb\r\x07\n\tc \u202e\x9b \udce9 \u3000\U0001f469\u200d\U0001f680"
ESCAPED = "a\\x1b[2Jb\\r\\x07\n\tc \\u202e\\x9b \\udce9 \u3000\U0001f469\u200d\U0001f680"


def test_control_characters_are_escaped_wherever_they_would_be_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console = Console()
    console.result({}, HOSTILE)
    console.listing({}, [Line(HOSTILE, HOSTILE)])
    console.note(HOSTILE)
    console.warn(HOSTILE)
    console.partial(0.5, HOSTILE)
    with Console(progress_form="plain").progress("a") as advance:
        advance(1, 1, HOSTILE)
    found = capsys.readouterr()
    assert found.out == f"{ESCAPED}\n{ESCAPED}{ESCAPED}\n"
    assert found.err == (f"{ESCAPED}\nwarning: {ESCAPED}\nt=0.500  {ESCAPED}\na: 1/1 {ESCAPED}\n")


def test_a_bar_escapes_names(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Console().progress("index") as advance:
        advance(1, 2, "a\x1b]0;owned\x07.png")
        say("a note\x1b[2J", err=True)
    err = capsys.readouterr().err
    assert "a\\x1b]0;owned\\x07.png" in err and "\x1b]0;" not in err
    assert "a note\\x1b[2J\n" in err


def test_json_results_hold_any_text(capsys: pytest.CaptureFixture[str]) -> None:
    Console(as_json=True).result({"text": "\u732b \udce9 \x1b"}, "")
    assert json.loads(capsys.readouterr().out) == {"text": "\u732b \udce9 \x1b"}


def test_plain_progress_shows_the_beginning_and_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with Console(progress_form="plain").progress("index") as advance:
        for done in range(1, 101):
            advance(done, 100, f"file{done}")
    lines = capsys.readouterr().err.splitlines()
    assert (
        lines[0].startswith("index: 1/100 file1")
        and lines[-1] == "index: 100/100 file100"
        and len(lines) <= 3
    )


def test_progress_without_a_terminal_is_silent_unless_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for console in (Console(), Console(verbosity=-1), Console(progress_form="none")):
        with console.progress("index") as advance:
            advance(1, 2, "file")
    assert capsys.readouterr().err == ""


def test_a_bar_shows_names_with_brackets_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Console().progress("index") as advance:
        advance(1, 2, "[red]file[/nothing].png")
    assert "[red]file[/nothing].png" in capsys.readouterr().err


def test_notes_follow_the_verbosity(capsys: pytest.CaptureFixture[str]) -> None:
    for verbosity in (-1, 0, 1):
        console = Console(verbosity=verbosity)
        console.note(f"said at {verbosity}")
        console.note(f"detail at {verbosity}", level=1)
    assert capsys.readouterr().err.splitlines() == ["said at 0", "said at 1", "detail at 1"]


LINES = [Line("ok", "  numpy [2.0]", "green"), Line("FAIL", "  a\x1b[2Jb", "bold red")]


def test_a_listing_is_coloured_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    Console().listing({}, LINES)
    assert capsys.readouterr().out == "ok  numpy [2.0]\nFAIL  a\\x1b[2Jb\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    Console().listing({}, LINES)
    shown_there = capsys.readouterr().out
    assert "\x1b[32mok\x1b[0m  numpy [2.0]\n" in shown_there and "a\\x1b[2Jb" in shown_there
    monkeypatch.setenv("NO_COLOR", "1")
    Console().listing({}, LINES)
    assert "\x1b[32m" not in capsys.readouterr().out
    Console(as_json=True).listing({"checks": []}, LINES)
    assert json.loads(capsys.readouterr().out) == {"checks": []}

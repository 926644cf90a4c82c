"""`chat` and `run` in a real terminal: what a person types, drops, completes and interrupts."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nextomni_edge.cli.terminal import HALF_BLOCK, completions, fitted, unquoted
from tests.cli.terminal import terminal

pytest.importorskip("pty", reason="Windows has no pseudo-terminals")
COMMANDS = ("/image", "/audio", "/save", "/send", "/quit")
FILES = ("/image", "/save")
PROMPT = "you (answer in text)> "


def test_interrupting_drops_the_line_or_the_answer_and_never_the_conversation(
    tiny_bundle: Path,
) -> None:
    with terminal("chat", tiny_bundle, "--steps", 65_536, "--temperature", 1) as chat:
        chat.expect(PROMPT)
        chat.type("half a line")
        chat.expect("half a line")  # readline has the keys: it waits for the next one
        time.sleep(0.5)
        chat.type("\x03")
        chat.expect(PROMPT)
        chat.type("/to image\n")
        chat.expect("you (answer in image)> ")
        chat.type("draw for ever\n")
        chat.expect("image in 65536 steps")
        chat.type("\x03")
        chat.expect("stopped: the conversation is as it was")
        chat.expect("you (answer in image)> ")
        chat.type("/save a.png\n")
        chat.expect("error: nothing to save yet")
        chat.type("/quit\n")
        assert chat.end() == 0


def test_an_added_file_is_named_and_enter_sends_it(
    tiny_bundle: Path, media: Path, tmp_path: Path
) -> None:
    name = tmp_path / "a red picture.png"
    shutil.copy(media / "red.png", name)
    with terminal("chat", tiny_bundle, "--to", "audio", "--seconds", 0.1) as chat:
        chat.expect("you (answer in audio)> ")
        for written in (f'"{name}"', str(name).replace(" ", "\\ "), f"'{name}'"):
            chat.type(f"/image {written}\n")
            chat.expect(f"added {name}: say something about it, or press Enter")
        chat.expect("[picture] [picture] [picture] you (answer in audio)> ")
        chat.type("\n")
        chat.expect("[sound, 0.16 s]  (/save FILE keeps it)")
        chat.expect("\nyou (answer in audio)> ")
        chat.type("\x04")
        assert chat.end() == 0


def test_a_picture_is_shown_in_coloured_half_blocks(tiny_bundle: Path) -> None:
    with terminal("chat", tiny_bundle, "--to", "image") as chat:
        chat.expect("you (answer in image)> ")
        chat.type("a red rocket\n")
        chat.expect("[picture, 16x16]  (/save FILE keeps it)")
        chat.type("/quit\n")
        assert chat.end() == 0
        assert chat.text.count(HALF_BLOCK) == 16 * 8
        assert re.search(r"\x1b\[38;2;\d+;\d+;\d+;48;2;\d+;\d+;\d+m▀", chat.shown)


def test_tab_completes_commands_and_paths(tiny_bundle: Path, media: Path, tmp_path: Path) -> None:
    pytest.importorskip("readline")
    shutil.copy(media / "red.png", tmp_path)  # no other test puts a red.gif there
    with terminal("chat", tiny_bundle, "--to", "audio", "--seconds", 0.1) as chat:
        chat.expect("you (answer in audio)> ")
        chat.type(f"/im\t {tmp_path}/re\t\n")
        chat.expect(f"added {tmp_path / 'red.png'}")
        chat.type("/quit\n")
        assert chat.end() == 0


@pytest.mark.parametrize("kind", ["text", "image"])
def test_streaming_is_not_torn_by_the_progress_bar(
    tiny_bundle: Path, tmp_path: Path, kind: str
) -> None:
    out = ("-o", tmp_path / "film.gif") if kind == "image" else ()
    with terminal(
        "run", tiny_bundle, "--text", "a cat", "--to", kind, "--steps", 20, "--stream", *out
    ) as run:
        assert run.end() == 0
        lines = [line.rstrip() for line in run.text.splitlines() if line.strip()]
    if kind == "image":
        assert lines[-1] == str(tmp_path / "film.gif")
    else:
        assert "text in 20 steps" not in run.text and len(lines) > 2
        assert all(re.match(r"t=\d\.\d{3}  ", line) for line in lines[:-1]), lines


def test_bytes_are_kept_from_a_terminal(tiny_bundle: Path) -> None:
    with terminal("run", tiny_bundle, "--text", "a", "--to", "image", "-o", "-") as run:
        assert run.end() == 2
        assert "-o - would write bytes to the terminal; pipe it, or name a file" in run.text


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("a.png", "a.png"), ("  a.png ", "a.png"), ('"a b.png"', "a b.png"),
        ("'a b.png'", "a b.png"), ("a\\ b.png", "a b.png"), ("a b.png", "a b.png"),
        ('"', '"'), ("", ""),
    ],
)  # fmt: skip
def test_a_name_may_be_quoted(typed: str, name: str) -> None:
    assert unquoted(typed) == name


def test_completion_offers_commands_and_the_paths_of_those_that_take_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "red.png").touch()
    (tmp_path / "red folder").mkdir()
    assert completions("/s", COMMANDS, FILES) == ["/save", "/send"]
    assert completions("", COMMANDS, FILES) == [] == completions("a re", COMMANDS, FILES)
    assert completions("/image re", COMMANDS, FILES) == ["/image red folder/", "/image red.png"]
    assert completions('/image "re', COMMANDS, FILES) == ['/image "red folder/', '/image "red.png"']
    assert completions("/quit re", COMMANDS, FILES) == []


@pytest.mark.parametrize(
    ("size", "room", "shown"),
    [
        ((16, 16), (80, 24), (16, 16)),
        ((300, 100), (60, 24), (60, 20)),
        ((9, 99), (80, 12), (1, 10)),
    ],
)
def test_a_picture_is_fitted_to_the_terminal(
    size: tuple[int, int], room: tuple[int, int], shown: tuple[int, int]
) -> None:
    assert fitted(Image.fromarray(np.zeros((size[1], size[0]), np.uint8)), *room).size == shown

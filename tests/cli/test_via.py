"""`run --via text`: an answer in two generations."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.calls import Invoke, answered, refused


def test_an_answer_in_between_stands_in_the_second_prompt(
    invoke: Invoke, tiny_checkpoint: Path, media: Path, tmp_path: Path
) -> None:
    out, tone = tmp_path / "a.png", media / "tone.wav"
    first = ("--audio", tone, "--text", "what?", "--seed", 3, "--json")
    between = answered(invoke("run", tiny_checkpoint, *first))["text"].strip()
    asked = ("--audio", tone, "--via", "text", "--ask", "what?", "--seed", 3)
    drawn = invoke("run", tiny_checkpoint, *asked, "--text", "draw {}, now", "-o", out)
    assert drawn.exit_code == 0, drawn.output
    assert "via text: " in drawn.stderr
    direct = tmp_path / "direct.png"
    words = ("--text", f"draw {between}, now", "--seed", 3)
    assert invoke("run", tiny_checkpoint, *words, "-o", direct).exit_code == 0
    assert out.read_bytes() == direct.read_bytes()


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (("--text", "a {}", "--via", "text"), "give --image, --audio or --video"),
        (("--audio", "tone.wav", "--text", "draw", "--via", "text"), "put {} where"),
        (("--audio", "tone.wav", "--ask", "what?"), "give --via text, too"),
    ],
)
def test_a_detour_that_cannot_be_meant_is_refused(
    invoke: Invoke,
    tiny_checkpoint: Path,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: tuple[str, ...],
    sentence: str,
) -> None:
    monkeypatch.chdir(media)
    refused(invoke("run", tiny_checkpoint, *asked, "--to", "image", "-o", "a.png"), 2, sentence)

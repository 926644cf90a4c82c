"""The list of prompts: what it may hold, and the line that is wrong in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextomni_edge.calibration.data.prompts import PromptPart, read_prompts
from nextomni_edge.errors import InputError

TURN = '{"role": "user", "parts": [{"kind": "text", "value": "hello"}]}'
GOOD = f'{{"task": "greet", "answer": "text", "turns": [{TURN}], "count": 2}}\n'


def test_a_list_is_read_with_the_folder_that_its_paths_start_from(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text(GOOD + "\n" + GOOD)
    for path in (tmp_path, tmp_path / "prompts.jsonl"):
        prompts, folder = read_prompts(path)
        assert folder == tmp_path and len(prompts) == 2 and prompts[0].count == 2
        assert prompts[0].turns[0].parts == (PromptPart("text", "hello"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "no prompt in it, expected one JSON object a line"),
        (GOOD + "{", "line 2: not valid JSON"),
        ("[]", "line 1: found list, expected an object"),
        (GOOD.replace("answer", "anwser"), "line 1: unknown key 'anwser' (did you mean 'answer'?)"),
        (
            GOOD.replace('"answer": "text"', '"answer": "smell"'),
            "line 1.answer: found 'smell', expected one of 'text', 'image'",
        ),
        (GOOD.replace("greet", " "), "line 1: task is empty"),
        (
            GOOD.replace('"role": "user"', '"role": "assistant"'),
            "line 1: the last turn must be the user's",
        ),
        (GOOD.replace(TURN, ""), "line 1: the last turn must be the user's"),
        (GOOD.replace('{"kind": "text", "value": "hello"}', ""), "line 1: a turn without parts"),
        ('{"task": "' + "x" * 2**20, "line 1: at least 1048577 bytes, at most 1048576 are read"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list").write_text(text)
    with pytest.raises(InputError) as raised:
        read_prompts(tmp_path / "list")
    assert message in str(raised.value) and str(raised.value).startswith(str(tmp_path / "list"))


def test_no_list_at_all_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"prompts\.jsonl: no such file"):
        read_prompts(tmp_path)

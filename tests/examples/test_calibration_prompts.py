"""The demo's committed prompts: whole, of the split that they say, with a maker and a licence for
every file."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from nextomni_edge.calibration.data.prompts import Prompt, read_prompts

EMOJI = Path(__file__).resolve().parents[2] / "examples" / "emoji"
sys.path.insert(0, str(EMOJI))

import calibration_prompts  # noqa: E402
from catalog import load_concepts, load_split, read_json  # noqa: E402


def files(prompts: list[Prompt]) -> set[str]:
    return {
        part.value
        for prompt in prompts
        for turn in prompt.turns
        for part in turn.parts
        if part.kind != "text"
    }


@pytest.mark.parametrize(("folder", "tasks"), [("calibration", 10), ("heldout", 9)])
def test_every_task_has_as_many_prompts_and_every_file_is_there(folder: str, tasks: int) -> None:
    prompts, home = read_prompts(EMOJI / folder)
    assert (
        set(Counter(prompt.task for prompt in prompts).values()) == {16}
        and len(prompts) == 16 * tasks
    )
    listed = {entry["file"] for entry in read_json(home / "index.json")}
    assert files(prompts) <= listed and all((home / name).is_file() for name in listed)


def test_nothing_that_is_held_out_is_calibrated_with() -> None:
    concepts = load_concepts()
    split, codepoints = (
        load_split(concepts),
        {concept.name: concept.codepoint for concept in concepts},
    )
    for entry in read_json(EMOJI / "calibration" / "index.json"):
        assert entry["maker"] != split.voice
        assert entry["maker"] not in split.artists[codepoints[entry["concept"]]]
        assert entry["licence"]
    calibrated = {path.read_bytes() for path in (EMOJI / "calibration").glob("*.flac")}
    assert not calibrated & {path.read_bytes() for path in (EMOJI / "heldout").glob("*.flac")}


def test_the_heldout_list_is_what_its_script_writes() -> None:
    lines = (EMOJI / "heldout" / "prompts.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == calibration_prompts.heldout_prompts(
        EMOJI / "heldout"
    )


def test_neither_source_is_a_mistake_of_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["calibration_prompts.py"])
    with pytest.raises(SystemExit) as ended:
        calibration_prompts.main()
    assert ended.value.code == 2 and "give either --data or --heldout" in capsys.readouterr().err
    monkeypatch.setattr(
        sys, "argv", ["calibration_prompts.py", "--data", "/nowhere", "--out", str(tmp_path)]
    )
    assert calibration_prompts.main() == 3
    assert capsys.readouterr().err.startswith(
        "calibration_prompts: /nowhere/drawings.safetensors is missing"
    )

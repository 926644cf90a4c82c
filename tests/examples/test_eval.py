"""The evaluation: its intervals, its items, its judges, and runs that are cut short."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

EMOJI = Path(__file__).resolve().parents[2] / "examples" / "emoji"
sys.path.insert(0, str(EMOJI))

import augment  # noqa: E402
import changes  # noqa: E402
import eval as evaluation  # noqa: E402
import exam  # noqa: E402
import measures  # noqa: E402
import poses  # noqa: E402
import prompts  # noqa: E402
import samples  # noqa: E402
from judges import JUDGES, Panel  # noqa: E402

from nextomni_edge.errors import InputError  # noqa: E402


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        (50, 100, 0.4038, 0.5962),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (1, 64, 0.0028, 0.0833),
    ],
)
def test_intervals_are_wilsons(right: int, n: int, low: float, high: float) -> None:
    assert exam.wilson(right, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_value_and_stays_a_share(case: tuple[int, int]) -> None:
    low, high = exam.wilson(*case)
    assert 0.0 <= low <= case[0] / case[1] + 1e-12 and case[0] / case[1] - 1e-12 <= high <= 1.0


def test_every_floor_is_measured_on_at_least_64_items() -> None:
    assert evaluation.FLOORS.keys() <= measures.MEASURES.keys()
    unseen, seen = samples.heldout(), samples.trained()
    assert (
        len(unseen.drawings(heldout=True)) >= 64
        and len(unseen.clips_of(heldout=True)) >= 64
        and len(seen.drawings()) >= 64
    )
    assert set(unseen.drawing_concept) == set(unseen.clip_concept) == set(range(64))


def test_no_held_out_pair_is_among_the_trained_ones() -> None:
    trained, unseen = set(samples.trained_pairs()), set(samples.heldout_pairs())
    assert not trained & unseen
    assert {name for name, _ in trained} == {name for name, _ in unseen}
    committed = samples.trained()
    pairs = {
        (committed.concepts[c], committed.artists[a])
        for c, a in zip(committed.drawing_concept, committed.drawing_artist, strict=True)
    }
    assert pairs <= trained


def changed_drawings() -> tuple[list[str], dict[str, np.ndarray], dict[str, np.ndarray]]:
    seen = samples.trained()
    rows = [int(np.flatnonzero(seen.drawing_concept == concept)[0]) for concept in range(64)]
    drawn = changes.as_drawings(seen.pictures(rows) * np.float32(2) - np.float32(1), seen.concepts)
    return (
        seen.concepts,
        changes.changed_pictures(drawn, 32),
        changes.changed_films(drawn, 32),
    )


def test_a_change_by_rule_is_told_and_so_is_what_was_left_as_it_was() -> None:
    names, pictures, films = changed_drawings()
    assert set(pictures) | set(films) == {
        changes.UNCHANGED,
        *(prompts.now(word) for word in (*poses.SIZES, *poses.MOTIONS)),
        *(prompts.make_it(colour) for colour in augment.COLOURS),
    }
    noise = np.random.default_rng(0)
    for candidates in (pictures, films):
        for change, answers in candidates.items():
            dirty = answers + noise.normal(0, 0.1, answers.shape).astype(np.float32)
            asked = [change] * len(names)
            right = [f"{name}, {change}" for name in names]
            assert changes.told(dirty, asked, names, candidates) == right
            # the next concept's picture under the same change is another thing
            other = changes.told(np.roll(answers, 1, axis=0), asked, names, candidates)
            assert not set(zip(other, right, strict=True)) & {(r, r) for r in right}


def test_the_makers_of_a_concept_are_taken_in_turn() -> None:
    pairs = [("cat", "a"), ("cat", "b"), ("dog", "a"), ("dog", "b")]
    assert measures._spread(pairs, 2) == [("cat", "a"), ("dog", "b"), ("cat", "b"), ("dog", "a")]


def test_the_committed_judges_know_what_their_report_says_they_know() -> None:
    panel, unseen, seen = Panel(), samples.heldout(), samples.trained()
    drawn = panel.pictures(
        unseen.pictures(unseen.drawings(heldout=True)) * np.float32(2) - np.float32(1)
    )
    heard = panel.speech(unseen.clips(unseen.clips_of(heldout=True)))
    for right, told in (
        (drawn.argmax(1) == unseen.drawing_concept, panel.report["image"]["heldout_artist"]),
        (heard.argmax(1) == unseen.clip_concept, panel.report["audio"]["heldout_voice"]),
    ):
        assert len(right) == told["n"] and right.mean() == pytest.approx(told["value"], abs=0.01)
    known = panel.pictures(seen.pictures(np.arange(128)) * np.float32(2) - np.float32(1))
    assert (known.argmax(1) == seen.drawing_concept).mean() >= 0.98
    noise = np.random.default_rng(0).uniform(-1, 1, (64, 3, 32, 32)).astype(np.float32)
    assert (panel.pictures(noise).argmax(1) == np.arange(64)).mean() < 0.1
    assert max(path.stat().st_size for path in JUDGES.iterdir()) < 1_500_000


def test_a_damaged_judge_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "image.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0not json")
    with pytest.raises(
        InputError,
        match=r"image\.safetensors: not a judge of this example .*; train it with judges\.py",
    ):
        Panel(tmp_path).pictures(np.zeros((1, 3, 32, 32), np.float32))


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(evaluation.main, list(arguments))
    return result.exit_code, result.output


def test_a_model_directory_is_scored_and_a_second_run_measures_nothing_again(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "eval.json"
    chosen = (str(tiny_checkpoint), "--steps", "1", "--out", str(out), "--measures")
    code, output = run(*chosen, "image_to_text_heldout_artist")
    assert code == 0, output
    first = json.loads(out.read_text())
    assert first["image_to_text_heldout_artist"].keys() == {"value", "n", "ci95"}
    assert first["image_to_text_heldout_artist"]["n"] == len(samples.heldout().drawing_concept)
    details = json.loads((tmp_path / "eval-details.json").read_text())
    assert (
        len(details["measures"]["image_to_text_heldout_artist"]["items"])
        == first["image_to_text_heldout_artist"]["n"]
    )

    def forbidden(_: exam.Exam) -> list[exam.Outcome]:
        raise AssertionError("measured twice")

    monkeypatch.setitem(measures.MEASURES, "image_to_text_heldout_artist", forbidden)
    code, output = run(*chosen, "image_to_text_heldout_artist,image_codec_named")
    assert code == 0, output
    both = json.loads(out.read_text())
    assert (
        both["image_to_text_heldout_artist"] == first["image_to_text_heldout_artist"]
        and both["image_codec_named"]["n"] == 128
    )


def test_a_missed_floor_is_exit_code_4_where_it_is_asked_for(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    arguments = (
        str(tiny_checkpoint),
        "--measures",
        "retrieval_text_image_r1",
        "--out",
        str(tmp_path / "eval.json"),
    )
    assert run(*arguments)[0] == 0
    code, output = run(*arguments, "--gate")
    assert code == 4 and "error: under the floor: retrieval_text_image_r1" in output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("--measures", "beauty"),
            2,
            "measure 'beauty': expected some of floors, image_to_text_heldout_artist",
        ),
        (("--runtime", "onnx"), 2, "is no bundle: only torch runs it"),
        (
            ("--steps", "0", "--measures", "image_to_text_train"),
            2,
            "steps is 0, expected at least 1",
        ),
    ],
)
def test_mistakes_are_one_line(
    tiny_checkpoint: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    found, output = run(str(tiny_checkpoint), *arguments, "--out", str(tmp_path / "eval.json"))
    assert found == code and message in output

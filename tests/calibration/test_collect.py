"""Calibration sets: moments of real trajectories, one a bin, from any prompts, in bounded memory,
over interruptions."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.calibration.data.collect import Prompted, Random, chosen_steps, collect
from nextomni_edge.calibration.data.samples import CalibrationSet, Trajectory, read_trajectory
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.model import EdgeModel
from tests.calibration.lines import BINS, line


@pytest.fixture(scope="session")
def calibration(
    bundle: Bundle, model: EdgeModel, prompts: Path, tmp_path_factory: pytest.TempPathFactory
) -> CalibrationSet:
    return collect(
        bundle, Prompted(model, prompts), tmp_path_factory.mktemp("sets") / "set", bins=BINS, seed=3
    )


def test_every_bin_has_one_moment_of_every_trajectory_in_both_branches(
    calibration: CalibrationSet, model: EdgeModel
) -> None:
    once, twice = (1,) * BINS, (2,) * BINS
    assert calibration.record.counts == {
        "draw": {"conditional": twice, "unconditional": twice},
        "name": {"conditional": once},
        "hear": {"conditional": once},
        "watch": {"conditional": once},
        "say": {"conditional": once},
        "film": {"conditional": once, "unconditional": once},
    }
    for record, trajectory in calibration.trajectories():
        assert (np.floor(trajectory.t * BINS) == np.arange(BINS)).all()
        samples = trajectory.samples(model.unconditional if calibration.guided(record) else None)
        assert [sample.bin for sample in samples] == sorted(
            [*range(BINS)] * (2 if record.task in ("draw", "film") else 1)
        )


def test_the_moments_are_those_of_the_models_own_generation(
    calibration: CalibrationSet, prompts: Path, model: EdgeModel
) -> None:
    source = Prompted(model, prompts)
    trajectory = read_trajectory(calibration.file(1))
    steps: dict[float, Any] = {}
    options = source.options("image")
    seeded = type(options)(**{**vars(options), "seed": 3 * 2**32 + 1})
    finished = generate(
        model, source.asked(1).sequence, seeded, lambda record: steps.setdefault(record.t, record)
    )
    for b, t in enumerate(trajectory.t):
        assert (trajectory.x_t[0][b] == steps[t].x_t[0]).all() and (
            trajectory.x_1[0][b] == steps[t].x_1[0]
        ).all()
    assert (trajectory.finished[0] == finished.segments[finished.generated()[0]].tokens).all()


def test_the_unconditional_branch_lacks_the_prompt_and_has_the_same_tokens(
    calibration: CalibrationSet, model: EdgeModel
) -> None:
    special = model.tokenizer.special
    with_prompt, without = read_trajectory(calibration.file(0)).samples(model.unconditional)[:2]
    assert (with_prompt.branch, without.branch, with_prompt.t) == (
        "conditional",
        "unconditional",
        without.t,
    )
    for ours, theirs in zip(with_prompt.sequence.segments, without.sequence.segments, strict=True):
        if ours.frozen:
            assert set(theirs.tokens.tolist()) <= {special.null, *special.markers}
        else:
            assert (ours.tokens == theirs.tokens).all()


def test_what_the_encoders_read_is_kept(calibration: CalibrationSet, model: EdgeModel) -> None:
    name, hear, watch = (read_trajectory(calibration.file(index)) for index in (2, 3, 4))
    assert (
        [each.shape for each in name.pixels] == [(3, 16, 16)]
        and [each.shape for each in watch.pixels] == [(3, 16, 16)] * 3
        and len(hear.log_mel) == 1
    )
    given = [segment for segment in name.sequence.segments if segment.modality == "image"]
    assert (model.encode_image(name.pixels[0]) == given[0].tokens).all()


def test_a_set_says_where_it_came_from_and_is_read_back_whole(
    calibration: CalibrationSet, bundle: Bundle
) -> None:
    found = CalibrationSet.open(calibration.path)
    assert found.record == calibration.record and not found.record.random and found.record.prompts
    assert found.require(bundle, BINS) is found
    for index in range(len(found)):
        assert_equal(read_trajectory(found.file(index)), read_trajectory(calibration.file(index)))


def assert_equal(ours: Trajectory, theirs: Trajectory) -> None:
    one, other = ours.tensors(), theirs.tensors()
    assert one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) for name in one
    )


def test_the_same_seed_gives_the_same_files_over_an_interruption(
    calibration: CalibrationSet, bundle: Bundle, model: EdgeModel, prompts: Path, tmp_path: Path
) -> None:
    class Stopped(Exception):
        pass

    def stop(done: int, total: int, item: str) -> None:
        if done == 2:
            raise Stopped

    out = tmp_path / "set"
    with pytest.raises(Stopped):
        collect(bundle, Prompted(model, prompts), out, BINS, 3, progress=stop)
    part = tmp_path / ".set.partial"
    left = {path.name: path.stat().st_mtime_ns for path in (part / "trajectories").iterdir()}
    assert not out.exists() and 0 < len(left) < len(calibration)
    with pytest.raises(UsageError, match="interrupted run with other settings"):
        collect(bundle, Prompted(model, prompts), out, BINS, 4)
    again = collect(bundle, Prompted(model, prompts), out, BINS, 3)
    assert {name: (out / "trajectories" / name).stat().st_mtime_ns for name in left} == left
    assert again.record == calibration.record and not part.exists()
    assert sorted(path.name for path in out.iterdir()) == ["provenance.json", "trajectories"]
    with pytest.raises(UsageError, match="exists; choose another name"):
        collect(bundle, Prompted(model, prompts), out, BINS, 3)


def test_memory_does_not_grow_with_the_number_of_prompts(
    bundle: Bundle, model: EdgeModel, prompts: Path, tmp_path: Path
) -> None:
    def peak(count: int) -> int:
        listed = tmp_path / f"{count}.jsonl"
        listed.write_text(
            "\n".join([line("name", "text", ("image", str(prompts / "red.png")))] * count)
        )
        source = Prompted(model, listed)
        tracemalloc.start()
        collect(bundle, source, tmp_path / f"set-{count}", BINS, batch=4)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    few, many = peak(24), peak(56)
    # names and digests take 1 kB a trajectory, its picture alone would take 3
    assert many < few + 32 * 2000


def test_random_numbers_are_marked_for_ever(
    bundle: Bundle, model: EdgeModel, tmp_path: Path
) -> None:
    found = collect(bundle, Random(model, bundle.manifest.components, 2), tmp_path / "set", BINS)
    assert CalibrationSet.open(found.path).record.random
    assert len(found) == 18 and {record.task for record in found.record.trajectories} >= {
        "text-to-image",
        "two-turn",
    }
    one, other = (read_trajectory(found.file(index)) for index in (0, 1))
    assert not np.array_equal(one.x_t[0], other.x_t[0])
    few = Random(model, {"embed_text", "embed_image", "backbone", "image_head", "image_decoder"}, 1)
    assert few.tasks == [("text-to-image", "image"), ("text-to-video", "video")]


@pytest.mark.parametrize(("steps", "bins"), [(6, 4), (8, 8), (32, 8), (50, 7)])
def test_a_step_of_each_bin_is_chosen(steps: int, bins: int) -> None:
    for index in range(20):
        chosen = chosen_steps(steps, bins, 0, index)
        assert [step * bins // steps for step in chosen] == [*range(bins)]
    assert (
        steps == bins
        or len({tuple(chosen_steps(steps, bins, 0, index)) for index in range(20)}) > 1
    )


def test_more_bins_than_steps_are_refused(
    bundle: Bundle, model: EdgeModel, prompts: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        UsageError,
        match="8 bins of the flow time, but a generation has 6 steps: give at most --bins 6",
    ):
        collect(bundle, Prompted(model, prompts), tmp_path / "set", bins=8)
    assert [*tmp_path.iterdir()] == []


def test_a_set_of_another_model_and_one_of_few_bins_are_refused(
    calibration: CalibrationSet, bundle: Bundle, model: EdgeModel, tmp_path: Path
) -> None:
    data = json.loads((calibration.path / "provenance.json").read_text())
    other = CalibrationSet(
        calibration.path, type(calibration.record)(**{**data, "model": "0" * 64})
    )
    with pytest.raises(
        InputError,
        match=r"made with another bundle \(000000000000, .* run `nextomni-edge calibrate",
    ):
        other.require(bundle)
    few = collect(bundle, Random(model, bundle.manifest.components, 1), tmp_path / "set", bins=2)
    with pytest.raises(
        InputError, match="2 bins of the flow time, expected at least 4; calibrate with --bins 4"
    ):
        few.require(bundle)


def test_a_damaged_set_is_refused(bundle: Bundle, model: EdgeModel, tmp_path: Path) -> None:
    found = collect(bundle, Random(model, bundle.manifest.components, 1), tmp_path / "set", BINS)
    with pytest.raises(InputError, match=r"no provenance\.json inside"):
        CalibrationSet.open(tmp_path)
    data = bytearray(found.file(2).read_bytes())
    data[-1] ^= 1
    found.file(2).write_bytes(data)
    with pytest.raises(InputError, match=r"000002\.safetensors: not the file that was written"):
        CalibrationSet.open(found.path)
    (found.path / "provenance.json").write_text(
        '{"format": "nextomni-edge-calibration", "version": 1}'
    )
    with pytest.raises(InputError, match="expected nextomni-edge-calibration version 2"):
        CalibrationSet.open(found.path)


def test_few_trajectories_are_spread_over_every_task(calibration: CalibrationSet) -> None:
    tasks = [record.task for record in calibration.record.trajectories]
    for count in range(1, len(tasks) + 3):
        found = calibration.spread(count)
        assert len(found) == len(set(found)) == min(count, len(tasks)) and found == sorted(found)
        shares = [sum(tasks[index] == task for index in found) for task in set(tasks)]
        assert max(shares) - min(shares) <= 1 or count >= len(tasks)


def test_nothing_to_collect_is_refused(bundle: Bundle, model: EdgeModel, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no task that its components can do"):
        collect(bundle, Random(model, ["backbone"], 1), tmp_path / "set")
    assert list(tmp_path.iterdir()) == []

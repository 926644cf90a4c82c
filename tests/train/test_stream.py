"""Sharded samples: every number is one sample, whoever reads it, and damage is one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from nextomni_edge.errors import InputError
from nextomni_edge.train import stream
from nextomni_edge.train.stream import INDEX, Shards, write_index
from tests.train.stream_run import BATCHES, SIZE, STEPS

ROOT = Path(__file__).parents[2]
SAMPLES, PER_SHARD = 50, 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seventeen shards that WebDataset's own writer makes, the last with two samples."""
    (tmp_path / "data").mkdir()
    pattern = str(tmp_path / "data" / "%04d.tar")
    with webdataset.ShardWriter(pattern, maxcount=PER_SHARD, verbose=0) as writer:
        for number in range(SAMPLES):
            writer.write({"__key__": f"{number:06}", "asked.txt": "draw", "json": {"n": number}})
    write_index(tmp_path / "data")
    return tmp_path / "data"


def numbers(shards: Shards, first: int, last: int) -> list[int]:
    return [int(json.loads(shards.sample(number)["json"])["n"]) for number in range(first, last)]


def test_an_epoch_holds_every_sample_once_and_the_next_another_order(folder: Path) -> None:
    shards = Shards(folder)
    first, second = numbers(shards, 0, SAMPLES), numbers(shards, SAMPLES, 2 * SAMPLES)
    assert len(shards) == SAMPLES and sorted(first) == sorted(second) == list(range(SAMPLES))
    assert first != second != sorted(second)
    assert numbers(Shards(folder, seed=1), 0, SAMPLES) != first
    assert shards.sample(0)["asked.txt"] == b"draw"


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(0, 3))
def test_any_lengths_of_shards_give_each_place_once(lengths: list[int], epoch: int) -> None:
    shards = Shards.__new__(Shards)
    shards.seed = 5
    shards.index = stream.Index(tuple(stream.Shard("a.tar", n, 0) for n in lengths))
    shards._counts = stream.np.array(lengths)
    total = sum(lengths)
    found = sorted(shards.place(number) for number in range(epoch * total, (epoch + 1) * total))
    assert found == [(shard, place) for shard, n in enumerate(lengths) for place in range(n)]


def test_a_batch_depends_on_its_number_and_not_on_who_reads_it(folder: Path) -> None:
    alone = Shards(folder)
    read = [alone.batch(number, 4) for number in range(24)]
    first, second = Shards(folder), Shards(folder)  # two processes take turns
    assert read == [(first, second)[number % 2].batch(number, 4) for number in range(24)]


def test_a_run_that_is_killed_reads_on_exactly_with_another_number_of_processes(
    folder: Path, tmp_path: Path
) -> None:
    """One process is killed in its third step. Two go on from the state of the second."""

    def run(processes: int, *arguments: object) -> int:
        launched = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        script = ["-m", "tests.train.stream_run", folder, tmp_path / "run", *arguments]
        command = [sys.executable, *(launched if processes > 1 else []), *map(str, script)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode in (0, -9), done.stderr
        return done.returncode

    assert run(1, "--kill-in-step", 3) == -9
    assert run(2) == 0
    shards, files = Shards(folder), sorted((tmp_path / "run").glob("seen-*.jsonl"))
    seen = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert [file.stem for file in files] == ["seen-1-0", "seen-2-0", "seen-2-1"]
    assert sorted(batch for batch, _ in seen) == list(range(BATCHES * STEPS))
    for batch, samples in seen:
        assert samples == numbers(shards, SIZE * batch, SIZE * (batch + 1))


def test_missing_cut_and_other_shards_are_one_line(folder: Path) -> None:
    second = folder / "0001.tar"
    whole = second.read_bytes()
    second.unlink()
    with pytest.raises(InputError, match=r"0001\.tar: cannot be read \(No such file.*restore it"):
        Shards(folder)
    second.write_bytes(whole[:2000])
    with pytest.raises(InputError, match=r"0001\.tar: 2000 bytes, but shards\.json says 20480"):
        Shards(folder)
    second.write_bytes(b"x" * len(whole))
    with pytest.raises(InputError, match=r"0001\.tar: not a whole tar file"):
        numbers(Shards(folder), 0, SAMPLES)
    second.write_bytes(whole)
    index = json.loads((folder / INDEX).read_text())
    index["shards"][1]["samples"] = 2
    (folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"0001\.tar: 3 samples, but shards\.json says 2"):
        numbers(Shards(folder), 0, SAMPLES)


def test_a_tar_file_cut_short_gives_no_index(folder: Path) -> None:
    (folder / "0001.tar").write_bytes((folder / "0001.tar").read_bytes()[:700])
    with pytest.raises(InputError, match=r"0001\.tar: not a whole tar file"):
        write_index(folder)
    (folder / "0001.tar").write_bytes(b"\0" * 10240)
    with pytest.raises(InputError, match=r"0001\.tar: no sample in it"):
        write_index(folder)


def test_an_index_is_read_strictly(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"shards\.json: no such file; train\.stream\.write_index"):
        Shards(tmp_path)
    with pytest.raises(InputError, match=r"no \.tar file in it"):
        write_index(tmp_path)
    index = json.loads((folder / INDEX).read_text())
    outside = index | {"shards": [{"file": "../a.tar", "samples": 1, "size": 1}]}
    for data, said in (
        (index | {"shards": []}, "no shard at all"),
        (outside, r"shard '\.\./a\.tar' is no file's name"),
        ({"shard": []}, "did you mean 'shards'"),
    ):
        (folder / INDEX).write_text(json.dumps(data))
        with pytest.raises(InputError, match=said):
            Shards(folder)


def test_other_shards_do_not_resume_a_run(folder: Path) -> None:
    state = Shards(folder).state()
    Shards(folder).load(state)
    with pytest.raises(InputError, match="not the shards, or the seed, that the run began with"):
        Shards(folder, seed=1).load(state)

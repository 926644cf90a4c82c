"""The index: whole or old after any kill, nothing embedded twice, nobody else's index taken for
one's own."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from nextomni_edge.errors import InputError, MissingRuntimeError, UsageError
from nextomni_edge.media.parts import text_part
from nextomni_edge.search import INDEX_NAME
from nextomni_edge.search.table import Entry, Window, open_table
from nextomni_edge.search.update import embed_part, update_index
from tests.fake_model import FakeModel
from tests.full_disk import fill

ROOT = Path(__file__).parents[2]
MODEL = "a" * 64


@pytest.fixture
def model(tiny_checkpoint: Path) -> FakeModel:
    return FakeModel(tiny_checkpoint)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two texts, a picture, an animation and a sound, one of them in a folder, all older than the
    file clock's grain."""
    folder = tmp_path / "media"
    (folder / "deep").mkdir(parents=True)
    (folder / "cat.txt").write_text("a cat", encoding="utf-8")
    (folder / "deep" / "tree.md").write_text("a small green tree", encoding="utf-8")
    Image.new("RGB", (16, 16), "red").save(folder / "red.png")
    frames = [Image.new("L", (16, 16), level) for level in (0, 128, 255)]
    frames[0].save(folder / "blink.gif", save_all=True, append_images=frames[1:])
    soundfile.write(folder / "tone.wav", np.full(2000, 0.25, dtype=np.float32), 16000)
    (folder / ".hidden.txt").write_text("not for the index", encoding="utf-8")
    (folder / "notes.pdf").write_bytes(b"%PDF")
    (folder / "link.txt").symlink_to(folder / "cat.txt")
    age(folder)
    return folder


def age(folder: Path) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000), follow_symlinks=False)


def paths(index: Path) -> list[str]:
    with open_table(index, MODEL) as table:
        return [entry.path for entry in table.entries()]


def made(path: Path, *names: str, width: int = 48) -> None:
    """An index of these texts, each of which embeds to the same row."""
    row = np.full(width, width**-0.5, np.float32)
    with open_table(path, MODEL, width) as table:
        for name in names:
            table.put(entry(name), [Window(None, None, row)])
        table.save()


def test_every_kind_of_media_is_indexed_in_order_of_path(folder: Path, model: FakeModel) -> None:
    report = update_index(folder, folder / INDEX_NAME, model, MODEL)
    with open_table(folder / INDEX_NAME, MODEL) as table:
        entries = table.entries()
        windows = [table.windows(entry.sha256, entry.kind) for entry in entries]
    assert [(entry.path, entry.kind) for entry in entries] == [
        ("blink.gif", "video"), ("cat.txt", "text"), ("deep/tree.md", "text"), ("red.png", "image"),
        ("tone.wav", "audio"),
    ]  # fmt: skip
    assert (report.embedded, report.kept, report.removed, report.skipped) == (5, 0, 0, [])
    for (window,) in windows:
        assert (window.start, window.stop) == (None, None)
        assert np.linalg.norm(window.embedding) == pytest.approx(1.0, abs=1e-6)


def test_the_file_itself_is_the_nearest_to_its_own_content(folder: Path, model: FakeModel) -> None:
    update_index(folder, folder / INDEX_NAME, model, MODEL)
    query = embed_part(model, text_part("a cat"))
    with open_table(folder / INDEX_NAME, MODEL) as table:
        best, *rest = table.nearest(query, 3)
        assert best.path == "cat.txt" and best.cosine == pytest.approx(1.0, abs=1e-5)
        assert len(rest) == 2
        assert [match.kind for match in table.nearest(query, 9, "audio")] == ["audio"]


def test_a_folder_chooses_what_lies_below_it(folder: Path, model: FakeModel) -> None:
    (folder / "deeper").mkdir()
    (folder / "deeper" / "a.txt").write_text("a", encoding="utf-8")
    update_index(folder, folder / INDEX_NAME, model, MODEL)
    query = embed_part(model, text_part("a cat"))
    with open_table(folder / INDEX_NAME, MODEL) as table:
        for within in ("deep", "deep/", "./deep"):
            assert [match.path for match in table.nearest(query, 9, None, within)] == [
                "deep/tree.md"
            ]
        assert table.nearest(query, 9, "image", "deep") == []
        assert len(table.nearest(query, 9, None, ".")) == 6


def test_a_second_run_reads_no_file_and_embeds_nothing(
    folder: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    update_index(folder, folder / INDEX_NAME, model, MODEL)
    before = (folder / INDEX_NAME).read_bytes()

    def unread(*_: object) -> None:
        raise AssertionError("a file was read")

    monkeypatch.setattr("nextomni_edge.search.update.sha256_of", unread)
    report = update_index(folder, folder / INDEX_NAME, model, MODEL)
    assert (report.embedded, report.kept, model.embedded) == (0, 5, 5)
    assert (folder / INDEX_NAME).read_bytes() == before


def test_only_what_changed_is_embedded_again(folder: Path, model: FakeModel) -> None:
    update_index(folder, folder / INDEX_NAME, model, MODEL)
    (folder / "cat.txt").write_text("a dog", encoding="utf-8")  # the same length
    (folder / "tone.wav").rename(folder / "deep" / "moved.wav")
    (folder / "red.png").unlink()
    report = update_index(folder, folder / INDEX_NAME, model, MODEL)
    assert (report.embedded, report.kept, report.removed) == (1, 3, 2)
    assert paths(folder / INDEX_NAME) == [
        "blink.gif",
        "cat.txt",
        "deep/moved.wav",
        "deep/tree.md",
    ]


def test_a_change_within_the_file_clocks_grain_is_seen(folder: Path, model: FakeModel) -> None:
    now = time.time()
    os.utime(folder / "cat.txt", (now, now))
    update_index(folder, folder / INDEX_NAME, model, MODEL)
    (folder / "cat.txt").write_text("a dog", encoding="utf-8")
    os.utime(folder / "cat.txt", (now, now))  # size and time as before
    assert update_index(folder, folder / INDEX_NAME, model, MODEL).embedded == 1


def test_unreadable_files_are_reported_and_the_others_indexed(
    folder: Path, model: FakeModel
) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG broken")
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    report = update_index(folder, folder / INDEX_NAME, model, MODEL)
    assert report.embedded == 5
    assert [name for name, _ in report.skipped] == ["broken.png", "latin.txt"]
    assert all(str(folder / name) in reason for name, reason in report.skipped)


def test_a_name_that_is_no_unicode_is_reported_and_leaves_the_index_readable(
    folder: Path, model: FakeModel
) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt")).write_text("a cafe", encoding="utf-8")
    report = update_index(folder, folder / INDEX_NAME, model, MODEL)
    assert (
        report.embedded == 5 and "the name is not Unicode; rename the file" in report.skipped[0][1]
    )
    assert len(paths(folder / INDEX_NAME)) == 5


def test_another_bundles_index_is_refused(folder: Path, model: FakeModel) -> None:
    update_index(folder, folder / INDEX_NAME, model, MODEL)
    for attempt in (
        lambda: open_table(folder / INDEX_NAME, "b" * 64),
        lambda: update_index(folder, folder / INDEX_NAME, model, "b" * 64),
    ):
        with pytest.raises(
            InputError, match=r"made by another bundle \(aaaaaaaaaaaa, this one is bbbbbbbbbbbb\)"
        ):
            attempt()


def entry(path: str) -> Entry:
    return Entry(path, "text", "0" * 64, 1, 1, 1)


def test_what_cannot_be_meant_is_refused(tmp_path: Path, model: FakeModel) -> None:
    made(tmp_path / "index", "a.txt")
    with open_table(tmp_path / "index", MODEL) as table:
        for count in (0, 1001):
            with pytest.raises(UsageError, match=f"count of results is {count}, expected 1 to"):
                table.nearest(np.ones(48, dtype=np.float32), count)
        with pytest.raises(
            InputError, match=r"query embedding of shape \(3,\), the index has \(48,\)"
        ):
            table.nearest(np.ones(3, dtype=np.float32), 1)
    with pytest.raises(InputError, match="not a folder"):
        update_index(tmp_path / "none", tmp_path / INDEX_NAME, model, MODEL)
    with pytest.raises(InputError, match="no index; make it with"):
        open_table(tmp_path / INDEX_NAME, MODEL)
    assert not (tmp_path / INDEX_NAME).exists()


def test_an_empty_folder_has_an_empty_index(tmp_path: Path, model: FakeModel) -> None:
    update_index(tmp_path, tmp_path / INDEX_NAME, model, MODEL)
    with open_table(tmp_path / INDEX_NAME, MODEL) as table:
        assert table.nearest(np.zeros(table.width, dtype=np.float32), 3) == [] and len(table) == 0


INDEXER = f"""
import sys
from pathlib import Path
from nextomni_edge.search import INDEX_NAME, update
from tests.fake_model import FakeModel
update.SAVE_EVERY_SECONDS = 0.0
folder, model = Path(sys.argv[1]), FakeModel(Path(sys.argv[2]), float(sys.argv[3]))
print("ready", flush=True)
report = update.update_index(folder, folder / INDEX_NAME, model, "{MODEL}")
print(report.embedded, report.kept)
"""


def indexer(
    folder: Path, checkpoint: Path, seconds: float = 0.005, **options: object
) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", INDEXER, str(folder), str(checkpoint), str(seconds)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )  # type: ignore[call-overload, no-any-return]


def many_texts(folder: Path, count: int) -> None:
    for number in range(count):
        (folder / f"{number:03d}.txt").write_text(f"text number {number}", encoding="utf-8")
    age(folder)


def test_a_run_killed_at_any_moment_leaves_a_whole_index_and_its_work(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    many_texts(tmp_path, 40)
    generator = np.random.default_rng(0)
    killed = done = 0
    for trial in range(10):
        if trial % 5 == 0:
            (tmp_path / INDEX_NAME).unlink(missing_ok=True)
            done = 0
        process = indexer(tmp_path, tiny_checkpoint, 0.02)  # 0.8 s at least
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(generator.uniform(0.0, 0.4))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        if (tmp_path / INDEX_NAME).exists() and (tmp_path / INDEX_NAME).stat().st_size:
            left = paths(tmp_path / INDEX_NAME)
            assert len(left) >= done  # what was saved stays
            done = len(left)
            whole(tmp_path / INDEX_NAME)
    assert killed >= 5 and done > 0
    model = FakeModel(tiny_checkpoint)
    report = update_index(tmp_path, tmp_path / INDEX_NAME, model, MODEL)
    assert report.kept == done and model.embedded == report.embedded == 40 - done
    whole(tmp_path / INDEX_NAME)
    assert len(paths(tmp_path / INDEX_NAME)) == 40
    fresh = tmp_path / "fresh"
    update_index(tmp_path, fresh, model, MODEL)
    query = embed_part(model, text_part("a query"))
    with open_table(fresh, MODEL) as one, open_table(tmp_path / INDEX_NAME, MODEL) as other:
        assert one.nearest(query, 40) == other.nearest(query, 40)
    assert update_index(tmp_path, tmp_path / INDEX_NAME, model, MODEL).embedded == 0


def whole(path: Path) -> None:
    """Every file has its windows, every window its embedding, and none is left over."""
    with open_table(path, MODEL) as table:
        for entry in table.entries():
            assert len(table.windows(entry.sha256, entry.kind)) == 1
        counts = {table._rows(f"SELECT count(*) FROM {name}")[0][0]
                  for name in ("files", "windows", "embeddings")}  # fmt: skip
        assert counts == {len(table)}
        packed = [np.frombuffer(row[0], "<i8") for row in table._rows("SELECT files FROM blocks")]
        owners = table._rows("SELECT file FROM windows")
        assert sorted(np.concatenate(packed, axis=None).tolist())[-len(table) :] == sorted(
            file for (file,) in owners
        )
        assert table._rows("PRAGMA integrity_check") == [("ok",)]


def test_a_full_disk_leaves_the_old_index(tmp_path: Path, tiny_checkpoint: Path) -> None:
    many_texts(tmp_path, 30)
    made(tmp_path / INDEX_NAME, "000.txt")
    before = (tmp_path / INDEX_NAME).read_bytes()
    limit = (2048, 2048)  # the kernel refuses to write further, as it does on a full disk
    process = indexer(
        tmp_path,
        tiny_checkpoint,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0 and "cannot be written" in errors
    assert paths(tmp_path / INDEX_NAME) == ["000.txt"]
    assert (tmp_path / INDEX_NAME).read_bytes() == before


@pytest.mark.small_disk(700)
def test_a_folder_on_a_full_file_system_keeps_its_old_index(
    small_disk: Path, tiny_checkpoint: Path
) -> None:
    many_texts(small_disk, 30)
    made(small_disk / INDEX_NAME, "000.txt")
    before = (small_disk / INDEX_NAME).read_bytes()
    ballast = fill(small_disk)
    _, errors = indexer(small_disk, tiny_checkpoint).communicate(timeout=60)
    assert "cannot be written (No space left on device)" in errors
    assert paths(small_disk / INDEX_NAME) == ["000.txt"]
    assert (small_disk / INDEX_NAME).read_bytes() == before
    ballast.unlink()
    assert indexer(small_disk, tiny_checkpoint).communicate(timeout=60)[1] == ""
    assert len(paths(small_disk / INDEX_NAME)) == 30


def test_the_index_may_stand_elsewhere(folder: Path, tmp_path: Path, model: FakeModel) -> None:
    update_index(folder, tmp_path / "elsewhere.sqlite", model, MODEL)
    assert not (folder / INDEX_NAME).exists() and len(paths(tmp_path / "elsewhere.sqlite")) == 5


def test_a_file_that_is_slow_is_skipped_and_the_others_are_indexed(
    model: FakeModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever makes it slow: here its embedding never ends."""

    def slow(embedder: object, part: object) -> object:
        while part == text_part("a cat"):
            time.sleep(0.01)
        return embed_part(model, part)  # type: ignore[arg-type]

    monkeypatch.setattr("nextomni_edge.search.update.embed_part", slow)
    before = signal.getsignal(signal.SIGALRM)
    report = update_index(folder, folder / INDEX_NAME, model, MODEL, slowest=1.5)
    assert report.skipped == [("cat.txt", f"{folder / 'cat.txt'}: not read within 1.5 s")]
    assert report.embedded == 4
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_without_the_extra_there_is_one_line_that_says_how_to_install_it(
    folder: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apsw", None)
    with pytest.raises(MissingRuntimeError, match=r"pip install 'nextomni-edge\[search\]'"):
        update_index(folder, folder / INDEX_NAME, model, MODEL)

"""The index: whole or old after any kill, nothing embedded twice, nobody else's index taken for
one's own."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from safetensors.numpy import save_file

from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.media.parts import text_part
from nextomni_edge.search import INDEX_NAME
from nextomni_edge.search.table import Entry, Index, load_index, save_index
from nextomni_edge.search.update import embed_part, update_index
from tests.fake_model import FakeModel
from tests.full_disk import fill

ROOT = Path(__file__).parents[1]
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


def paths(index: Index) -> list[str]:
    return [entry.path for entry in index.entries]


def test_every_kind_of_media_is_indexed_in_order_of_path(folder: Path, model: FakeModel) -> None:
    report = update_index(folder, folder / INDEX_NAME, model, MODEL)
    index = load_index(folder / INDEX_NAME, MODEL)
    assert [(entry.path, entry.kind) for entry in index.entries] == [
        ("blink.gif", "video"), ("cat.txt", "text"), ("deep/tree.md", "text"), ("red.png", "image"),
        ("tone.wav", "audio"),
    ]  # fmt: skip
    assert (report.embedded, report.kept, report.removed, report.skipped) == (5, 0, 0, [])
    np.testing.assert_allclose(np.linalg.norm(index.embeddings, axis=1), 1.0, atol=1e-6)


def test_the_file_itself_is_the_nearest_to_its_own_content(folder: Path, model: FakeModel) -> None:
    update_index(folder, folder / INDEX_NAME, model, MODEL)
    index = load_index(folder / INDEX_NAME, MODEL)
    (best, cosine), *rest = index.search(embed_part(model, text_part("a cat")), 3)
    assert best.path == "cat.txt" and cosine == pytest.approx(1.0, abs=1e-5) and len(rest) == 2
    assert [
        entry.kind for entry, _ in index.search(embed_part(model, text_part("a cat")), 9, "audio")
    ] == ["audio"]


def test_a_second_run_reads_no_file_and_embeds_nothing(
    folder: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    update_index(folder, folder / INDEX_NAME, model, MODEL)
    before = (folder / INDEX_NAME).read_bytes()

    def unread(*_: object) -> None:
        raise AssertionError("a file was read")

    monkeypatch.setattr("nextomni_edge.search.update.hashlib.file_digest", unread)
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
    assert paths(load_index(folder / INDEX_NAME, MODEL)) == [
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
    assert len(load_index(folder / INDEX_NAME, MODEL).entries) == 5


def test_another_bundles_index_is_refused(folder: Path, model: FakeModel) -> None:
    update_index(folder, folder / INDEX_NAME, model, MODEL)
    for attempt in (
        lambda: load_index(folder / INDEX_NAME, "b" * 64),
        lambda: update_index(folder, folder / INDEX_NAME, model, "b" * 64),
    ):
        with pytest.raises(
            InputError, match=r"made by another bundle \(aaaaaaaaaaaa, this one is bbbbbbbbbbbb\)"
        ):
            attempt()


def entry(path: str) -> Entry:
    return Entry(path, "text", "0" * 64, 1, 1, 1)


def test_a_hostile_index_is_one_clear_line(tmp_path: Path) -> None:
    path, row = tmp_path / INDEX_NAME, np.ones((1, 4), dtype=np.float32)
    header = {"format": "nextomni-edge-index", "version": 1, "model": MODEL, "entries": []}
    cases: list[tuple[object, object, str]] = [
        (b"", None, "not an index"),
        (b"\xff" * 64, None, "not an index"),
        ({"embeddings": row}, None, "not an index"),
        ({"embeddings": row}, {"index": "{"}, "not valid JSON"),
        ({"embeddings": row}, {"index": json.dumps(header | {"extra": 1})}, "unknown key 'extra'"),
        (
            {"embeddings": row},
            {"index": json.dumps(header | {"version": 2})},
            "version 2, expected nextomni-edge-index version 1",
        ),
        ({"embeddings": row}, {"index": json.dumps(header)}, "for 0 files"),
        ({"other": row}, {"index": json.dumps(header)}, "not an index"),
    ]
    for content, metadata, expected in cases:
        (
            path.write_bytes(content)
            if isinstance(content, bytes)
            else save_file(content, path, metadata)
        )  # type: ignore[arg-type]
        with pytest.raises(InputError) as caught:
            load_index(path, MODEL)
        assert (
            str(path) in str(caught.value)
            and expected in str(caught.value)
            and "\n" not in str(caught.value)
        )


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret.txt", "a/../../b.txt"])
def test_an_index_whose_paths_leave_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    save_index(
        tmp_path / INDEX_NAME, Index(MODEL, (entry(path),), np.ones((1, 4), dtype=np.float32))
    )
    with pytest.raises(InputError, match="a path that leaves the folder"):
        load_index(tmp_path / INDEX_NAME, MODEL)


def test_embeddings_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    save_index(
        tmp_path / INDEX_NAME,
        Index(MODEL, (entry("a.txt"),), np.full((1, 4), np.nan, dtype=np.float32)),
    )
    with pytest.raises(InputError, match="embeddings that are not finite"):
        load_index(tmp_path / INDEX_NAME, MODEL)


def test_what_cannot_be_meant_is_refused(tmp_path: Path, model: FakeModel) -> None:
    index = Index(MODEL, (entry("a.txt"),), np.ones((1, 4), dtype=np.float32))
    with pytest.raises(UsageError, match="count of results is 0"):
        index.search(np.ones(4, dtype=np.float32), 0)
    with pytest.raises(InputError, match=r"query embedding of shape \(3,\), the index has \(4,\)"):
        index.search(np.ones(3, dtype=np.float32), 1)
    with pytest.raises(InputError, match="not a folder"):
        update_index(tmp_path / "none", tmp_path / INDEX_NAME, model, MODEL)
    with pytest.raises(InputError, match="no index; make it with"):
        load_index(tmp_path / INDEX_NAME, MODEL)


def test_an_empty_folder_has_an_empty_index(tmp_path: Path, model: FakeModel) -> None:
    update_index(tmp_path, tmp_path / INDEX_NAME, model, MODEL)
    index = load_index(tmp_path / INDEX_NAME, MODEL)
    assert index.search(np.zeros(model.config.backbone.hidden_size, dtype=np.float32), 3) == []


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


def test_a_run_killed_at_any_moment_leaves_the_old_index_and_its_work(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    many_texts(tmp_path, 40)
    old = Index(MODEL, (entry("000.txt"),), np.ones((1, 48), dtype=np.float32))
    generator = np.random.default_rng(0)
    killed = 0
    for trial in range(10):
        (tmp_path / f"{INDEX_NAME}.partial").unlink(missing_ok=True)
        (
            save_index(tmp_path / INDEX_NAME, old)
            if trial % 2
            else (tmp_path / INDEX_NAME).unlink(missing_ok=True)
        )
        process = indexer(tmp_path, tiny_checkpoint, 0.02)  # 0.8 s at least
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(generator.uniform(0.0, 1.2))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        if process.returncode == -signal.SIGKILL and (tmp_path / INDEX_NAME).exists():
            left = load_index(tmp_path / INDEX_NAME, MODEL)
            assert len(left.entries) in (1 if trial % 2 else 40, 40)
    assert killed >= 5
    model = FakeModel(tiny_checkpoint)
    left = (
        len(load_index(partial, MODEL).entries)
        if (partial := tmp_path / f"{INDEX_NAME}.partial").exists()
        else 0
    )
    report = update_index(tmp_path, tmp_path / INDEX_NAME, model, MODEL)
    assert report.embedded + report.kept == 40 and report.kept >= left
    assert len(load_index(tmp_path / INDEX_NAME, MODEL).entries) == 40
    assert update_index(tmp_path, tmp_path / INDEX_NAME, model, MODEL).embedded == 0


def test_work_saved_before_a_kill_is_not_done_again(tmp_path: Path, tiny_checkpoint: Path) -> None:
    many_texts(tmp_path, 30)
    partial = tmp_path / f"{INDEX_NAME}.partial"
    process = indexer(tmp_path, tiny_checkpoint)
    deadline = time.monotonic() + 60
    while not partial.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert not (tmp_path / INDEX_NAME).exists() or process.returncode == 0
    done = len(load_index(partial, MODEL).entries)
    model = FakeModel(tiny_checkpoint)
    report = update_index(tmp_path, tmp_path / INDEX_NAME, model, MODEL)
    assert done >= 1 and report.kept >= done and model.embedded == 30 - report.kept
    assert not partial.exists()


def test_a_full_disk_leaves_the_old_index(tmp_path: Path, tiny_checkpoint: Path) -> None:
    many_texts(tmp_path, 30)
    save_index(
        tmp_path / INDEX_NAME, Index(MODEL, (entry("000.txt"),), np.ones((1, 48), dtype=np.float32))
    )
    before = (tmp_path / INDEX_NAME).read_bytes()
    limit = (2048, 2048)  # the kernel refuses to write further, as it does on a full disk
    process = indexer(
        tmp_path,
        tiny_checkpoint,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0 and "cannot be written" in errors
    assert (tmp_path / INDEX_NAME).read_bytes() == before
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.small_disk(200)
def test_a_folder_on_a_full_file_system_keeps_its_old_index(
    small_disk: Path, tiny_checkpoint: Path
) -> None:
    many_texts(small_disk, 30)
    save_index(
        small_disk / INDEX_NAME,
        Index(MODEL, (entry("000.txt"),), np.ones((1, 48), dtype=np.float32)),
    )
    before = (small_disk / INDEX_NAME).read_bytes()
    ballast = fill(small_disk)
    _, errors = indexer(small_disk, tiny_checkpoint).communicate(timeout=60)
    assert "cannot be written (No space left on device)" in errors
    assert (small_disk / INDEX_NAME).read_bytes() == before and not list(small_disk.glob(".*.part"))
    ballast.unlink()
    assert indexer(small_disk, tiny_checkpoint).communicate(timeout=60)[1] == ""
    assert len(load_index(small_disk / INDEX_NAME, MODEL).entries) == 30


def test_what_killed_runs_left_is_removed(folder: Path, model: FakeModel) -> None:
    dead = [folder / f".{INDEX_NAME}{kind}.0123abcd.part" for kind in ("", ".partial")]
    for path in dead:
        path.write_bytes(b"half")
        os.utime(path, (1_700_000_000, 1_700_000_000))
    update_index(folder, folder / INDEX_NAME, model, MODEL)
    assert not any(path.exists() for path in dead)


def test_the_index_may_stand_elsewhere(folder: Path, tmp_path: Path, model: FakeModel) -> None:
    update_index(folder, tmp_path / "elsewhere.safetensors", model, MODEL)
    assert (
        not (folder / INDEX_NAME).exists()
        and len(load_index(tmp_path / "elsewhere.safetensors", MODEL).entries) == 5
    )
    shutil.rmtree(folder)


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

"""Index files that are damaged, or that a stranger made: one line each, and nothing runs."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.search import INDEX_NAME, OLD_NAME, index_file
from nextomni_edge.search.table import Entry, Window, open_table
from tests.sources import ROOT

MODEL = "a" * 64
WIDTH = 48
ROW = np.full(WIDTH, WIDTH**-0.5, np.float32)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """An index of two texts."""
    path = tmp_path / INDEX_NAME
    with open_table(path, MODEL, WIDTH) as table:
        for name in ("a.txt", "b.txt"):
            table.put(Entry(name, "text", "0" * 64, 1, 1, 1), [Window(None, None, ROW)])
        table.save()
    return path


def refused(path: Path, *words: str) -> None:
    """Opening it, or asking it, is one line that names the file."""
    with pytest.raises(InputError) as caught, open_table(path, MODEL) as table:
        table.nearest(ROW, 5)
    said = str(caught.value)
    assert str(path) in said and "\n" not in said
    for word in words:
        assert word in said


@pytest.mark.parametrize("content", [b"\xff" * 64, b"SQLite format 3\0", b"\0" * 8192])
def test_what_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "index").write_bytes(content)
    refused(tmp_path / "index", "not an index, or damaged", "delete it and index again")


def test_an_index_of_the_older_form_is_refused(tmp_path: Path) -> None:
    old = tmp_path / OLD_NAME
    save_file({"embeddings": np.ones((1, 4), np.float32)}, old, {"index": "{}"})
    with pytest.raises(InputError, match="an index of an older version; delete it, then run"):
        index_file(tmp_path, None)
    refused(old, "not an index, or damaged")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("PRAGMA application_id = 7", "a database of another program"),
        ("PRAGMA user_version = 9", "an index of version 9, expected 3"),
        ("DELETE FROM about", "not an index as this program makes it"),
        ("INSERT INTO about VALUES ('b', 4)", "not an index as this program makes it"),
        ("DROP TABLE about", "no such table"),
        ("UPDATE about SET width = 0", "embeddings of 0 numbers"),
        ("UPDATE about SET width = 999999999", "embeddings of 999999999 numbers"),
        ("UPDATE about SET model = 'b'", "made by another bundle"),
        ("PRAGMA journal_mode = WAL", "not an index as this program makes it"),
        ("CREATE TRIGGER t AFTER DELETE ON files BEGIN DELETE FROM windows; END",
         "not an index as this program makes it"),
        ("CREATE VIEW v AS SELECT load_extension('x')", "not an index as this program makes it"),
        ("UPDATE files SET path = '../secret.txt'" + " WHERE id = 1", "a path that leaves"),
        ("UPDATE files SET path = '/etc/passwd' WHERE id = 1", "a path that leaves"),
        ("UPDATE files SET path = 'a/../../b' WHERE id = 1", "a path that leaves"),
        ("UPDATE files SET kind = 'code'", "'code' is no kind of media"),
        ("UPDATE embeddings SET embedding = x'00'", "an embedding of 1 bytes, expected 192"),
        ("UPDATE embeddings SET embedding = zeroblob(100000000)", "too big"),
        ("UPDATE windows SET start = 1e999", "a window from"),
        ("UPDATE blocks SET codes = x'00'", "a block of "),
        ("UPDATE blocks SET files = x'00'", "a block of (1, "),
        ("UPDATE blocks SET codes = NULL", "a block of "),
    ],
)  # fmt: skip
def test_a_database_that_is_made_up_is_refused(index: Path, statement: str, words: str) -> None:
    with sqlite3.connect(index) as connection:
        connection.execute(statement)
    connection.close()
    refused(index, words)


def test_embeddings_that_are_not_finite_are_refused(index: Path) -> None:
    with sqlite3.connect(index) as connection:
        rows = np.full(WIDTH, np.nan, "<f4").tobytes()
        connection.execute("UPDATE embeddings SET embedding = ?", (rows,))
    connection.close()
    refused(index, "embeddings that are not finite")


def test_scales_that_are_not_finite_are_refused(index: Path) -> None:
    with sqlite3.connect(index) as connection:
        ((size,),) = connection.execute("SELECT length(scales) FROM blocks").fetchall()
        scales = np.full(size // 4, np.nan, "<f4").tobytes()
        connection.execute("UPDATE blocks SET scales = ?", (scales,))
    connection.close()
    refused(index, "a block whose scales are not finite")


FUZZER = """
import sys
from pathlib import Path
import numpy as np
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.search.table import open_table
path, whole, generator = Path(sys.argv[1]), Path(sys.argv[1]).read_bytes(), np.random.default_rng(0)
refused = 0
for trial in range(int(sys.argv[2])):
    data = bytearray(whole)
    for place in generator.integers(len(data), size=generator.integers(1, 20)):
        data[place] = generator.integers(256)
    cut = generator.integers(len(data)) if trial % 4 == 0 else len(data)
    path.write_bytes(bytes(data[:cut]))
    try:
        with open_table(path, "a" * 64) as table:
            table.entries()
            table.nearest(np.full(48, 48**-0.5, np.float32), 5)
    except (InputError, UsageError):
        refused += 1
print(refused)
"""


def test_damaged_bytes_give_an_answer_or_one_line_and_no_crash(index: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FUZZER, str(index), "150"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert 10 < int(ended.stdout) <= 150


def test_an_index_that_another_process_writes_is_one_line(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextomni_edge.search.database.BUSY_MS", 50)
    with open_table(index, MODEL, WIDTH) as first, open_table(index, MODEL, WIDTH) as second:
        first.remove(["a.txt"])
        with pytest.raises(
            UsageError, match="is being written by another process; wait until it ends"
        ):
            second.remove(["b.txt"])
        assert len(second) == 2  # a reader sees what was saved
        first.save()
        assert len(second) == 1


def test_an_index_that_is_replaced_while_it_is_opened_is_refused(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nextomni_edge.search import database

    connected = database._connected

    def replacing(path: Path, create: bool) -> object:
        (tmp_path / "other").write_bytes(index.read_bytes())
        (tmp_path / "other").replace(index)
        return connected(path, create)

    monkeypatch.setattr(database, "_connected", replacing)
    refused(index, "replaced while it was opened")


def test_threads_may_read_an_index_while_it_is_written(index: Path) -> None:
    found = list[int]()

    def read() -> None:
        for _ in range(20):
            with open_table(index, MODEL) as table:
                found.append(len(table.nearest(ROW, 5)))

    threads = [threading.Thread(target=read) for _ in range(3)]
    with open_table(index, MODEL, WIDTH) as table:
        for thread in threads:
            thread.start()
        for number in range(50):
            name = f"c{number}.txt"
            table.put(Entry(name, "text", "1" * 64, 1, 1, 1), [Window(None, None, ROW)])
            table.save()
        for thread in threads:
            thread.join()
        assert len(table) == 52
    assert len(found) == 60 and set(found) <= {2, 3, 4, 5}

"""Which engine keeps the index of `search`: ours (SQLite with packed blocks), rows (SQLite with a
row of INT8 for each item and sqlite-vec's distances, as ours was before), vec0 (the table of
sqlite-vec), and LanceDB with and without its index. They keep the same 100,000 rows.

Rows are synthetic, of the demo's width: unit vectors around 200 centres, with an offset that all
share, as embeddings of trained models have it. Queries are such vectors too. Recall is the share of
the 10 nearest by brute force in numpy that an engine finds. Brute force runs before the first
query, since its threads would still spin next to one. The engines are asked in turn, query by
query, so that what else runs disturbs all alike; `processor_ms` is what the query itself computes.

    pip install 'nextomni-edge[search]' sqlite-vec lancedb
    python benchmarks/search_engines.py
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.files import atomic_write
from nextomni_edge.search.table import Entry, Window, open_table

Float32 = NDArray[np.float32]
Find = Callable[[Float32], list[int]]

COUNT: Final = 10
TIMES: Final = ("ms", "filtered_ms", "processor_ms", "processor_filtered_ms")
FILTERED: Final = "folder03"  # one of sixteen


@dataclass(frozen=True)
class Engine:
    """How long it took to build, where its file or folder is, and how it is asked."""

    seconds: float
    place: Path
    libraries: tuple[str, ...]
    find: Find
    filtered: Find


def vectors(count: int, width: int, generator: np.random.Generator, centres: Float32) -> Float32:
    """Unit vectors (count,width) around the centres."""
    chosen = centres[generator.integers(len(centres), size=count)]
    rows = chosen + 0.7 * generator.normal(size=(count, width)).astype(np.float32)
    unit: Float32 = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def name(row: int) -> str:
    return f"folder{row % 16:02d}/{row}.jpg"


def ours(folder: Path, rows: Float32) -> Engine:
    """Through the package's own table."""
    place, began = folder / "ours.sqlite", time.perf_counter()
    with open_table(place, "m", rows.shape[1]) as table:
        for number, row in enumerate(rows):
            entry = Entry(name(number), "image", str(number), 1, 1, 1)
            table.put(entry, [Window(None, None, row)])
        table.save()
    seconds = time.perf_counter() - began

    def find(query: Float32, within: str | None = None) -> list[int]:
        with open_table(place, "m") as table:  # as the command does it: opened for each query
            found = table.nearest(query, COUNT, None, within)
        return [int(Path(match.path).stem) for match in found]

    return Engine(seconds, place, ("apsw",), find, lambda query: find(query, FILTERED))


def with_vectors(place: Path) -> Any:
    """A connection that knows sqlite-vec's functions, and a table of the paths."""
    import apsw
    import sqlite_vec

    connection = apsw.Connection(str(place))
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    connection.execute("CREATE TABLE IF NOT EXISTS files(id INTEGER PRIMARY KEY, path TEXT UNIQUE)")
    return connection


def coarsened(embedding: Float32) -> NDArray[np.int8]:
    """A normalised embedding (H,) as INT8, of one scale for all."""
    scale = 127 * np.sqrt(len(embedding)) / 6
    return np.clip(np.rint(embedding * scale), -127, 127).astype(np.int8)


def by_rows(folder: Path, rows: Float32) -> Engine:
    """A row of INT8 for each item, compared by sqlite-vec, and the float32 rows of the nearest."""
    place, began = folder / "rows.sqlite", time.perf_counter()
    connection = with_vectors(place)
    connection.execute("CREATE TABLE v(id INTEGER PRIMARY KEY, coarse BLOB, embedding BLOB)")
    with connection:
        stored = ((number, name(number)) for number in range(len(rows)))
        connection.executemany("INSERT INTO files VALUES (?, ?)", stored)
        embedded = (
            (number, coarsened(row).tobytes(), row.tobytes()) for number, row in enumerate(rows)
        )
        connection.executemany("INSERT INTO v VALUES (?, ?, ?)", embedded)
    connection.close()
    seconds = time.perf_counter() - began
    nearest = " ORDER BY vec_distance_l2(vec_int8(coarse), vec_int8(?)) LIMIT 100"

    def find(query: Float32, condition: str = "") -> list[int]:
        opened = with_vectors(place)
        asked = f"SELECT v.id FROM v {condition}{nearest}"
        near = [row[0] for row in opened.execute(asked, (coarsened(query).tobytes(),))]
        given = f"SELECT embedding FROM v WHERE id IN ({','.join(map(str, near))}) ORDER BY id"
        found = np.stack([np.frombuffer(row[0], np.float32) for row in opened.execute(given)])
        opened.close()
        return [sorted(near)[place] for place in np.argsort(-(found * query).sum(1))[:COUNT]]

    chosen = f"JOIN files USING (id) WHERE path >= '{FILTERED}/' AND path < '{FILTERED}0'"
    return Engine(seconds, place, ("apsw", "sqlite-vec"), find, lambda query: find(query, chosen))


def vec0(folder: Path, rows: Float32) -> Engine:
    """sqlite-vec's virtual table, with exact float32 distances."""
    place, began = folder / "vec0.sqlite", time.perf_counter()
    connection = with_vectors(place)
    columns = f"id INTEGER PRIMARY KEY, embedding float[{rows.shape[1]}]"
    connection.execute(f"CREATE VIRTUAL TABLE v USING vec0({columns})")
    with connection:
        stored = ((number, name(number)) for number in range(len(rows)))
        connection.executemany("INSERT INTO files VALUES (?, ?)", stored)
        embedded = ((number, row.tobytes()) for number, row in enumerate(rows))
        connection.executemany("INSERT INTO v(id, embedding) VALUES (?, ?)", embedded)
    seconds = time.perf_counter() - began
    asked = f"SELECT id FROM v WHERE embedding MATCH ? AND k = {COUNT}"
    below = f"path >= '{FILTERED}/' AND path < '{FILTERED}0'"

    def find(query: Float32, more: str = "") -> list[int]:
        return [int(row[0]) for row in connection.execute(asked + more, (query.tobytes(),))]

    chosen = f" AND id IN (SELECT id FROM files WHERE {below})"
    return Engine(seconds, place, ("apsw", "sqlite-vec"), find, lambda query: find(query, chosen))


def lancedb(folder: Path, rows: Float32, indexed: bool) -> Engine:
    """A LanceDB table, scanned, or with an index IVF_PQ of its usual settings."""
    import lancedb as lance
    import pyarrow

    place, began = folder / f"lance-{indexed}", time.perf_counter()
    listed = pyarrow.FixedSizeListArray.from_arrays(rows.reshape(-1), rows.shape[1])
    paths = [name(number) for number in range(len(rows))]
    columns = {"id": np.arange(len(rows)), "path": paths, "vector": listed}
    table = lance.connect(place).create_table("t", pyarrow.table(columns))
    if indexed:
        table.create_index(metric="cosine", vector_column_name="vector")
    seconds = time.perf_counter() - began

    def find(query: Float32, where: str = "") -> list[int]:
        search = (
            table.search(query).distance_type("cosine").limit(COUNT).select(["id", "_distance"])
        )
        if indexed:
            search = search.nprobes(20).refine_factor(10)
        if where:
            search = search.where(where, prefilter=True)
        return [int(value) for value in search.to_arrow()["id"].to_pylist()]

    below = f"path >= '{FILTERED}/' AND path < '{FILTERED}0'"
    return Engine(seconds, place, ("lancedb", "pyarrow"), find, lambda query: find(query, below))


def size(place: Path) -> int:
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)


def installed(library: str) -> int:
    """Bytes of an installed package's files, without those that it requires."""
    files = importlib.metadata.files(library) or []
    return sum(path.stat().st_size for file in files if (path := Path(file.locate())).is_file())


def measured(
    engines: dict[str, Engine], rows: Float32, queries: Float32
) -> dict[str, dict[str, Any]]:
    """Milliseconds of every query, and recall, of each engine in turn."""
    inside = np.array([name(row).startswith(FILTERED) for row in range(len(rows))])
    found: dict[str, dict[str, Any]] = {
        each: {key: list[float]() for key in (*TIMES, "recall", "filtered_recall")}
        for each in engines
    }
    expected_of = []
    for query in queries:
        cosines = rows @ query
        exact = set(np.argsort(-cosines)[:COUNT].tolist())
        expected_of.append(
            (exact, set(np.argsort(-np.where(inside, cosines, -2))[:COUNT].tolist()))
        )
    time.sleep(1)  # until brute force's threads are idle
    for query, (exact, exact_inside) in zip(queries, expected_of, strict=True):
        for each, engine in engines.items():
            for find, times, recall, expected in (
                (engine.find, "ms", "recall", exact),
                (engine.filtered, "filtered_ms", "filtered_recall", exact_inside),
            ):
                began, worked = time.perf_counter(), time.process_time()
                got = find(query)
                found[each][times].append(round((time.perf_counter() - began) * 1e3, 3))
                spent = round((time.process_time() - worked) * 1e3, 3)
                found[each][f"processor_{times}"].append(spent)
                found[each][recall].append(len(expected & set(got)) / COUNT)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/search_engines.json"))
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--queries", type=int, default=100)
    given = parser.parse_args()
    generator = np.random.default_rng(0)
    offset = generator.normal(size=given.width)
    centres = (0.8 * offset + generator.normal(size=(200, given.width))).astype(np.float32)
    rows = vectors(given.rows, given.width, generator, centres)
    queries = vectors(given.queries, given.width, generator, centres)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        engines = {
            "ours": ours(folder, rows),
            "rows": by_rows(folder, rows),
            "vec0": vec0(folder, rows),
            "lancedb scanned": lancedb(folder, rows, False),
            "lancedb IVF_PQ": lancedb(folder, rows, True),
        }
        raw = measured(engines, rows, queries)
        summary = {
            each: {
                "build_seconds": round(engine.seconds, 2),
                "bytes": size(engine.place),
                "installed_bytes": sum(map(installed, engine.libraries)),
                "versions": {each: importlib.metadata.version(each) for each in engine.libraries},
                **{
                    f"{key}_p{part}": round(float(np.percentile(raw[each][key], part)), 2)
                    for key in TIMES
                    for part in (50, 95)
                },
                **{
                    key: round(float(np.mean(raw[each][key])), 4)
                    for key in ("recall", "filtered_recall")
                },
            }
            for each, engine in engines.items()
        }
    result = {
        "rows": given.rows,
        "width": given.width,
        "load_average": os.getloadavg()[0],
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "python": sys.version.split()[0],
        "summary": summary,
        "raw": raw,
    }
    with atomic_write(given.output, "w") as file:
        file.write(json.dumps(result, indent=1) + "\n")
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()

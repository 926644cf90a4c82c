"""Embed a large collection with several workers, then index it: a job over Dask.

One machine's `search index` embeds one file after the other. Here every worker of a Dask cluster
loads the bundle once and embeds files, and this process only writes the table. With `--scheduler`,
the workers are those of a cluster that sees the collection and the bundle under the same paths.
Without it, they are processes on this machine.

    pip install 'nextomni-edge[cpu,search]' distributed
    python examples/embed_collection.py photos demo/bundle --workers 2

Afterwards `nextomni-edge search photos "a red rocket" --bundle demo/bundle` finds by the index, and
`search index` keeps it up to date.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import nextomni_edge as ne
from nextomni_edge.errors import InputError
from nextomni_edge.media.parts import file_windows
from nextomni_edge.search import index_file
from nextomni_edge.search.table import Entry, Window, open_table
from nextomni_edge.search.update import embed_part, file_kind, media_files

AHEAD = 64  # files in flight for each worker: memory stays bounded


@functools.cache
def model(bundle: str) -> ne.Model:
    """One for each worker, on one thread: the workers share the processors."""
    return ne.load(bundle, threads=1)


def embedded(bundle: str, folder: str, relative: str) -> tuple[Entry, list[Window]] | str:
    """A file's row of the table and its windows, or why there are none. It runs in a worker."""
    path = Path(folder, relative)
    try:
        status, hashed_ns = path.stat(), time.time_ns()
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        kind, edge = file_kind(path), model(bundle).edge
        entry = Entry(relative, kind, digest, status.st_size, status.st_mtime_ns, hashed_ns)
        return entry, [
            Window(each.start, each.stop, embed_part(edge, each.media))
            for each in file_windows(edge, kind, path)
        ]
    except (InputError, OSError) as error:
        return str(error)


def main() -> None:
    from distributed import Client, LocalCluster, as_completed

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scheduler", help="address of a running cluster, such as tcp://host:8786")
    given = parser.parse_args()
    own = ne.load(given.bundle)
    where = index_file(given.folder, None)
    began, done, skipped = time.perf_counter(), 0, list[str]()
    cluster = given.scheduler or LocalCluster(
        n_workers=given.workers, threads_per_worker=1, dashboard_address=None
    )
    with (
        Client(cluster) as client,
        open_table(where, own.identity, own.config.backbone.hidden_size) as table,
    ):
        pending: Iterator[str] = (
            name
            for name, path in media_files(given.folder)
            if not ((known := table.entry(name)) and known.unchanged(path.stat()))
        )
        work = functools.partial(embedded, str(given.bundle.resolve()), str(given.folder.resolve()))
        first = [name for name, _ in zip(pending, range(AHEAD * given.workers), strict=False)]
        flow = as_completed(client.map(work, first, pure=False), with_results=True)
        for _, answer in flow:
            if isinstance(answer, str):
                skipped.append(answer)
            else:
                table.put(*answer)
                done += 1
                if done % 100 == 0:
                    table.save()
            if (name := next(pending, None)) is not None:
                flow.add(client.submit(work, name, pure=False))
        table.save()
    for reason in skipped:
        print(f"skipped {reason}")
    print(f"{where}: {done} embedded in {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()

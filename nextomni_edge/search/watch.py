"""An index that follows its folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from nextomni_edge.errors import InputError
from nextomni_edge.extras import needs_extra
from nextomni_edge.media.kinds import kind_of
from nextomni_edge.search.update import Embedder, Progress, Report, update_index

SETTLE_MS = 1600  # a file that is being copied changes all the time


def watch_index(
    folder: Path,
    path: Path,
    model: Embedder,
    identity: str,
    observe: Progress | None = None,
    stop: threading.Event | None = None,
) -> Iterator[Report]:
    """Bring the index up to date now and after every change below the folder, and tell each time
    what was done, until `stop` is set. Errors as `update_index`'s."""
    with needs_extra("search", "watchfiles"):
        import watchfiles
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder")

    def medium(_: watchfiles.Change, name: str) -> bool:
        """A hidden name is no medium: so the index does not call for itself."""
        below = Path(name).relative_to(folder.resolve()).parts
        return kind_of(Path(name)) is not None and not any(part[0] == "." for part in below)

    # The watch begins before the first run: what changes during a run is seen after it.
    changes = watchfiles.watch(
        folder.resolve(),
        watch_filter=medium,
        debounce=SETTLE_MS,
        stop_event=stop,
        yield_on_timeout=True,
        rust_timeout=100,
        raise_interrupt=True,
    )
    next(changes)  # it runs from here on
    yield update_index(folder, path, model, identity, observe)
    for changed in changes:
        if changed:
            yield update_index(folder, path, model, identity, observe)

"""Where a command may write: never over, inside or around what it reads, and `--overwrite` replaces
only what this tool wrote."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nextomni_edge.errors import UsageError
from nextomni_edge.files import atomic_directory

# What desktops and file systems leave in folders; nobody misses it.
LITTER: Final = (".DS_Store", "Thumbs.db", "desktop.ini")
LITTER_PREFIXES: Final = ("._", ".nfs")


@dataclass(frozen=True)
class OutputKind:
    """A folder that this tool writes. `contents` reads the folder's marker and gives the relative
    names of the files that this tool put there, or None where the marker is absent or of something
    else; a name that ends in "/" stands for all below it."""

    name: str
    marker: str
    contents: Callable[[Path], frozenset[str] | None]


def refuse_overlap(out: Path, inputs: Iterable[Path]) -> None:
    """UsageError: the output is an input, or one of the two lies inside the other. Links count as
    what they point to, and two names of one file as that file."""
    target = Path(os.path.realpath(out))
    for given in inputs:
        source = Path(os.path.realpath(given))
        if not os.path.lexists(given):
            continue  # whoever reads it says so
        if source == target or _same_file(source, target):
            relation = "is the same as"
        elif source in target.parents and source.is_dir():
            relation = "lies inside"
        elif target in source.parents:
            relation = "holds"
        else:
            continue
        raise UsageError(
            f"the output {out} {relation} the input {given}; choose another name for the output"
        )


def check_output_directory(
    out: Path, kind: OutputKind, inputs: Iterable[Path], overwrite: bool
) -> None:
    """UsageError where `out` overlaps an input, or exists and is not to be replaced, or holds
    anything that this tool did not write."""
    refuse_overlap(out, inputs)
    if not os.path.lexists(out):
        return
    if not overwrite:
        raise UsageError(f"{out} exists; choose another name or pass --overwrite")
    if out.is_symlink() or not out.is_dir():
        raise UsageError(f"{out} is no directory; it is not overwritten: choose another name")
    found = sorted(_files(out))
    if not found:
        return
    known = kind.contents(out)
    if known is None:
        there = (out / kind.marker).exists()
        marker = f"{kind.marker} is not this tool's" if there else f"it has no {kind.marker}"
        raise UsageError(
            f"{out} is no {kind.name} ({marker}); it is not overwritten: it holds {found[0]!r};"
            " choose another name"
        )
    folders = tuple(name for name in known if name.endswith("/"))
    for name in found:
        if name not in known and not name.startswith(folders):
            raise UsageError(
                f"{out / name} is no file of a {kind.name} that this tool wrote; {out} is not"
                " overwritten: move that file away or choose another name"
            )


@contextlib.contextmanager
def output_directory(
    out: Path, kind: OutputKind, inputs: Iterable[Path] = (), overwrite: bool = False
) -> Iterator[Path]:
    """A directory to fill that takes the name `out` when the block ends (`files.atomic_directory`),
    after `check_output_directory`."""
    check_output_directory(out, kind, inputs, overwrite)
    with atomic_directory(out, overwrite) as part:
        yield part


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # the output is not there yet
        return False


def _files(folder: Path) -> Iterator[str]:
    """Relative names of all that is no litter; an empty folder inside is nothing."""
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in (*names, *links):
            if name not in LITTER and not name.startswith(LITTER_PREFIXES):
                yield (Path(parent) / name).relative_to(folder).as_posix()

"""ONNX Runtime's packed copies in a cache folder: the same numbers, made once, and made again when
anything changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import UsageError
from nextomni_edge.runtimes.base import Execution, runtime
from nextomni_edge.runtimes.onnx.packed import GRAPH, RECORD, WEIGHTS
from nextomni_edge.spec import Wire
from tests.verify import tamper

Variant = Callable[[str], Path]


def hidden(path: Path, cache: Path | None) -> np.ndarray:
    """Hidden states of the bundle's backbone, of fixed rows."""
    bundle = Bundle.open(path, verify_hashes=False)
    loader = runtime("onnx", Execution("onnx", "cpu", cache=cache))
    session = loader.load("backbone", bundle.component_file("backbone"), bundle.spec("backbone"))
    sizes = {"batch": 1, "rows": 5, "past": 0, "attended": 5}
    given: dict[str, Any] = {
        tensor.name: np.zeros(tensor.shape(sizes), tensor.dtype) for tensor in session.spec.inputs
    }
    shape = given[Wire.EMBEDDINGS].shape
    given[Wire.EMBEDDINGS] = np.random.default_rng(0).standard_normal(shape, np.float32)
    given[Wire.POSITIONS] = np.arange(5)[None]
    given[Wire.ATTENTION_MASK] = np.ones_like(given[Wire.ATTENTION_MASK])
    return session.run(given, [Wire.HIDDEN])[Wire.HIDDEN]


def flip(file: Path) -> None:
    """Change the byte in the middle in place, and set the time of modification back."""
    before = file.stat()
    with file.open("r+b") as stream:
        stream.seek(before.st_size // 2)
        byte = stream.read(1)[0]
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte ^ 255]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def made(cache: Path) -> list[tuple[str, int]]:
    """The copies, by name, with the inode of their weights: written again, it is another one."""
    return sorted((each.name, (each / WEIGHTS).stat().st_ino) for each in cache.iterdir())


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Iterator[Path]:
    yield tamper.copy(tiny_bundle, tmp_path / "bundle")


@pytest.mark.parametrize("name", ["float32", "int4", "int8"])
def test_a_packed_copy_computes_the_same_bits_and_is_made_once(
    tiny_bundle: Path, variant: Variant, tmp_path: Path, name: str
) -> None:
    path, cache = tiny_bundle if name == "float32" else variant(name), tmp_path / "cache"
    plain = hidden(path, None)
    assert (hidden(path, cache) == plain).all()
    (folder,) = cache.iterdir()
    assert {file.name for file in folder.iterdir()} == {GRAPH, WEIGHTS, RECORD}
    first = made(cache)
    assert (hidden(path, cache) == plain).all() and made(cache) == first


@pytest.mark.parametrize(
    "harm", ["a byte", "no record", "no weights", "no graph", "another record"]
)
def test_a_copy_that_was_touched_is_made_again(bundle: Path, tmp_path: Path, harm: str) -> None:
    plain, cache = hidden(bundle, None), tmp_path / "cache"
    hidden(bundle, cache)
    (folder,) = cache.iterdir()
    first = made(cache)
    time.sleep(0.02)  # the next tick of the file system's clock
    if harm == "a byte":
        flip(folder / WEIGHTS)
    elif harm == "another record":
        (folder / RECORD).write_text("[1]")
    else:
        (folder / {"no record": RECORD, "no weights": WEIGHTS, "no graph": GRAPH}[harm]).unlink()
    assert (hidden(bundle, cache) == plain).all()
    assert [name for name, _ in made(cache)] == [name for name, _ in first]
    again = made(cache)
    assert (hidden(bundle, cache) == plain).all() and made(cache) == again


def test_a_bundle_whose_weights_changed_has_another_copy(bundle: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    before = hidden(bundle, cache)
    time.sleep(0.02)
    for file in (bundle / "weights").iterdir():
        flip(file)
    after = hidden(bundle, cache)
    assert not np.array_equal(before, after) and len(made(cache)) == 2


def test_another_processor_has_another_copy(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nextomni_edge.runtimes.onnx import packed

    hidden(bundle, tmp_path / "cache")
    monkeypatch.setattr(packed, "integer_features", lambda: ("x86_64", "another"))
    hidden(bundle, tmp_path / "cache")
    assert len(made(tmp_path / "cache")) == 2


def test_a_cache_that_is_no_folder_is_one_clear_line(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="no folder can be made there"):
        hidden(bundle, tmp_path / "file" / "cache")

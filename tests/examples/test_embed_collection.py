"""What a worker of the job over Dask does. Its cluster is another package's, and is not started
here."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

import nextomni_edge as ne
from nextomni_edge.search.table import open_table

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))

import embed_collection


def test_a_worker_s_rows_are_those_of_search_index(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "cat.txt").write_text("a cat", encoding="utf-8")
    Image.new("RGB", (16, 16), "red").save(folder / "red.png")
    soundfile.write(folder / "long.wav", np.full(80_000, 0.25, dtype=np.float32), 16_000)
    (folder / "bad.png").write_bytes(b"no picture")
    model = ne.load(tiny_bundle)
    ne.search.index(folder, model)
    with open_table(ne.search.index_file(folder, None), model.identity) as table:
        assert len(table) == 3
        for kept in table.entries():
            found = embed_collection.embedded(str(tiny_bundle), str(folder), kept.path)
            assert isinstance(found, tuple), found
            entry, windows = found
            assert (entry.path, entry.kind, entry.sha256) == (kept.path, kept.kind, kept.sha256)
            stored = table.windows(kept.sha256, kept.kind)
            assert len(windows) == len(stored)
            for one, other in zip(windows, stored, strict=True):
                assert one.start == other.start and abs(one.embedding @ other.embedding - 1) < 1e-5
    said = embed_collection.embedded(str(tiny_bundle), str(folder), "bad.png")
    assert said == f"{folder / 'bad.png'}: not a picture that Pillow decodes"

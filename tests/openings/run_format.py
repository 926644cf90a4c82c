"""Stores a bundle's text table in the toy format, opens the bundle and replays its golden trace;
run in a copy that has the format and its runtime."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from nextomni_edge.bundle import Bundle, ComponentRecord
from nextomni_edge.bundle.writer import BundleWriter
from nextomni_edge.checkpoints.directory import Checkpoint
from nextomni_edge.errors import InputError
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.verify.replay import replay

parent, model_dir, folder = (Path(argument) for argument in sys.argv[1:])
source, rows = Bundle.open(parent), Checkpoint.open(model_dir).tensor("embed_text.weight")
kept = {name: record for name, record in source.manifest.components.items() if name != "embed_text"}
files = {source.manifest.tokenizer, source.manifest.metric_tables, source.manifest.golden.file}
for name, record in kept.items():
    files |= {record.index, *source.component_weights(name)}


def store(out: Path, values: np.ndarray) -> Bundle:
    """The bundle with the text table in the toy format."""
    with BundleWriter(out) as writer:
        for name in files:
            writer.add_file(name, source.path / name)
        writer.add_tensors("embed_text.rows", {"rows": np.ascontiguousarray(values)})
        for name, record in kept.items():
            writer.component(name, record)
        writer.component("embed_text", ComponentRecord("rows", "embed_text.rows"))
        writer.finish(source.config, golden=source.manifest.golden)
    return Bundle.open(out)


bundle = store(folder / "bundle", np.asarray(rows, np.float32))
report = replay(bundle, check_digests=False)
report.require()
edge = EdgeModel.from_bundle(bundle, components=["embed_text"])
print(edge.sessions["embed_text"].provider, report.runtime, len(report.tasks))
try:
    store(folder / "damaged", np.zeros((3, 2), np.float32))
except InputError as error:
    print(str(error).partition(": ")[2])

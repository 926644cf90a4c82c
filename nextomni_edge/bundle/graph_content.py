"""The content of a graph with all its weights, as a key for what is compiled from it."""

from __future__ import annotations

from pathlib import Path

from nextomni_edge.checkpoints.directory import file_sha256
from nextomni_edge.formats.onnx_read import read_graph


def graph_content(file: Path) -> list[str]:
    """Digests of a graph and of every file of its weights."""
    located = {
        dict(tensor.entries)["location"]
        for tensor in read_graph(file).tensors
        if tensor.entries is not None
    }
    return [file_sha256(path) for path in (file, *(file.parent / name for name in sorted(located)))]

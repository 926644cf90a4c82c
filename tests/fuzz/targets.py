"""What `make fuzz` gives damaged bytes to: every reader of a stranger's file.

Only our own errors may come out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from nextomni_edge.bundle.graph_check import check_graph
from nextomni_edge.bundle.manifest import read_manifest
from nextomni_edge.config import AudioConfig, ModelConfig
from nextomni_edge.formats.gguf import read_gguf
from nextomni_edge.formats.mil import read_program
from nextomni_edge.formats.onnx_read import read_onnx
from nextomni_edge.formats.strict_json import parse_json
from nextomni_edge.formats.tensor_file import TensorFile
from nextomni_edge.formats.tokenizer import read_tokenizer
from nextomni_edge.graphs import graph_specs
from nextomni_edge.media.audio import read_audio
from nextomni_edge.media.image import read_image
from nextomni_edge.media.video import read_video
from nextomni_edge.tokens.text import TextTokenizer
from tests.bundle.build import small_config

Target = Callable[[bytes], object]
# Memory where the system has such a folder: a disk would take most of the time.
_MEMORY = Path("/dev/shm")
_FOLDER = Path(
    tempfile.mkdtemp(prefix="nextomni-edge-fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None)
)
_AUDIO = AudioConfig()
_BACKBONE = graph_specs(small_config())["backbone"]


def from_file(name: str, read: Callable[[Path], object]) -> Target:
    """A reader of paths as one of bytes."""
    path = _FOLDER / name

    def target(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return target


def tensors(path: Path) -> None:
    file = TensorFile(path)
    for name in file.names():
        file.tensor(name)


def tokenizer(path: Path) -> None:
    read_tokenizer(path)
    TextTokenizer(path).encode("a cat, <|im_start|> ¿qué? 漢字 \x00")


def graph(path: Path) -> None:
    check_graph(path, _BACKBONE, {})


TARGETS: dict[str, Target] = {
    "onnx": read_onnx,
    "graph": from_file("g.onnx", graph),
    "mil": read_program,
    "gguf": from_file("g.gguf", read_gguf),
    "safetensors": from_file("t.safetensors", tensors),
    "manifest": lambda data: read_manifest(parse_json(data, "manifest"), "manifest"),
    "tokenizer": from_file("tokenizer.json", tokenizer),
    "config": lambda data: ModelConfig.from_json(parse_json(data, "config")),
    "image": from_file("i.png", lambda path: read_image(path, 32, "white")),
    "audio": from_file("a.wav", lambda path: read_audio(path, _AUDIO, True)),
    "animation": from_file("v.gif", lambda path: read_video(path, 32, 4)),
    "video": from_file("v.mp4", lambda path: read_video(path, 32, 4)),
}

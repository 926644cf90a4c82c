"""Bytes changed at random: nothing but an InputError comes of it, and no changed file is ever taken
for the one recorded."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.manifest import read_manifest
from nextomni_edge.checkpoints.directory import Checkpoint
from nextomni_edge.errors import InputError
from nextomni_edge.formats.onnx_read import read_onnx
from nextomni_edge.formats.strict_json import parse_json
from nextomni_edge.formats.tensor_file import TensorFile
from tests.bounded import bounded
from tests.bundle.build import WEIGHT_FILE, metric_tables, small_bundle, small_config
from tests.bundle.damage import record
from tests.bundle.tensors import safetensors_bytes

FILES = [
    "backbone.onnx",
    "text_head.onnx",
    "metric_tables.safetensors",
    "golden.safetensors",
    "tokenizer.json",
    WEIGHT_FILE,
]
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=8)
)
JSON_VALUES = (
    SCALARS
    | st.lists(SCALARS, max_size=3)
    | st.dictionaries(st.text(max_size=8), SCALARS, max_size=3)
)
# Cut at a place, drop some bytes there, put others in.
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 8), st.binary(max_size=8)), min_size=1, max_size=4
)


def edited(content: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    for place, dropped, inserted in edits:
        at = int(place * len(content))
        content = content[:at] + inserted + content[at + dropped :]
    return content


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundle(tmp_path_factory.mktemp("mutated") / "b")


@contextlib.contextmanager
def changed(path: Path, content: bytes) -> Iterator[None]:
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


@given(name=st.sampled_from(FILES), edits=EDITS)
@settings(max_examples=50, deadline=None)
def test_a_file_that_is_not_the_recorded_one_never_loads(
    bundle: Path, name: str, edits: list[tuple[float, int, bytes]]
) -> None:
    content = edited((bundle / name).read_bytes(), edits)
    if content == (bundle / name).read_bytes():
        return
    with changed(bundle / name, content), bounded(), pytest.raises(InputError):
        Bundle.open(bundle)


@given(name=st.sampled_from([*FILES, "manifest.json"]), edits=EDITS)
@settings(max_examples=50, deadline=None)
def test_a_changed_file_with_its_hash_is_refused_or_is_a_valid_one(
    bundle: Path, name: str, edits: list[tuple[float, int, bytes]]
) -> None:
    content = edited((bundle / name).read_bytes(), edits)
    with (
        changed(bundle / "manifest.json", (bundle / "manifest.json").read_bytes()),
        changed(bundle / name, content),
    ):
        if name != "manifest.json":
            record(bundle, name)
        with bounded(), contextlib.suppress(InputError):
            for component in Bundle.open(bundle).manifest.components:
                assert Bundle.open(bundle).component_file(component).is_file()


@given(path=st.data())
@settings(max_examples=100, deadline=None)
def test_a_manifest_with_another_value_anywhere_is_refused_or_is_a_valid_one(
    bundle: Path, path: st.DataObject
) -> None:
    data = json.loads((bundle / "manifest.json").read_text())
    place = data
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = path.draw(st.sampled_from(keys))
        if isinstance(place[key], (dict, list)) and place[key] and path.draw(st.booleans()):
            place = place[key]
            continue
        if isinstance(place, dict) and path.draw(st.booleans()):
            place[path.draw(st.text(max_size=8))] = place.pop(key)
        else:
            place[key] = path.draw(JSON_VALUES)
        break
    with bounded(), contextlib.suppress(InputError):
        manifest = read_manifest(data, "manifest")
        assert all(name in manifest.files for name in manifest.referenced())


@given(st.binary(max_size=200))
@settings(deadline=None)
@example(b"\x3a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02")
def test_bytes_as_a_graph(content: bytes) -> None:
    with bounded(), contextlib.suppress(InputError):
        read_onnx(content)


@given(st.binary(max_size=200) | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
@settings(deadline=None)
@example(b"1" * 5000)
@example(b'"\\ud800"')
def test_bytes_as_json(content: bytes) -> None:
    with bounded(), contextlib.suppress(InputError):
        json.dumps(parse_json(content, "bytes"), allow_nan=False, ensure_ascii=False).encode(
            "utf-8"
        )


@given(
    header=JSON_VALUES
    | st.dictionaries(
        st.text(),
        st.fixed_dictionaries(
            {"dtype": JSON_VALUES, "shape": JSON_VALUES, "data_offsets": JSON_VALUES}
        ),
    )
)
@settings(max_examples=50, deadline=None)
def test_any_header_of_a_safetensors_file(
    tmp_path_factory: pytest.TempPathFactory, header: object
) -> None:
    path = tmp_path_factory.mktemp("header") / "x.safetensors"
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(64))
    with bounded(), contextlib.suppress(InputError):
        for name in TensorFile(path).names():
            TensorFile(path).tensor(name)


@given(edits=EDITS, file=st.sampled_from(["config.json", "model.safetensors"]))
@settings(max_examples=50, deadline=None)
def test_a_changed_checkpoint_is_refused_or_is_a_valid_one(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[float, int, bytes]], file: str
) -> None:
    path = tmp_path_factory.mktemp("model")
    (path / "config.json").write_text(json.dumps(small_config().to_json()))
    (path / "model.safetensors").write_bytes(safetensors_bytes(metric_tables(small_config())))
    (path / file).write_bytes(edited((path / file).read_bytes(), edits))
    with bounded(), contextlib.suppress(InputError):
        checkpoint = Checkpoint.open(path)
        for name in checkpoint.names():
            assert checkpoint.tensor(name).shape == checkpoint.shape(name)

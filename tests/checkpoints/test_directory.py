"""A model directory read without torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from nextomni_edge.checkpoints.directory import INDEX, Checkpoint
from nextomni_edge.errors import InputError
from tests.bundle.build import small_config
from tests.bundle.tensors import safetensors_bytes

TENSORS = {f"t{number}": np.full((2, 3), number, np.float16) for number in range(4)}


def write_config(path: Path) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(small_config().to_json()))
    (path / "tokenizer.json").write_text("{}")
    return path


def single(path: Path) -> Path:
    (write_config(path) / "model.safetensors").write_bytes(safetensors_bytes(TENSORS))
    return path


def sharded(path: Path, weight_map: dict[str, str] | None = None) -> Path:
    """Tensors t0, t1 in one file and t2, t3 in another, as the index says or does not."""
    write_config(path)
    shards = {"a.safetensors": ("t0", "t1"), "b.safetensors": ("t2", "t3")}
    for shard, names in shards.items():
        (path / shard).write_bytes(safetensors_bytes({name: TENSORS[name] for name in names}))
    listed = (
        {name: shard for shard, names in shards.items() for name in names}
        if weight_map is None
        else weight_map
    )
    (path / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    return path


@pytest.mark.parametrize("layout", [single, sharded])
def test_every_tensor_is_read(tmp_path: Path, layout: object) -> None:
    assert callable(layout)
    checkpoint = Checkpoint.open(layout(tmp_path / "model"))
    assert checkpoint.config == small_config() and checkpoint.names() == list(TENSORS)
    for name, array in TENSORS.items():
        assert checkpoint.shape(name) == (2, 3) and checkpoint.tensor(name).dtype == np.float32
        np.testing.assert_array_equal(checkpoint.tensor(name), array)
        assert checkpoint.location(name).dtype == "float16"


def test_the_digest_of_every_file_tells_where_a_bundle_came_from(tmp_path: Path) -> None:
    path = sharded(tmp_path / "model")
    digests = Checkpoint.open(path).sha256()
    assert sorted(digests) == ["a.safetensors", "b.safetensors", "config.json", "tokenizer.json"]
    assert all(
        hashlib.sha256((path / name).read_bytes()).hexdigest() == digest
        for name, digest in digests.items()
    )


MISPLACED = "tensor t3 must be in a.safetensors, and only there"
PLAIN = ", expected the plain name of a .safetensors file next to it"


@pytest.mark.parametrize(
    ("weight_map", "error"),
    [
        ({"t0": "../a.safetensors"}, "tensor t0 is in '../a.safetensors'" + PLAIN),
        ({"t0": "/a.safetensors"}, "tensor t0 is in '/a.safetensors'" + PLAIN),
        ({"t0": "c:\\a.safetensors"}, "tensor t0 is in 'c:\\\\a.safetensors'" + PLAIN),
        ({"t0": "a.bin"}, "tensor t0 is in 'a.bin'" + PLAIN),
        ({"t0": 3}, "tensor t0 is in 3" + PLAIN),
        ({"t0": "a.safetensors"}, "tensor t1 is not listed"),
        (
            {"t0": "a.safetensors", "t1": "a.safetensors", "t9": "a.safetensors"},
            "tensor t9 is missing in its file",
        ),
        (dict.fromkeys(["t0", "t1", "t3"], "a.safetensors") | {"t2": "b.safetensors"}, MISPLACED),
    ],
)  # fmt: skip
def test_an_index_that_does_not_fit_is_refused(
    tmp_path: Path, weight_map: dict[str, str], error: str
) -> None:
    path = sharded(tmp_path / "model", weight_map)
    with pytest.raises(InputError) as raised:
        Checkpoint.open(path)
    assert str(raised.value) == f"{path / INDEX}: {error}"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=(
            r"/no: no such directory; expected a model directory with config\.json and"
            r" model\.safetensors$"
        ),
    ):
        Checkpoint.open(tmp_path / "no")
    with pytest.raises(
        InputError, match=r"/model\.safetensors: cannot be read \(No such file or directory\)$"
    ):
        Checkpoint.open(write_config(tmp_path / "model"))
    with pytest.raises(InputError, match=r"tensor t9 is missing$"):
        Checkpoint.open(single(tmp_path / "other")).tensor("t9")

"""A backbone in several packages: the same numbers as in one, to the last bit, and packages that do
not fit are refused."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("coremltools", reason="the Core ML export needs coremltools")

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.coreml_package import WEIGHTS, chunks, read_package
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.export import CoreMlOptions, export_bundle
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.verify import verify
from tests.bundle.damage import manifest
from tests.tiny import tiny_config, tiny_model

MIB = 2**20


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose two layers have 1.3 MB each."""
    config = tiny_config()
    backbone = dataclasses.replace(config.backbone, hidden_size=128, mlp_size=640)
    return tiny_model(
        tmp_path_factory.mktemp("wide") / "model", dataclasses.replace(config, backbone=backbone)
    )


@pytest.fixture(scope="module")
def bundles(wide: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One package, and two."""
    folder = tmp_path_factory.mktemp("chunks")
    for name, limit in (("one", None), ("two", 2)):
        options = CoreMlOptions(chunk_mib=limit)
        export_bundle(wide, folder / name, ["backbone"], target="coreml", coreml=options)
    return folder / "one", folder / "two"


def test_two_packages_compute_what_one_does_to_the_last_bit(
    bundles: tuple[Path, Path], wide: Path
) -> None:
    one, two = (Bundle.open(path) for path in bundles)
    parts = chunks(two.component_file("backbone"))
    assert [part.name for part in parts] == ["backbone.mlpackage", "backbone.2.mlpackage"]
    assert len(chunks(one.component_file("backbone"))) == 1
    assert all((part / WEIGHTS).stat().st_size <= 2 * MIB for part in parts)
    generator, found = np.random.default_rng(0), []
    embeddings = generator.standard_normal((2, 5, 128), np.float32)
    for past in (0, 3):
        cache = generator.standard_normal((2, 2, 2, past, 32), np.float32)
        attended = np.ones((2, past + 5), np.bool_)
        positions = np.tile(np.arange(past, past + 5), (2, 1))
        for bundle in (one, two):
            inputs = {"embeddings": embeddings, "positions": positions, "attention_mask": attended}
            session = EdgeModel.from_bundle(bundle).session("backbone")
            found.append(session.run({**inputs, "past_keys": cache, "past_values": cache}))
    for whole, cut in (found[:2], found[2:]):
        assert whole.keys() == cut.keys() == {"hidden", "keys", "values"}
        assert all(np.array_equal(whole[name], cut[name]) for name in whole)
    assert verify(bundles[1], against=wide).failures == []


def test_each_package_keeps_its_own_layers(wide: Path, tmp_path: Path) -> None:
    options = CoreMlOptions(chunk_mib=2, rows=(4, 16), state=True)
    export_bundle(
        wide, tmp_path / "b", ["backbone"], target="coreml", coreml=options, verify="none"
    )
    bundle = Bundle.open(tmp_path / "b")
    states = [
        read_package(part).states[0].bounds[0] for part in chunks(bundle.component_file("backbone"))
    ]
    assert states == [(1, 1), (1, 1)]
    embeddings, positions, found = (
        np.random.default_rng(0).standard_normal((2, 9, 128), np.float32),
        np.tile(np.arange(9), (2, 1)),
        [],
    )
    for model in (EdgeModel.from_bundle(bundle), EdgeModel.from_checkpoint(wide)):
        state = model.state(2, 9)
        model.attend(embeddings, positions, state=state)
        found.append(model.attend(embeddings[:, 3:6], positions[:, 3:6], state=state))
    np.testing.assert_allclose(*found, atol=5e-3)  # the state is float16


def test_a_chunk_that_is_missing_or_left_over_is_refused(
    bundles: tuple[Path, Path], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(bundles[1], tmp_path / "copy"))
    shutil.rmtree(copy / "backbone.2.mlpackage")
    with pytest.raises(InputError, match="is missing"):
        Bundle.open(copy)
    drop = [
        name for name in Bundle.open(bundles[1]).manifest.files if name.startswith("backbone.2.")
    ]
    manifest(lambda data: [data["files"].pop(name) for name in drop])(copy)
    with pytest.raises(InputError, match="past_keys: sizes"):
        Bundle.open(copy)


def test_a_layer_over_the_limit_is_told(wide: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"chunks of 1 MiB: layer 0 of the backbone has 1\.\d MiB"):
        export_bundle(
            wide, tmp_path / "b", ["backbone"], target="coreml", coreml=CoreMlOptions(chunk_mib=1)
        )

"""A bundle written is the bundle read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nextomni_edge.bundle import Bundle, BundleWriter
from nextomni_edge.errors import InputError, UsageError
from tests.bundle.build import TOKENIZER, WEIGHT, fill, metric_tables, small_bundle, small_config


def test_what_is_written_is_read(tmp_path: Path) -> None:
    bundle = Bundle.open(small_bundle(tmp_path / "b"))
    assert bundle.config == small_config()
    assert bundle.tokenizer_path.read_bytes() == TOKENIZER
    for name, table in metric_tables(small_config()).items():
        np.testing.assert_array_equal(bundle.metric_table(name), table)
    golden, data = bundle.golden()
    assert golden.tensor("x").shape == (2, 3) and data == {"tasks": []}
    assert bundle.component_file("backbone") == tmp_path / "b" / "backbone.onnx"
    assert bundle.manifest.provenance.versions == {"torch": "2.13.0"}


def test_a_weight_shared_by_all_components_is_stored_once(tmp_path: Path) -> None:
    path = small_bundle(tmp_path / "b")
    (weight,) = (path / "weights").iterdir()
    assert weight.read_bytes() == WEIGHT.tobytes()


def test_a_weight_larger_than_any_file_may_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextomni_edge.bundle.writer.LARGEST_WEIGHT", WEIGHT.nbytes - 1)
    with pytest.raises(
        InputError, match="a tensor of more than 2,047 bytes; no file of a bundle is larger"
    ):
        small_bundle(tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_weight_in_pieces_or_big_endian_has_the_same_name(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="without finish"),
        BundleWriter(tmp_path / "b") as writer,
    ):
        whole = writer.add_weight(WEIGHT)
        assert (
            writer.add_weight([WEIGHT.tobytes()[:100], memoryview(WEIGHT.tobytes())[100:]]) == whole
        )
        assert writer.add_weight(WEIGHT.astype(">f4")) == whole
        assert [file.name for file in (writer.path / "weights").iterdir()] == [Path(whole).name]
    assert list(tmp_path.iterdir()) == []


def test_two_writes_of_one_model_are_the_same_bytes(tmp_path: Path) -> None:
    one, two = small_bundle(tmp_path / "one"), small_bundle(tmp_path / "two")
    assert (one / "manifest.json").read_bytes() == (two / "manifest.json").read_bytes()


def test_an_error_in_the_block_keeps_nothing_and_the_old_bundle(tmp_path: Path) -> None:
    old = small_bundle(tmp_path / "b")
    before = (old / "manifest.json").read_bytes()
    with pytest.raises(KeyError), BundleWriter(old, overwrite=True) as writer:
        fill(writer, small_config(), WEIGHT + 1)
        raise KeyError("stop")
    assert (old / "manifest.json").read_bytes() == before and [*tmp_path.iterdir()] == [old]


def test_overwriting_is_asked_for(tmp_path: Path) -> None:
    old = small_bundle(tmp_path / "b")
    with pytest.raises(UsageError, match=r"exists; choose another name or pass --overwrite$"):
        small_bundle(old)
    small_bundle(old, overwrite=True, weight=WEIGHT + 1)
    (weight,) = (Bundle.open(old).path / "weights").iterdir()
    assert weight.read_bytes() == (WEIGHT + 1).tobytes() and [*tmp_path.iterdir()] == [old]


def test_only_a_bundle_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.png").write_bytes(b"x")
    with pytest.raises(
        UsageError, match=r"is no bundle \(it has no manifest\.json\); it is not overwritten"
    ):
        BundleWriter(tmp_path / "photos", overwrite=True)
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(UsageError, match="is no directory; it is not overwritten"):
        BundleWriter(tmp_path / "file", overwrite=True)
    assert (tmp_path / "photos" / "one.png").exists()


def test_two_writers_of_one_bundle_do_not_mix(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as writer:
        with (
            pytest.raises(UsageError, match="is being written by another process"),
            BundleWriter(tmp_path / "b"),
        ):
            pass
        fill(writer, small_config())
    Bundle.open(tmp_path / "b")


def test_what_a_reader_would_refuse_is_not_published(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"file 'stray\.bin' is used by nothing$"),
        BundleWriter(tmp_path / "b") as writer,
    ):
        writer.add_file("stray.bin", b"x")
        fill(writer, small_config())
    assert list(tmp_path.iterdir()) == []


def test_a_component_left_out_is_named_when_asked_for(tmp_path: Path) -> None:
    path = small_bundle(tmp_path / "b")
    bundle = Bundle.open(path)
    del bundle.manifest.components["audio_decoder"]
    with pytest.raises(
        InputError, match="no component 'audio_decoder' in this bundle, found embed_text, "
    ):
        bundle.component_file("audio_decoder")


def test_without_hashes_a_changed_byte_is_not_looked_for(tmp_path: Path) -> None:
    path = small_bundle(tmp_path / "b")
    (weight,) = (path / "weights").iterdir()
    weight.write_bytes(bytes([1, *weight.read_bytes()[1:]]))
    Bundle.open(path, verify_hashes=False)
    with pytest.raises(InputError, match="has sha256"):
        Bundle.open(path)

"""The runtime that `run`, `chat`, `bench`, `verify` and `doctor` take where nobody names one: the
format's default, or what was measured here."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import InputError
from nextomni_edge.files import user_cache
from nextomni_edge.runtimes import choice
from nextomni_edge.runtimes.base import Execution
from nextomni_edge.runtimes.machine import Machine
from tests.bundle.damage import manifest
from tests.verify import tamper

Variant = Callable[[str], Path]
SECONDS = {"onnx": {"text-to-image": 2.0}, "openvino": {"text-to-image": 1.0}}


def chosen(path: Path, execution: Execution | None = None) -> str | None:
    return choice.choose(Bundle.open(path, verify_hashes=False), execution).execution.runtime


@pytest.mark.parametrize("name", ["int4", "int8"])
def test_without_a_measurement_every_bundle_stays_with_its_formats_default(
    variant: Variant, tiny_bundle: Path, name: str
) -> None:
    assert chosen(variant(name)) is None
    assert chosen(tiny_bundle) is None


def test_a_kept_measurement_decides_and_gives_its_reason(tiny_bundle: Path) -> None:
    choice.keep(tiny_bundle, "openvino", 2.0, SECONDS)
    found = choice.choose(Bundle.open(tiny_bundle, verify_hashes=False))
    assert found.execution == Execution("openvino")
    assert found.reason == "measured 2.00 times as fast as onnx here"


def test_a_measurement_that_the_default_won_changes_nothing(tiny_bundle: Path) -> None:
    choice.keep(tiny_bundle, "openvino", 2.0, SECONDS)
    choice.keep(tiny_bundle, "onnx", 1.0, SECONDS)
    assert choice.choose(Bundle.open(tiny_bundle, verify_hashes=False)) == choice.Choice(
        Execution()
    )


def test_what_was_asked_for_is_kept(tiny_bundle: Path) -> None:
    choice.keep(tiny_bundle, "openvino", 2.0, SECONDS)
    bundle = Bundle.open(tiny_bundle, verify_hashes=False)
    for asked in (
        Execution("onnx"),
        Execution(provider="CPUExecutionProvider"),
        Execution(compute="float16"),
        Execution(allow_fallback=True),
    ):
        assert choice.choose(bundle, asked) == choice.Choice(asked)


def test_a_measurement_is_of_one_bundle(tiny_bundle: Path, tmp_path: Path) -> None:
    choice.keep(tiny_bundle, "openvino", 2.0, SECONDS)
    other = tamper.copy(tiny_bundle, tmp_path / "bundle")
    assert chosen(other) == "openvino"  # the same bundle at another place
    manifest(lambda data: data["provenance"]["versions"].update(numpy="0"))(other)
    assert chosen(other) is None


def test_another_machine_thread_count_or_library_has_no_measurement(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice.keep(tiny_bundle, "openvino", 2.0, SECONDS)
    here = Machine.here()
    for change in ({"processor": "another"}, {"threads": here.threads + 1}):
        with monkeypatch.context() as patched:
            other = dataclasses.replace(here, **change)  # type: ignore[arg-type]
            patched.setattr(Machine, "here", classmethod(lambda cls, other=other: other))
            assert chosen(tiny_bundle) is None
    with monkeypatch.context() as patched:
        patched.setattr(metadata, "version", lambda name: "0.0.1")
        assert chosen(tiny_bundle) is None
    assert chosen(tiny_bundle) == "openvino"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"format": "nextomni-edge-choice", "version": 2}',
        b'{"format": "nextomni-edge-choice", "version": 1, "runtime": "openvino"}',
    ],
)
def test_a_measurement_that_cannot_be_read_counts_as_none(
    tiny_bundle: Path, content: bytes
) -> None:
    file = choice.keep(tiny_bundle, "openvino", 2.0, SECONDS)
    file.write_bytes(content)
    with pytest.raises(InputError):
        choice.kept(tiny_bundle)
    assert chosen(tiny_bundle) is None


def test_a_runtime_that_reads_no_such_bundle_is_not_taken(tiny_bundle: Path) -> None:
    file = choice.keep(tiny_bundle, "openvino", 2.0, SECONDS)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"runtime": "coreml"}))
    assert chosen(tiny_bundle) is None


def test_without_a_home_folder_the_default_runs(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice.keep(tiny_bundle, "openvino", 2.0, SECONDS)

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert chosen(tiny_bundle) is None


def test_choosing_writes_nothing(tiny_bundle: Path) -> None:
    assert chosen(tiny_bundle) is None and not user_cache().exists()

"""The runtime that `run` and `chat` choose: by how the backbone is stored, what is installed, and
what was asked for."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.runtimes import choice
from nextomni_edge.runtimes.base import Execution

Variant = Callable[[str], Path]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(choice.importlib.util, "find_spec", lambda name: object())


def chosen(path: Path, execution: Execution | None = None) -> str | None:
    return choice.with_fastest(
        Bundle.open(path, verify_hashes=False), execution or Execution()
    ).runtime


@pytest.mark.parametrize(
    ("name", "runtime"), [("int4", "openvino"), ("int4-asymmetric", "openvino"), ("int8", None)]
)
def test_blocks_of_4_bits_choose_openvino(
    installed: None, variant: Variant, name: str, runtime: str | None
) -> None:
    assert chosen(variant(name)) == runtime


def test_full_precision_stays_with_its_formats_own(installed: None, tiny_bundle: Path) -> None:
    assert chosen(tiny_bundle) is None


def test_what_was_asked_for_is_kept(installed: None, variant: Variant) -> None:
    for asked in (
        Execution("onnx"),
        Execution(provider="CPUExecutionProvider"),
        Execution(compute="float16"),
    ):
        assert (
            choice.with_fastest(Bundle.open(variant("int4"), verify_hashes=False), asked) == asked
        )


def test_a_library_that_is_not_here_and_an_unmeasured_processor_choose_nothing(
    installed: None, variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = variant("int4")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert chosen(path) is None
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(choice.importlib.util, "find_spec", lambda name: None)
    assert chosen(path) is None

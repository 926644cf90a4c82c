"""The text of published masked models through llama.cpp: a GGUF backbone among ONNX graphs repeats
every recorded run of text."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("llama_cpp", reason="llama.cpp is compiled by `make test-slow` alone")
pytest.importorskip("gguf", reason="the GGUF file is written by gguf")

from nextomni_edge.bundle import Bundle
from nextomni_edge.export.bundle import export_bundle
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.spec import ComponentName
from tests.published.models import MakeOnce, imported
from tests.published.runs import all_runs

FAMILIES = ("llada", "dream", "mmada", "lumina_dimoo")
TEXT: tuple[ComponentName, ...] = ("embed_text", "backbone", "text_head")
RUNS = [
    name
    for name, run in all_runs().items()
    if all(segment.modality == "text" for segment in run.sequence.segments)
]


@pytest.fixture(scope="module")
def bundles(made_once: MakeOnce) -> Callable[[str], Bundle]:
    @functools.cache
    def bundle(family: str) -> Bundle:
        path = made_once(
            f"published-gguf-{family}",
            lambda out: export_bundle(imported(family), out, TEXT, target="gguf", verify="full"),
        )
        return Bundle.open(path)

    return bundle


@functools.cache
def opened(path: Path) -> EdgeModel:
    return EdgeModel.from_bundle(Bundle.open(path))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_backbone_in_a_gguf_file_is_verified(
    family: str, bundles: Callable[[str], Bundle]
) -> None:
    manifest = bundles(family).manifest
    assert manifest.components["backbone"].format == "gguf"
    assert manifest.parity["check"] == "full" and manifest.parity["failures"] == []


@pytest.mark.parametrize("name", RUNS)
def test_a_recorded_run_of_text_repeats_through_llama_cpp(
    name: str, bundles: Callable[[str], Bundle]
) -> None:
    run = all_runs()[name]
    run.check(opened(bundles(run.family).path))

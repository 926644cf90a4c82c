"""Engines built ahead of time by TensorRT for RTX, without a GPU: built, not executed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.graphs import graph_specs
from nextomni_edge.runtimes.base import Compute
from nextomni_edge.runtimes.tensorrt.build import Asked, build, check_capability
from nextomni_edge.runtimes.tensorrt.engine import read_engine
from nextomni_edge.runtimes.tensorrt.engines import compile_bundle
from nextomni_edge.runtimes.tensorrt.profile import Limits, profile
from nextomni_edge.runtimes.tensorrt.qdq import qdq_form

pytest.importorskip("tensorrt_rtx", reason="engines are built by tensorrt-rtx (extra: tensorrt)")

SMALL = Limits(batch=2, rows=8)


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Iterator[Bundle]:
    yield Bundle.open(tiny_bundle)


def asked(folder: Path, capability: str = "sm89", compute: Compute = "float32") -> Asked:
    return Asked(capability, compute, SMALL, folder)


@pytest.mark.parametrize("capability", ["sm86", "sm89", "sm120"])
def test_an_engine_is_built_for_a_gpu_that_is_not_here(
    bundle: Bundle, tmp_path: Path, capability: str
) -> None:
    spec = graph_specs(bundle.config)["text_head"]
    description, plan = build(
        "text_head", bundle.component_file("text_head"), spec, asked(tmp_path, capability)
    )
    assert plan.nbytes > 1000 and description.identity.capability == capability
    assert description.ranges == profile(spec, SMALL) and description.outputs_by_dtype.keys() == {
        "Float"
    }


@pytest.mark.parametrize(("compute", "dtype"), [("float16", "Half"), ("bfloat16", "BFloat16")])
def test_products_are_computed_in_what_was_asked_for(
    bundle: Bundle, tmp_path: Path, compute: Compute, dtype: str
) -> None:
    spec = graph_specs(bundle.config)["backbone"]
    whole, _ = build("backbone", bundle.component_file("backbone"), spec, asked(tmp_path))
    found, _ = build(
        "backbone", bundle.component_file("backbone"), spec, asked(tmp_path, compute=compute)
    )
    assert found.outputs_by_dtype[dtype] > 0 and dtype not in whole.outputs_by_dtype
    assert (
        whole.weight_bytes and found.weight_bytes and found.weight_bytes < 0.7 * whole.weight_bytes
    )


def test_the_encoders_search_is_one_that_the_library_can_build(
    bundle: Bundle, tmp_path: Path
) -> None:
    spec = graph_specs(bundle.config)["audio_encoder"]
    description, _ = build(
        "audio_encoder", bundle.component_file("audio_encoder"), spec, asked(tmp_path)
    )
    assert description.outputs_by_dtype["Int64"] >= 1


def test_a_folder_of_engines_is_filled_once(bundle: Bundle, tmp_path: Path) -> None:
    folder, heads = tmp_path / "engines", ["text_head", "image_head"]
    first = compile_bundle(
        bundle, asked(folder), heads, bundle.component_file, lambda task, share: None
    )
    second = compile_bundle(
        bundle, asked(folder), heads, bundle.component_file, lambda task, share: None
    )
    assert [engine.built for engine in (*first.values(), *second.values())] == [
        True,
        True,
        False,
        False,
    ]
    file = first["text_head"].file
    assert read_engine(file)[0].component == "text_head" and "-sm89-float32.engine" in file.name
    file.write_bytes(file.read_bytes()[:-1])
    assert compile_bundle(
        bundle, asked(folder), heads, bundle.component_file, lambda task, share: None
    )["text_head"].built


def test_what_the_library_does_not_build_for_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError,
        match=r"builds for sm75, .*, not for sm87; only JetPack's TensorRT supports sm87 \(Orin\)",
    ):
        check_capability(asked(tmp_path, "sm87"), None)
    with pytest.raises(UsageError, match="sm75 has no bfloat16"):
        check_capability(asked(tmp_path, "sm75", "bfloat16"), None)
    with pytest.raises(InputError, match="expected sm and a number"):
        check_capability(asked(tmp_path, "ada"), None)
    with pytest.raises(UsageError, match="component 'tail': expected one of"):
        compile_bundle(
            bundle, asked(tmp_path), ["tail"], bundle.component_file, lambda task, share: None
        )


@pytest.mark.parametrize("capability", ["sm89", "sm120"])
def test_fp8_products_are_built_where_a_gpu_has_them(
    fp8_bundle: Path, tmp_path: Path, capability: str
) -> None:
    quantised, heads = Bundle.open(fp8_bundle), ["backbone", "text_head"]

    def form(component: str) -> Path:
        return qdq_form(quantised, component, tmp_path)

    engines = compile_bundle(
        quantised, asked(tmp_path / "engines", capability), heads, form, lambda task, share: None
    )
    backbone, head = (engines[name].description for name in heads)
    assert backbone.products_by_dtype["FP8"] >= 8 and head.products_by_dtype == {"FP8": 1}
    # two of attention in each layer
    assert backbone.products_by_dtype["Float"] == 4 and "Half" not in backbone.outputs_by_dtype


def test_fp8_is_refused_where_a_gpu_has_none(fp8_bundle: Path, tmp_path: Path) -> None:
    quantised = Bundle.open(fp8_bundle)
    sentence = (
        r"^sm86 has no FP8 \(sm89 is the first that has\); it has INT8 and weights of INT4:"
        r" quantise with --config of"
    )
    with pytest.raises(UsageError, match=sentence):
        compile_bundle(
            quantised,
            asked(tmp_path, "sm86"),
            None,
            quantised.component_file,
            lambda task, share: None,
        )
    left = ["image_decoder"]  # by the recipe, as it is
    assert compile_bundle(
        quantised, asked(tmp_path, "sm86"), left, quantised.component_file, lambda task, share: None
    )


def test_a_graph_that_cannot_be_read_is_told_with_the_librarys_reason(
    bundle: Bundle, tmp_path: Path
) -> None:
    broken = tmp_path / "text_head.onnx"
    shutil.copy(bundle.component_file("text_head"), broken)  # its weights are not there
    with pytest.raises(InputError, match=r"^text_head: TensorRT cannot read text_head.onnx \("):
        build(
            "text_head",
            bundle.component_file("text_head"),
            graph_specs(bundle.config)["text_head"],
            asked(tmp_path),
            broken,
        )

"""Core ML packages: what the converter would do wrong in silence, and that the program is the
model."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

coremltools = pytest.importorskip("coremltools", reason="the Core ML export needs coremltools")

from nextomni_edge.bundle import Bundle  # noqa: E402
from nextomni_edge.bundle.coreml_package import read_package  # noqa: E402
from nextomni_edge.errors import NextOmniError  # noqa: E402
from nextomni_edge.export import CoreMlOptions, coreml, export_bundle  # noqa: E402
from nextomni_edge.export.coreml_metadata import AUTHOR, LICENCE, WIRES  # noqa: E402
from nextomni_edge.export.coreml_metadata import COMPONENTS as DESCRIBED  # noqa: E402
from nextomni_edge.graphs import graph_specs  # noqa: E402
from nextomni_edge.models.components import components  # noqa: E402
from nextomni_edge.models.networks import load  # noqa: E402
from nextomni_edge.tasks import PLANS  # noqa: E402
from tests.tiny import COMPONENTS, causal_config, tiny_config, tiny_model  # noqa: E402


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e-3, 1.0, 1e4])
def test_rms_norm_is_torch_s_at_any_scale(scale: float) -> None:
    x, weight = torch.randn(2, 3, 16) * scale, torch.randn(16)
    torch.testing.assert_close(
        coreml.rms_norm(x, (16,), weight, 1e-6),
        F.rms_norm(x, (16,), weight, 1e-6),
        rtol=1e-5,
        atol=1e-7,
    )


@pytest.mark.parametrize("shape", [(1, 64, 1, 1), (3, 64, 5, 7), (2, 96, 16, 16)])
def test_group_norm_is_torch_s_at_any_shape(shape: tuple[int, ...]) -> None:
    x, weight, bias = 3 * torch.randn(shape) + 1, torch.randn(shape[1]), torch.randn(shape[1])
    torch.testing.assert_close(
        coreml.group_norm(x, 32, weight, bias, 1e-6),
        F.group_norm(x, 32, weight, bias, 1e-6),
        rtol=1e-5,
        atol=2e-6,
    )


def test_rms_norm_holds_in_float16_where_squares_would_overflow() -> None:
    x, weight = torch.randn(2, 16) * 3000.0, torch.ones(16)
    found = coreml.rms_norm(x.half(), (16,), weight.half(), 1e-6)
    torch.testing.assert_close(
        found.float(), F.rms_norm(x, (16,), weight, 1e-6), rtol=1e-2, atol=1e-2
    )


def test_grouped_attention_is_spelled_out_as_it_is_meant() -> None:
    query, key, value = torch.randn(2, 6, 3, 8), torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    expected = F.scaled_dot_product_attention(query, key, value, enable_gqa=True)
    with coreml.SpelledOut():
        found = F.scaled_dot_product_attention(query, key, value, enable_gqa=True)
    torch.testing.assert_close(found, expected)


def test_what_the_converter_computes_otherwise_never_reaches_it(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = components(load(tiny_checkpoint))["backbone"]
    monkeypatch.setattr(coreml, "SpelledOut", contextlib.nullcontext)
    with pytest.raises(
        NextOmniError, match=r"^backbone: .* reached the converter, which computes it otherwise$"
    ):
        coreml._program(backbone)


def test_every_component_and_every_task_is_pytorch_s(tiny_coreml_bundle: Path) -> None:
    manifest = Bundle.open(tiny_coreml_bundle).manifest
    assert {record.format for record in manifest.components.values()} == {"coreml"}
    parity = manifest.parity
    assert (
        parity["check"] == "full"
        and parity["against"] == "PyTorch"
        and parity["runtime"] == "coreml"
    )
    found_components, tasks = parity["components"], parity["tasks"]
    assert isinstance(found_components, dict) and isinstance(tasks, dict)
    assert found_components.keys() == set(COMPONENTS) and tasks.keys() == {
        plan.name for plan in PLANS
    }
    assert parity["failures"] == [] and all(task["draws"] > 0 for task in tasks.values())


def test_coremltools_reads_a_package_and_leaves_its_bundle_as_it_was(
    tiny_coreml_bundle: Path, tmp_path: Path
) -> None:
    """coremltools writes a package's Manifest.json again when it opens it."""
    copy = Path(shutil.copytree(tiny_coreml_bundle, tmp_path / "copy"))
    index = copy / "text_head.mlpackage" / "Manifest.json"
    before = index.read_bytes()
    model = coremltools.models.MLModel(str(copy / "text_head.mlpackage"), skip_model_load=True)
    assert index.read_bytes() == before
    Bundle.open(copy)
    found = model.get_spec().description
    assert found.metadata.shortDescription == DESCRIBED["text_head"]
    assert found.metadata.author == AUTHOR and found.metadata.license == LICENCE
    assert dict(found.metadata.userDefined) == {"component": "text_head", "precision": "float32"}
    assert found.input[0].shortDescription == "Hidden states of the rows; (batch, rows, 48)"


def test_a_package_says_whose_model_it_is(tiny_checkpoint: Path, tmp_path: Path) -> None:
    options = CoreMlOptions(author="A. Person", licence="apache-2.0")
    export_bundle(
        tiny_checkpoint, tmp_path / "b", ["text_head"], target="coreml", coreml=options,
        verify="none",
    )  # fmt: skip
    path = str(tmp_path / "b" / "text_head.mlpackage")
    found = coremltools.models.MLModel(path, skip_model_load=True).get_spec().description.metadata
    assert (found.author, found.license) == ("A. Person", "apache-2.0")


def test_every_component_and_every_tensor_of_a_package_is_described() -> None:
    for spec in graph_specs(tiny_config()).values():
        assert spec.name in DESCRIBED
        assert {tensor.name for tensor in (*spec.inputs, *spec.outputs)} <= WIRES.keys()


def test_an_autoregressive_model_becomes_packages(tmp_path: Path) -> None:
    """Its causal mask is made of comparisons and a product that the converter knows."""
    model = tiny_model(tmp_path / "causal", causal_config())
    parts = ["embed_text", "backbone", "text_head"]
    export_bundle(model, tmp_path / "b", parts, target="coreml")
    parity = Bundle.open(tmp_path / "b").manifest.parity
    assert parity["failures"] == [] and parity["against"] == "PyTorch"


def test_a_package_takes_the_sizes_of_the_spec_but_never_none(tiny_coreml_bundle: Path) -> None:
    program = read_package(Bundle.open(tiny_coreml_bundle).component_file("backbone"))
    bounds = {feature.name: feature.bounds for feature in program.inputs}
    assert bounds["embeddings"] == ((1, 64), (1, 512), (48, 48))
    assert bounds["past_keys"] == ((2, 2), (1, 64), (2, 2), (1, 512), (12, 12))


def test_the_same_checkpoint_gives_the_same_bytes(tiny_checkpoint: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        export_bundle(
            tiny_checkpoint,
            tmp_path / name,
            components=["text_head"],
            target="coreml",
            verify="none",
        )
    files = [Bundle.open(tmp_path / name).manifest.files for name in ("one", "two")]
    assert files[0] == files[1]


def test_float16_is_computed_and_compared_as_such(tiny_checkpoint: Path, tmp_path: Path) -> None:
    export_bundle(
        tiny_checkpoint,
        tmp_path / "b",
        components=["text_head", "image_head"],
        target="coreml",
        precision="float16",
    )
    manifest = Bundle.open(tmp_path / "b").manifest
    assert {record.arithmetic for record in manifest.components.values()} == {"float16"}
    parity = manifest.parity["components"]
    assert isinstance(parity, dict)
    for result in parity.values():
        assert (
            result["arithmetic"] == "float16" and 1e-5 < result["error"] < result["limit"] == 1e-2
        )


def test_an_interface_other_than_the_spec_s_is_an_error(tiny_checkpoint: Path) -> None:
    head = components(load(tiny_checkpoint))["text_head"]
    (hidden,) = head.spec.inputs
    renamed = dataclasses.replace(head.spec, inputs=(dataclasses.replace(hidden, name="states"),))
    model = coremltools.proto.Model_pb2.Model()
    model.description.input.add(name="hidden")
    model.description.output.add(name="logits")
    with pytest.raises(NextOmniError, match="the converter gave inputs and outputs"):
        coreml._describe(model, renamed, {})

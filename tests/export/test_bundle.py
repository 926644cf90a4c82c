"""The whole export: what it refuses, what it writes, and that one graph serves sizes that it was
not traced with."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import InputError, NextOmniError, UsageError
from nextomni_edge.export import export_bundle
from nextomni_edge.export.onnx import trace
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.graphs import graph_specs
from nextomni_edge.models import native
from nextomni_edge.models.components import Component
from nextomni_edge.spec import GraphSpec, TensorSpec
from nextomni_edge.verify import verify
from tests.tiny import tiny_config, tiny_model

TEXT = ("embed_text", "text_head")  # the two that trace fastest


def test_an_unknown_component_is_refused_with_the_nearest_name(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="component 'texthead': did you mean 'text_head'"):
        export_bundle(tiny_checkpoint, tmp_path / "bundle", components=["texthead"])


def test_a_dry_run_counts_and_writes_nothing(tiny_checkpoint: Path, tmp_path: Path) -> None:
    report = export_bundle(tiny_checkpoint, tmp_path / "bundle", dry_run=True)
    model = native.load(tiny_checkpoint)
    assert report.parameters["backbone"] == sum(
        tensor.numel() for tensor in model.backbone.parameters()
    )
    stored = sum(
        t.numel()
        for name, t in native.state_names(model).items()
        if not name.startswith("metric_tables.")
    )
    assert report.total_weight_bytes == 4 * stored
    assert report.parity is None
    assert list(tmp_path.iterdir()) == []


def damaged(source: Path, out: Path, name: str, tensor: torch.Tensor | None) -> Path:
    """A copy of a model directory with one tensor replaced, added or (None) taken out."""
    shutil.copytree(source, out)
    tensors = {**load_file(out / "model.safetensors"), name: tensor}
    save_file(
        {key: value for key, value in tensors.items() if value is not None},
        out / "model.safetensors",
    )
    return out


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("backbone.norm.weight", None, "tensor backbone.norm.weight is missing"),
        ("backbone.norm.bias", torch.zeros(48), "tensor backbone.norm.bias is unknown"),
        (
            "backbone.norm.weight",
            torch.zeros(47),
            r"tensor backbone.norm.weight has shape \(47,\), expected \(48,\)",
        ),
    ],
)
def test_a_checkpoint_that_is_not_the_configs_is_refused_before_anything_is_written(
    name: str, tensor: torch.Tensor | None, message: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    model = damaged(tiny_checkpoint, tmp_path / "model", name, tensor)
    with pytest.raises(InputError, match=message):
        export_bundle(model, tmp_path / "bundle", components=TEXT)
    assert not (tmp_path / "bundle").exists()


def test_an_existing_bundle_stays_unless_it_is_to_be_replaced(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "bundle").mkdir()
    with pytest.raises(UsageError, match="exists; choose another name or pass --overwrite"):
        export_bundle(tiny_checkpoint, tmp_path / "bundle", components=TEXT)


def test_graphs_name_no_file_of_the_exporting_machine(tiny_bundle: Path) -> None:
    for name in Bundle.open(tiny_bundle).manifest.components:
        content = (tiny_bundle / f"{name}.onnx").read_bytes()
        assert not re.search(rb"\.py|/usr|/home|/root|/tmp", content), name


def test_a_shared_codebook_is_stored_once(tiny_bundle: Path) -> None:
    wanted = {"embed_image", "image_encoder", "image_decoder"}
    found: dict[str, set[str]] = {}
    for name in wanted:
        for tensor in onnx.load(
            tiny_bundle / f"{name}.onnx", load_external_data=False
        ).graph.initializer:
            if tensor.name == "codebook.entries":
                found[name] = {
                    tensor.raw_data.hex() + "".join(entry.value for entry in tensor.external_data)
                }
    if len(found) == len(wanted):
        assert len(set.union(*found.values())) == 1
    checkpoint = native.load(tiny_bundle.with_name("model"))
    stored = sum(file.stat().st_size for file in (tiny_bundle / "weights").iterdir())
    assert stored <= 4 * sum(tensor.numel() for tensor in native.state(checkpoint).values()) * 1.5


def test_a_tied_head_shares_the_text_table(tmp_path: Path) -> None:
    config = tiny_config()
    tied = dataclasses.replace(config, text=dataclasses.replace(config.text, tied_head=True))
    model = tiny_model(tmp_path / "model", tied)
    report = export_bundle(model, tmp_path / "bundle", components=TEXT)
    (weight,) = (tmp_path / "bundle" / "weights").iterdir()
    assert weight.stat().st_size == report.total_weight_bytes == report.weight_bytes["embed_text"]
    assert report.weight_bytes["text_head"] == report.weight_bytes["embed_text"]


def test_float16_halves_the_weights_and_computes_what_pytorch_does_with_them(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    report = export_bundle(
        tiny_checkpoint, tmp_path / "bundle", components=TEXT, precision="float16"
    )
    stored = sum(file.stat().st_size for file in (tmp_path / "bundle" / "weights").iterdir())
    assert stored == report.total_weight_bytes
    assert (
        2 * stored
        == export_bundle(
            tiny_checkpoint, tmp_path / "x", components=TEXT, dry_run=True
        ).total_weight_bytes
    )
    assert set(report.rounded) == {"embed_text.weight", "text_head.weight"}
    assert report.parity is not None and report.parity["failures"] == []
    verify(tmp_path / "bundle", against=tiny_checkpoint)
    bundle = Bundle.open(tmp_path / "bundle")
    hidden = np.ones((1, 2, bundle.config.backbone.hidden_size), np.float32)
    logits = EdgeModel.from_bundle(bundle).session("text_head").run({"hidden": hidden})["logits"]
    assert logits.dtype == np.float32


def test_what_a_bundle_lacks_components_for_is_listed_as_skipped(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    report = export_bundle(tiny_checkpoint, tmp_path / "bundle", components=TEXT)
    assert report.parity is not None
    skipped = report.parity["skipped"]
    assert isinstance(skipped, dict) and len(skipped) == 9
    assert "backbone" in skipped["image-to-text"]


def test_an_unchecked_export_says_so_and_has_no_trace(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    export_bundle(tiny_checkpoint, tmp_path / "bundle", components=TEXT, verify="none")
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["parity"] == {"check": "none"} and manifest["golden"] is None
    with pytest.raises(InputError, match="no golden trace"):
        verify(tmp_path / "bundle")


def test_a_trace_recorded_without_pytorch_replays_and_is_marked(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    report = export_bundle(tiny_checkpoint, tmp_path / "bundle", components=TEXT, verify="golden")
    assert report.parity is not None
    assert (
        report.parity["check"] == "golden"
        and report.parity["against"] == "nothing (recorded, not compared)"
    )
    assert verify(tmp_path / "bundle").failures == []


def test_the_same_checkpoint_gives_the_same_bytes_on_any_number_of_threads(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            export_bundle(tiny_checkpoint, tmp_path / str(threads), components=TEXT)
            assert torch.get_num_threads() == threads  # the caller's own number is put back
            found.append(Bundle.open(tmp_path / str(threads)).manifest.files)
    finally:
        torch.set_num_threads(before)
    assert all(files == found[0] for files in found)


@pytest.mark.parametrize(("batch", "rows", "past"), [*itertools.product((1, 4), (1, 9), (0, 11))])
def test_one_backbone_graph_serves_every_size(
    batch: int, rows: int, past: int, tiny_bundle: Path, tiny_checkpoint: Path
) -> None:
    bundle, model = Bundle.open(tiny_bundle), native.load(tiny_checkpoint)
    spec, generator = graph_specs(bundle.config)["backbone"], np.random.default_rng(0)
    sizes = {"batch": batch, "rows": rows, "past": past, "attended": past + rows}
    inputs = {
        t.name: generator.standard_normal(t.shape(sizes)).astype(np.float32) for t in spec.inputs
    }
    inputs["positions"] = np.broadcast_to(np.arange(past, past + rows), (batch, rows)).astype(
        np.int64
    )
    inputs["attention_mask"] = np.ones((batch, past + rows), np.bool_)
    found = EdgeModel.from_bundle(bundle).session("backbone").run(inputs)
    with torch.inference_mode():
        expected = model.backbone(*(torch.tensor(inputs[t.name]) for t in spec.inputs))
    for tensor, value in zip(spec.outputs, expected, strict=True):
        np.testing.assert_allclose(found[tensor.name], value.numpy(), rtol=0, atol=1e-5)


def test_cached_keys_and_values_give_what_the_whole_sequence_gives(tiny_bundle: Path) -> None:
    """Rows 5 to 8 over the keys and values of rows 0 to 4, which had seen all rows, as the cache of
    the sampler has it."""
    model = EdgeModel.from_bundle(Bundle.open(tiny_bundle))
    embeddings = np.random.default_rng(0).standard_normal((1, 9, 48)).astype(np.float32)
    empty = np.zeros((2, 1, 2, 0, 12), np.float32)
    positions, mask = np.arange(9)[None], np.ones((1, 9), np.bool_)
    names = ("embeddings", "positions", "attention_mask", "past_keys", "past_values")
    backbone = model.session("backbone")
    whole = backbone.run(dict(zip(names, (embeddings, positions, mask, empty, empty), strict=True)))
    past = (whole["keys"][:, :, :, :5], whole["values"][:, :, :, :5])
    part = backbone.run(
        dict(zip(names, (embeddings[:, 5:], positions[:, 5:], mask, *past), strict=True))
    )
    np.testing.assert_allclose(part["hidden"], whole["hidden"][:, 5:], rtol=0, atol=1e-5)


class LosesItsConstant(torch.nn.Module):
    """A constant made by torch.tensor has no value on the meta device."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden * torch.tensor([1.0, 2.0], device=hidden.device)


def test_a_constant_that_the_meta_device_lost_is_an_error_not_a_zero() -> None:
    hidden = TensorSpec("hidden", "float32", (2,))
    spec = GraphSpec("text_head", (hidden,), (dataclasses.replace(hidden, name="logits"),))
    component = Component("text_head", LosesItsConstant(), spec, {})
    with pytest.raises(
        NextOmniError, match=r"text_head: constant .* has no value on the meta device"
    ):
        trace(component)

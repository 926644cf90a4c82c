"""GGUF bundles: the same model as PyTorch, token for token; in blocks, the file's own numbers."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

gguf = pytest.importorskip(
    "gguf", reason="a GGUF backbone is written by gguf, which `make test-slow` installs"
)
pytest.importorskip("llama_cpp", reason="llama.cpp is compiled by `make test-slow` alone")

from nextomni_edge.bundle import Bundle  # noqa: E402
from nextomni_edge.calibration import quantize  # noqa: E402
from nextomni_edge.calibration.recipes.config import recipe  # noqa: E402
from nextomni_edge.config import BackboneConfig  # noqa: E402
from nextomni_edge.errors import GateError, InputError, UsageError  # noqa: E402
from nextomni_edge.export import export_bundle  # noqa: E402
from nextomni_edge.formats.gguf import read_gguf  # noqa: E402
from nextomni_edge.tasks import PLANS  # noqa: E402
from nextomni_edge.verify import VerificationError, replay, verify  # noqa: E402
from tests.bundle.damage import record  # noqa: E402
from tests.calls import Invoke  # noqa: E402
from tests.tiny import COMPONENTS, tiny_config, tiny_model  # noqa: E402


def test_every_component_and_every_task_is_pytorch_s(tiny_gguf_bundle: Path) -> None:
    manifest = Bundle.open(tiny_gguf_bundle).manifest
    assert {name for name, part in manifest.components.items() if part.format == "gguf"} == {
        "backbone"
    }
    parity = manifest.parity
    assert (
        parity["check"] == "full"
        and parity["against"] == "PyTorch"
        and parity["runtime"] == "llamacpp, onnx"
    )
    components, tasks = parity["components"], parity["tasks"]
    assert isinstance(components, dict) and isinstance(tasks, dict)
    assert components.keys() == set(COMPONENTS) and tasks.keys() == {plan.name for plan in PLANS}
    assert parity["failures"] == [] and all(task["draws"] > 0 for task in tasks.values())
    assert components["backbone"]["error"] < 1e-5


def test_the_golden_trace_is_replayed(tiny_gguf_bundle: Path) -> None:
    report = replay(Bundle.open(tiny_gguf_bundle)).require()
    assert report.runtime == "llamacpp, onnx" and report.near_ties == 0


def test_the_gguf_library_reads_what_we_write(tiny_gguf_bundle: Path) -> None:
    file = tiny_gguf_bundle / "backbone.gguf"
    reader, ours = gguf.GGUFReader(file), read_gguf(file).tensors
    assert {tensor.name: (tensor.data_offset, tensor.n_bytes) for tensor in reader.tensors} == {
        name: (tensor.offset, tensor.nbytes) for name, tensor in ours.items()
    }


def test_a_changed_weight_is_found(
    tiny_gguf_bundle: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(tiny_gguf_bundle, tmp_path / "bundle"))
    tensor = read_gguf(path / "backbone.gguf").tensors["blk.1.ffn_down.weight"]
    values = np.memmap(path / "backbone.gguf", "<f4", "r+", tensor.offset, tensor.shape)
    values[:8] += 1.0
    values.flush()
    record(path, "backbone.gguf")
    with pytest.raises(VerificationError, match="backbone: hidden differs by"):
        verify(path, tiny_checkpoint)


def wide_model(out: Path) -> Path:
    """Rows of whole blocks, as llama.cpp's formats want them."""
    backbone = BackboneConfig(
        64, layers=2, query_heads=4, kv_heads=2, mlp_size=128, qkv_bias=False, max_positions=512
    )
    return tiny_model(out, dataclasses.replace(tiny_config(), backbone=backbone))


@pytest.mark.parametrize(
    ("precision", "arithmetic"), [("float16", "float16"), ("q8_0", "int8"), ("q4_0", "int8")]
)
def test_less_than_float32_is_held_against_the_file_s_own_numbers(
    tmp_path: Path, precision: str, arithmetic: str
) -> None:
    model = wide_model(tmp_path / "model")
    report = export_bundle(
        model, tmp_path / "b", components=["backbone"], target="gguf", precision=precision
    )  # type: ignore[arg-type]
    assert report.parity is not None
    found = report.parity["components"]["backbone"]  # type: ignore[index]
    # some kernels of llama.cpp widen float16 weights, others narrow the inputs
    least = 0 if precision == "float16" else 1e-6
    assert found["arithmetic"] == arithmetic and least < found["error"] < found["limit"]
    other = tiny_model(tmp_path / "other", Bundle.open(tmp_path / "b").config, seed=1)
    with pytest.raises((GateError, InputError), match="made of another model"):
        verify(tmp_path / "b", other)


@pytest.mark.slow  # traces eleven components
def test_whole_generations_in_blocks_agree_call_by_call(tmp_path: Path) -> None:
    model = wide_model(tmp_path / "model")
    report = export_bundle(model, tmp_path / "b", target="gguf", precision="q8_0")
    assert report.parity is not None and report.parity["failures"] == []
    assert report.parity["tasks"].keys() == {plan.name for plan in PLANS}  # type: ignore[attr-defined]


def test_rows_that_are_no_whole_blocks_are_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError,
        match=r"^precision q8_0: rows of 48 and 96 values are no whole blocks of 32; export with",
    ):
        export_bundle(
            tiny_checkpoint,
            tmp_path / "b",
            components=["backbone"],
            target="gguf",
            precision="q8_0",
        )
    assert not list(tmp_path.iterdir())


def test_precisions_in_blocks_are_gguf_s_alone(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError,
        match=r"^only target gguf has precision q4_0; onnx takes float32 or float16",
    ):
        export_bundle(tiny_checkpoint, tmp_path / "b", precision="q4_0")


def test_the_graphs_around_a_gguf_backbone_are_quantised(
    tiny_gguf_bundle: Path, tmp_path: Path
) -> None:
    """The file stays as it is, and its trace is the variant's own."""
    report = quantize(tiny_gguf_bundle, tmp_path / "int4", recipe("int4-rtn"))
    before, after = report.components["embed_text"]
    assert after < 0.5 * before
    assert report.components["backbone"][0] == report.components["backbone"][1]
    file = "backbone.gguf"
    assert (tmp_path / "int4" / file).read_bytes() == (tiny_gguf_bundle / file).read_bytes()
    assert replay(Bundle.open(tmp_path / "int4")).require().runtime == "llamacpp, onnx"


def test_llama_cpps_tools_find_what_a_file_is(tiny_gguf_bundle: Path) -> None:
    found = read_gguf(tiny_gguf_bundle / "backbone.gguf").metadata
    assert found["general.size_label"].endswith("M") and found["general.file_type"] == 0
    assert "ONNX graphs" in found["general.description"]


def test_inspect_says_what_is_stored(tiny_gguf_bundle: Path, invoke: Invoke) -> None:
    said = invoke("inspect", tiny_gguf_bundle)
    assert "    tensors as stored: " in said.stdout and " F32" in said.stdout

"""Compressed packages: the quantised bundle's own integers, held against PyTorch, and what is not
so is found."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

coremltools = pytest.importorskip("coremltools", reason="the Core ML export needs coremltools")

from nextomni_edge.bundle import Bundle, Decision  # noqa: E402
from nextomni_edge.bundle.coreml_package import WEIGHTS  # noqa: E402
from nextomni_edge.bundle.quantised import (  # noqa: E402
    QUANTISED,
    SCALE,
    SMOOTHING,
    ZERO_POINT,
    dequantise,
    pack,
    read_parts,
    stored_layers,
)
from nextomni_edge.calibration import quantize  # noqa: E402
from nextomni_edge.errors import GateError, InputError, UsageError  # noqa: E402
from nextomni_edge.export import CoreMlOptions, export_bundle  # noqa: E402
from nextomni_edge.export.coreml import write_component  # noqa: E402
from nextomni_edge.export.coreml_weights import Like, shift_scale  # noqa: E402
from nextomni_edge.models.components import components  # noqa: E402
from nextomni_edge.models.networks import load  # noqa: E402
from nextomni_edge.runtimes.coreml.compression import constexpr_blockwise_shift_scale  # noqa: E402
from nextomni_edge.runtimes.coreml.runtime import CoreMlRuntime  # noqa: E402
from nextomni_edge.verify import verify  # noqa: E402
from nextomni_edge.verify.coreml_weights import package_weights  # noqa: E402
from tests.calibration.configs import CONFIGS, EACH  # noqa: E402
from tests.tiny import tiny_config, tiny_model  # noqa: E402

MadeOnce = Callable[[str, Callable[[Path], object]], Path]
PARTS = ["embed_text", "image_head"]
RNG = np.random.default_rng(0)


@pytest.fixture(scope="session", params=EACH)
def like(request: pytest.FixtureRequest, tiny_bundle: Path, made_once: MadeOnce) -> Path:
    name: str = request.param
    return made_once(
        f"quantised-{name}",
        lambda out: quantize(tiny_bundle, out, CONFIGS[name], overwrite=out.exists()),
    )


@pytest.fixture(scope="session")
def int4(tiny_bundle: Path, made_once: MadeOnce) -> Path:
    return made_once(
        "quantised-int4",
        lambda out: quantize(tiny_bundle, out, CONFIGS["int4"], overwrite=out.exists()),
    )


@pytest.fixture(scope="session")
def packages(int4: Path, tiny_checkpoint: Path, made_once: MadeOnce) -> Path:
    options = CoreMlOptions(int4)
    return made_once(
        "coreml-int4",
        lambda out: export_bundle(
            tiny_checkpoint, out, PARTS, overwrite=out.exists(), target="coreml", coreml=options
        ),
    )


@pytest.mark.parametrize("block_size", [16, 32, 128])
@pytest.mark.parametrize("symmetric", [True, False])
def test_blocks_that_stick_out_at_the_end_of_a_row_and_negative_scales_mean_the_same(
    block_size: int, symmetric: bool
) -> None:
    rows, columns = 5, 80
    blocks = -(-columns // block_size)
    scale = RNG.uniform(0.01, 1.0, (rows, blocks)) * (
        RNG.choice([-1, 1], (rows, blocks)) if symmetric else 1
    )
    parts = {
        QUANTISED: pack(RNG.integers(0, 16, (rows, blocks, block_size)).astype(np.uint8), 4),
        SCALE: scale.astype(np.float16),
    }  # fmt: skip
    if not symmetric:
        parts[ZERO_POINT] = pack(RNG.integers(0, 16, (rows, blocks)).astype(np.uint8), 4)
    decision = Decision("blocks", "matmul", 4, block_size=block_size, symmetric=symmetric)
    operands = shift_scale(decision, parts, (rows, columns))
    assert (operands.scale > 0).all() and operands.data.max() <= 15
    found = constexpr_blockwise_shift_scale(operands.data, operands.scale, operands.offset)
    assert np.array_equal(found, dequantise(decision, parts, (rows, columns)))


def test_a_package_holds_the_quantised_bundles_own_numbers(
    like: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    export_bundle(
        tiny_checkpoint,
        tmp_path / "b",
        PARTS,
        target="coreml",
        coreml=CoreMlOptions(like),
        verify="none",
    )
    packages, graphs, compared = Bundle.open(tmp_path / "b"), Bundle.open(like), 0
    for name in PARTS:
        record, original = (
            packages.manifest.components[name],
            graphs.manifest.components[name].quantisation,
        )
        stored = stored_layers(graphs.component_file(name))
        assert record.quantisation.keys() == original.keys()
        for weight, layer in package_weights(packages.component_file(name), original).items():
            expected = dequantise(
                original[weight], read_parts(like, stored[weight]), layer.values.shape
            )
            assert np.array_equal(layer.values, expected)
            assert record.quantisation[weight].weight_error == pytest.approx(
                original[weight].weight_error, rel=1e-4
            )
            compared += 1
    assert compared > 0


def test_the_compressed_packages_are_pytorchs_with_the_same_weights(
    packages: Path, int4: Path, tiny_checkpoint: Path
) -> None:
    manifest = Bundle.open(packages).manifest
    assert manifest.parity["check"] == "full" and manifest.parity["failures"] == []
    assert manifest.quantisation is not None and manifest.quantisation.recipe["kind"] == "int4"
    assert verify(packages, against=tiny_checkpoint).failures == []
    full = sum(
        4 * np.prod(tensor.shape)
        for tensor in components(load(tiny_checkpoint))["image_head"].module.parameters()
    )
    assert manifest.files[f"image_head.mlpackage/{WEIGHTS}"].size < full / 2


@pytest.mark.slow  # conversions of a minute
def test_float16_packages_with_a_quantised_bundles_integers_are_pytorchs(
    int4: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """The recorded errors are those of the model's weights, which the reference rounds."""
    export_bundle(
        tiny_checkpoint, tmp_path / "b", None, "float16", target="coreml",
        coreml=CoreMlOptions(int4),
    )  # fmt: skip
    manifest = Bundle.open(tmp_path / "b").manifest
    assert manifest.parity["failures"] == []
    assert any(record.quantisation for record in manifest.components.values())


def test_an_integer_that_was_changed_is_found(
    packages: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(packages, tmp_path / "copy"))
    path = copy / "embed_text.mlpackage" / WEIGHTS
    data = bytearray(path.read_bytes())
    # behind the file's head and the constant's: integers
    data[128 : 128 + len(data) // 4] = bytes(len(data) // 4)
    path.write_bytes(data)
    with pytest.raises(InputError, match="sha256"):
        verify(copy, against=tiny_checkpoint)
    with pytest.raises(GateError, match="they were made of another model"):
        verify(Bundle.open(copy, verify_hashes=False), against=tiny_checkpoint)


def test_palettes_have_as_many_values_as_the_decision_has_bits_for(
    int4: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    options = CoreMlOptions(int4, palettes=True)
    export_bundle(
        tiny_checkpoint, tmp_path / "b", PARTS, "float16", target="coreml", coreml=options
    )
    manifest = Bundle.open(tmp_path / "b").manifest
    for name in PARTS:
        decisions = manifest.components[name].quantisation
        for weight, layer in package_weights(
            tmp_path / "b" / f"{name}.mlpackage", decisions
        ).items():
            assert decisions[weight].scheme == "palette" and decisions[weight].method == "kmeans"
            assert 2 < len(np.unique(layer.values)) <= 2 ** decisions[weight].bits
    parity = manifest.parity["components"]
    assert isinstance(parity, dict) and all(
        part["error"] < part["limit"] == 1e-2 for part in parity.values()
    )


class Smoothed(Like):
    """A layer whose input is multiplied, as AWQ has it."""

    def __init__(self, factor: np.ndarray, weight: np.ndarray) -> None:
        scale = np.abs(weight / factor).max(axis=1) / 127
        q = np.rint(weight / factor / scale[:, None]).astype(np.int8)
        self.palettes, self.layer = (
            False,
            {QUANTISED: q, SCALE: scale.astype(np.float32), SMOOTHING: factor},
        )

    def layers(self, component: str) -> dict[str, tuple[Decision, dict[str, np.ndarray]]]:  # type: ignore[override]
        return {"weight": (Decision("stored", "linear", 8, smoothed=True), self.layer)}


class Folder:
    """What `write_component` needs of a bundle's writer."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add_file(self, name: str, source: Path | bytes) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_bytes(source.read_bytes() if isinstance(source, Path) else source)


def test_an_input_that_smoothing_multiplies_is_multiplied_in_the_program(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    head = components(load(tiny_checkpoint))["text_head"]
    weight = head.module.weight.detach().numpy().copy()
    factor = RNG.uniform(0.25, 4.0, weight.shape[1]).astype(np.float32)
    record = write_component(head, Folder(tmp_path), "float32", Smoothed(factor, weight))  # type: ignore[arg-type]
    stored = package_weights(tmp_path / record.file, record.quantisation)["weight"]
    assert stored.smoothing is not None and np.array_equal(stored.smoothing, factor)
    hidden = RNG.standard_normal((1, 3, weight.shape[1])).astype(np.float32)
    session = CoreMlRuntime().load("text_head", tmp_path / record.file, head.spec, "interpreter")
    found = session.run({"hidden": hidden})["logits"]
    np.testing.assert_allclose(found, (hidden * factor) @ stored.values.T, rtol=1e-5, atol=1e-5)
    assert (
        np.abs(found - hidden @ weight.T).max() < 0.05 * np.abs(found).max()
        and record.quantisation["weight"].smoothed
    )


def test_a_bundle_that_did_not_decide_is_refused(
    tiny_bundle: Path, int4: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="a quantised bundle says; give it with --like"):
        CoreMlOptions(palettes=True)
    with pytest.raises(InputError, match="not a quantised bundle of ONNX graphs"):
        Like(Bundle.open(tiny_bundle))
    other = tiny_model(tmp_path / "other", tiny_config(), seed=1)
    with pytest.raises(InputError, match="made from a model that is not"):
        export_bundle(
            other, tmp_path / "b", ["embed_text"], target="coreml", coreml=CoreMlOptions(int4)
        )
    assert not (tmp_path / "b").exists()


def test_fp8_has_no_form_in_a_package_but_palettes(fp8_bundle: Path) -> None:
    bundle = Bundle.open(fp8_bundle)
    with pytest.raises(
        InputError,
        match="Core ML has no E4M3; give --like a bundle of INT8 or INT4, or take --palettes",
    ):
        Like(bundle).layers("text_head")
    ((decision, _),) = Like(bundle, palettes=True).layers("text_head").values()
    assert decision.scheme == "palette"

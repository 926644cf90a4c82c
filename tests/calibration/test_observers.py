"""What is observed against the same numbers computed by hand from the model's own calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.onnx_graph import load_graph
from nextomni_edge.calibration.data.collect import Prompted, collect
from nextomni_edge.calibration.data.observers import observe
from nextomni_edge.calibration.data.samples import CalibrationSet, Sample
from nextomni_edge.calibration.data.statistics import LayerStatistics
from nextomni_edge.calibration.layers import Layer, layers
from nextomni_edge.errors import InputError
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.rows import Layout
from tests.calibration.lines import BINS


@pytest.fixture(scope="module")
def calibration(
    bundle: Bundle, model: EdgeModel, prompts: Path, tmp_path_factory: pytest.TempPathFactory
) -> CalibrationSet:
    return collect(
        bundle, Prompted(model, prompts), tmp_path_factory.mktemp("sets") / "set", bins=BINS
    )


@pytest.fixture(scope="module")
def found(bundle: Bundle, calibration: CalibrationSet) -> dict[str, LayerStatistics]:
    every = every_layer(bundle)
    return observe(bundle, calibration, every, hessian=[layer.name for layer in every])


def every_layer(bundle: Bundle) -> list[Layer]:
    return [
        layer
        for name in bundle.manifest.components
        for layer in layers(name, load_graph(bundle, name))
    ]


def samples(
    calibration: CalibrationSet, model: EdgeModel, modality: str
) -> Iterator[tuple[Sample, Layout]]:
    for record, trajectory in calibration.trajectories():
        without = model.unconditional if calibration.guided(record) else None
        for sample in trajectory.samples(without):
            layout = Layout.of(sample.sequence)
            if layout.modality == modality:
                yield sample, layout


def test_every_layer_but_the_tables_is_seen_in_every_bin(
    bundle: Bundle, found: dict[str, LayerStatistics]
) -> None:
    wanted = [layer for layer in every_layer(bundle) if layer.operator != "gather"]
    assert found.keys() == {layer.name for layer in wanted}
    for layer in wanted:
        statistics = found[layer.name]
        timed = layer.component.startswith(("backbone", "embed")) or layer.component.endswith(
            "head"
        )
        assert len(statistics.bins) == (BINS if timed else 1) and len(statistics.seen) == len(
            statistics.bins
        )
        assert (
            statistics.absmax.shape == (layer.features,) and np.isfinite(statistics.range()).all()
        )
        books = (layer.shape[0],) if layer.operator == "einsum" else ()
        assert statistics.hessian is not None and statistics.hessian.shape == (
            *books,
            layer.features,
            layer.features,
        )


@pytest.mark.parametrize(
    ("modality", "layer"), [("text", "text_head/weight"), ("image", "image_head/condition.weight")]
)
def test_a_head_reads_the_hidden_states_of_what_is_generated(
    calibration: CalibrationSet,
    model: EdgeModel,
    found: dict[str, LayerStatistics],
    modality: str,
    layer: str,
) -> None:
    rows: list[list[np.ndarray[tuple[int, int], np.dtype[np.float32]]]] = [[] for _ in range(BINS)]
    for sample, layout in samples(calibration, model, modality):
        rows[sample.bin].append(model.hidden([sample.sequence])[0, layout.rows])
    for b, statistics in enumerate(found[layer].bins):
        x = np.concatenate(rows[b])
        assert statistics.rows == len(x)
        assert np.allclose(statistics.absmax, np.abs(x).max(axis=0), atol=1e-4)
        assert np.allclose(statistics.range("minmax"), (x.min(), x.max()), atol=1e-4)
    x = np.concatenate([piece for b in rows for piece in b]).astype(np.float64)
    assert np.allclose(found[layer].hessian, x.T @ x / len(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("modality", "layer"), [("text", "text_head/weight"), ("image", "image_head/condition.weight")]
)
def test_rows_that_are_decided_next_weigh_more_in_h(
    bundle: Bundle, calibration: CalibrationSet, model: EdgeModel, modality: str, layer: str
) -> None:
    """H by hand, with the frontier read off what the trajectory holds later."""
    (head,) = [each for each in every_layer(bundle) if each.name == layer]
    weighed = observe(bundle, calibration, [head], hessian=[layer], frontier=5.0)[layer].hessian
    h, mass = np.zeros((head.features, head.features)), 0.0
    for record, trajectory in calibration.trajectories():
        for sample in trajectory.samples(
            model.unconditional if calibration.guided(record) else None
        ):
            layout = Layout.of(sample.sequence)
            if layout.modality != modality:
                continue
            x = model.hidden([sample.sequence])[0, layout.rows].astype(np.float64)
            moments = [
                np.concatenate([part.reshape(len(part), -1) for part in parts])
                for parts in (*zip(*trajectory.x_t, strict=True), trajectory.finished)
            ]
            now, later = moments[sample.bin : sample.bin + 2]
            w = np.where((now != later).any(axis=1), 5.0, 1.0)
            h, mass = h + (x * w[:, None]).T @ x, mass + w.sum()
    np.testing.assert_allclose(weighed, h / mass, rtol=1e-3, atol=1e-4)


def test_the_backbone_weighs_the_rows_that_it_predicts_from(
    bundle: Bundle, calibration: CalibrationSet, found: dict[str, LayerStatistics]
) -> None:
    """Where nothing is decided next, H is the even one; the weights' scale does not matter."""
    (layer,) = [
        each for each in every_layer(bundle) if each.name.endswith("layers.1.mlp.down_proj.weight")
    ]
    even, heavy = (
        observe(bundle, calibration, [layer], hessian=[layer.name], frontier=weight)[layer.name]
        for weight in (1.0, 50.0)
    )
    assert even.hessian is not None and heavy.hessian is not None
    np.testing.assert_allclose(even.hessian, found[layer.name].hessian, rtol=1e-4, atol=1e-5)
    assert not np.allclose(even.hessian, heavy.hessian, rtol=1e-2)
    assert 0.1 < np.trace(heavy.hessian) / np.trace(even.hessian) < 10


def test_each_matrix_of_an_einsum_has_its_own_hessian(found: dict[str, LayerStatistics]) -> None:
    hessian = found["image_head/out"].hessian
    assert hessian is not None and not np.allclose(hessian[0], hessian[1])


def test_an_encoders_first_layer_reads_the_media_themselves(
    calibration: CalibrationSet, found: dict[str, LayerStatistics]
) -> None:
    pixels = np.stack(
        [each for _, trajectory in calibration.trajectories() for each in trajectory.pixels]
    )
    statistics = found["image_encoder/patch.weight"]
    assert np.array_equal(statistics.absmax, np.abs(pixels).max(axis=(0, 2, 3)))
    assert statistics.range() == (pixels.min(), pixels.max())


def test_later_times_read_something_else_than_noise(found: dict[str, LayerStatistics]) -> None:
    """Why there are bins at all: the means move with t."""
    first, *_, last = found["embed_image/projector.0.weight"].bins
    assert not np.allclose(first.absmean, last.absmean, rtol=1e-3)


def test_what_is_observed_alone_is_the_same(
    bundle: Bundle, calibration: CalibrationSet, found: dict[str, LayerStatistics]
) -> None:
    (layer,) = [
        layer
        for layer in every_layer(bundle)
        if layer.name == "backbone/layers.1.mlp.down_proj.weight"
    ]
    alone = observe(bundle, calibration, [layer])[layer.name]
    assert alone.hessian is None and np.allclose(
        alone.absmean, found[layer.name].absmean, rtol=1e-5
    )


def test_a_smoothed_input_is_observed_as_the_product_reads_it(
    bundle: Bundle, calibration: CalibrationSet, found: dict[str, LayerStatistics]
) -> None:
    (layer,) = [
        layer
        for layer in every_layer(bundle)
        if layer.name == "backbone/layers.1.mlp.down_proj.weight"
    ]
    plain, smoothing = found[layer.name], np.geomspace(0.1, 10, layer.features).astype(np.float32)
    smoothed = observe(bundle, calibration, [layer], smoothing={layer.name: smoothing})[layer.name]
    assert np.allclose(smoothed.absmax, plain.absmax * smoothing, rtol=1e-4)
    assert np.isclose(
        max(-smoothed.range()[0], smoothed.range()[1]), (plain.absmax * smoothing).max(), rtol=1e-4
    )


def test_a_set_of_another_bundle_is_refused(bundle: Bundle, calibration: CalibrationSet) -> None:
    record = type(calibration.record)(**{**vars(calibration.record), "model": "0" * 64})
    with pytest.raises(InputError, match="made with another bundle"):
        observe(bundle, CalibrationSet(calibration.path, record), [])

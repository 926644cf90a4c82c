"""The estimate counts what a forward takes, and its bound is the larger of the two times."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nextomni_edge.measure import DEVICES, FORMULA, Device, Step, config_weights, estimate
from nextomni_edge.measure import probe as probing
from nextomni_edge.models.components import components
from nextomni_edge.models.networks import build
from nextomni_edge.spec import Modality
from tests.tiny import tiny_config

DEVICE = Device(
    "d", 10**6, 10**5, 1e6, {"float32": 1e9, "float16": 2e9, "int8": 4e9, "int4": 2e9}, "a test"
)


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
@pytest.mark.parametrize("branches", [1, 2])
def test_operations_are_those_that_pytorch_counts(modality: Modality, branches: int) -> None:
    config, step = tiny_config(), Step(modality, given=5, generated=4, branches=branches)
    with torch.device("meta"):
        parts, length = components(build(config)), step.given + step.generated
        hidden, past = torch.empty(branches, length, 48), torch.empty(2, branches, 2, 0, 12)
        positions, mask = (
            torch.zeros(branches, length, dtype=torch.int64),
            torch.ones(branches, length, dtype=torch.bool),
        )
        answered, codes = (
            hidden[:, : step.generated],
            torch.zeros(
                branches, step.generated, 3 if modality == "image" else 2, dtype=torch.int64
            ),
        )
        with FlopCounterMode(display=False) as counter:
            parts["backbone"].module(hidden, positions, mask, past, past)
            parts[f"{modality}_head"].module(
                *((answered,) if modality == "text" else (answered, codes))
            )
    found = estimate(config, config_weights(config, "float32"), "float32", step, DEVICE)
    # the head's attention among a position's sub-codes is left out
    books = {"text": 0, "image": 3, "audio": 2}[modality]
    left_out = 4 * step.generated * branches * books**2 * config.image.head.width
    assert counter.get_total_flops() == pytest.approx(found.operations + left_out, abs=1)


def test_the_bound_is_the_slower_of_memory_and_arithmetic() -> None:
    config = tiny_config()
    weights = config_weights(config, "float32")
    one, many = (
        estimate(config, weights, "float32", Step("text", given, 4), DEVICE) for given in (1, 400)
    )
    read = weights["backbone"] + weights["text_head"]
    assert one.read == read and one.seconds == one.memory_seconds == read / 1e6
    assert (
        many.seconds == many.memory_seconds
        if many.operations < read * 1000
        else many.seconds == many.operations / 1e9
    )
    assert many.states == 2 * 2 * 404 * 2 * 12 * 4
    assert many.to_json()["formula"] == FORMULA and math.isclose(
        many.to_json()["steps_per_second_at_most"], 1 / many.seconds
    )


def test_what_does_not_fit_is_said_and_weights_take_what_the_runtime_keeps_of_them() -> None:
    config, step = tiny_config(), Step("text", 8, 4)
    halves = config_weights(config, "float16")
    kept = estimate(config, halves, "float16", step, DEVICE)
    wide = Device("d", kept.needed + 10, 0, 1e6, DEVICE.operations, "a test", {"float16": 2.0})
    assert not estimate(config, halves, "float16", step, wide).fits
    assert estimate(config, halves, "float16", step, wide).resident == 2 * kept.resident
    assert estimate(
        config,
        halves,
        "float16",
        step,
        Device("d", kept.needed, 0, 1e6, DEVICE.operations, "a test"),
    ).fits


def test_every_device_has_its_figures_and_their_source() -> None:
    for device in DEVICES.values():
        assert device.source and 0 < device.reserved < device.memory and device.bandwidth > 1e9
        assert device.operations.keys() == {"float32", "float16", "int8", "int4"}


def test_this_processor_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, size in {"SIDE": 128, "ROWS": 16, "SWEEP": 2**16, "REPEATS": 2}.items():
        monkeypatch.setattr(probing, name, size)
    found = probing.probe()
    assert found.loaded and found.memory > 10**8 and found.bandwidth > 1e6
    assert all(rate > 1e6 for rate in found.operations.values())

"""Which runtime is taken out of what was timed, and what is timed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import MissingRuntimeError, UsageError
from nextomni_edge.measure import fastest
from nextomni_edge.measure.fastest import Compared, Timed, compare_runtimes


def timed(load: float, generation: float) -> Timed:
    return Timed(load, 2 * generation, 4.0, [generation, 3 * generation, generation])


def test_an_answer_is_loading_a_first_generation_and_the_further_steps() -> None:
    own = timed(load=3.0, generation=1.0)
    assert own.generation == pytest.approx(4.0)
    assert own.answer == pytest.approx(3.0 + 2.0 + 3.0)


@pytest.mark.parametrize(
    ("other", "taken"),
    [
        ({"load": 0.0, "generation": 1.0}, "onnx"),  # the same
        ({"load": 0.0, "generation": 0.95}, "onnx"),  # faster by less than two measurements differ
        ({"load": 0.0, "generation": 0.5}, "openvino"),
        ({"load": 30.0, "generation": 0.5}, "onnx"),  # it generates faster, and answers later
    ],
)
def test_another_runtime_must_answer_clearly_faster(other: dict[str, float], taken: str) -> None:
    found = Compared(
        "onnx",
        {"onnx": {"text-to-image": timed(0.0, 1.0)}, "openvino": {"text-to-image": timed(**other)}},
    )
    assert found.fastest == taken


def test_every_task_counts_alike() -> None:
    slow, quick = timed(0.0, 100.0), timed(0.0, 0.01)
    found = Compared("onnx", {"onnx": {"a": slow, "b": quick}, "openvino": {"a": quick, "b": slow}})
    assert found.times_as_fast("openvino") == pytest.approx(1.0) and found.fastest == "onnx"


def test_every_kind_of_answer_is_timed_on_every_runtime_that_is_here(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastest, "READERS", {"onnx": ("onnx", "tensorrt")})

    def no_gpu(bundle: object, runtime: str, *rest: object) -> object:
        if runtime == "tensorrt":
            raise MissingRuntimeError("no GPU here")
        return loaded(bundle, runtime, *rest)  # type: ignore[arg-type]

    loaded = fastest._loaded
    monkeypatch.setattr(fastest, "_loaded", no_gpu)
    found = compare_runtimes(Bundle.open(tiny_bundle, verify_hashes=False), seconds=0.0)
    assert found.timed["onnx"].keys() == {"text-to-image", "image-to-text", "text-to-audio"}
    assert found.left_out == {"tensorrt": "no GPU here"} and found.fastest == "onnx"
    # the time was up at once: one round
    assert all(len(own.later) == 1 for own in found.timed["onnx"].values())
    # the tiny model takes 6 and 8 steps, the tasks 8
    assert [round(own.ratio, 2) for own in found.timed["onnx"].values()] == [1.0, 0.75, 1.0]


def test_a_bundle_that_answers_nothing_is_refused(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle, verify_hashes=False)
    for kept, sentence in (
        ({"backbone", "embed_text"}, "has the components of no task"),
        ({"image_decoder"}, "has no backbone"),
    ):
        parts = {name: part for name, part in bundle.manifest.components.items() if name in kept}
        few = Bundle(bundle.path, dataclasses.replace(bundle.manifest, components=parts))
        with pytest.raises(UsageError, match=sentence):
            compare_runtimes(few)

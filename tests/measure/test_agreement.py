"""What `run` and `load` take by default, and `run --variant fastest`, agree with a measurement that
the test makes on its own machine."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

import nextomni_edge as ne
from nextomni_edge.bundle import Bundle
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.measure import fastest
from nextomni_edge.measure.timing import forwards
from nextomni_edge.runtimes import choice
from nextomni_edge.runtimes.base import runtime
from nextomni_edge.runtimes.machine import Machine
from nextomni_edge.runtimes.onnx.runtime import OnnxRuntime
from tests.calls import Invoke, answered

Variant = Callable[[str], Path]
ASKED: Final = ("--text", "a cat")
PROVIDERS: Final = {"onnx": "CPUExecutionProvider", "openvino": "CPU"}
# A choice may be slower than the best by this much; two choices that are closer are equally good.
MARGIN: Final = 1.25
TRIES: Final = 3  # other work may disturb a measurement, but hardly three of them alike


@pytest.fixture(autouse=True)
def openvino() -> None:
    pytest.importorskip("openvino", reason="with ONNX Runtime only there is nothing to choose")


def answer_seconds(bundle: Path) -> dict[str, float]:
    """By runtime, the least seconds of loading and one short text, measured in turn."""
    found: dict[str, list[float]] = {name: [] for name in PROVIDERS}
    for turn in range(2):
        for name in list(PROVIDERS)[:: -1 if turn % 2 else 1]:
            began = time.perf_counter()
            ne.load(bundle, runtime=name, device="cpu").generate("a cat", to="text")
            found[name].append(time.perf_counter() - began)
    return {name: min(seconds) for name, seconds in found.items()}


def confirmed(chosen: str, measure: Callable[[], dict[str, float]]) -> bool:
    """Whether one of several measurements finds the choice within `MARGIN` of the best."""
    for _ in range(TRIES):
        seconds = measure()
        if seconds[chosen] <= MARGIN * min(seconds.values()):
            return True
    return False


def taken(invoke: Invoke, bundle: Path) -> set[str]:
    """The runtimes that `load` and `run` take where nobody names one."""
    model = ne.load(bundle)
    model.generate("a cat", to="text", steps=1)
    (loaded,) = model.providers
    ran = answered(invoke("run", bundle, *ASKED, "--steps", 1, "--json"))["provider"]
    return {name for name, provider in PROVIDERS.items() if provider in (loaded, ran)}


def measured_choice(invoke: Invoke, bundle: Path) -> str:
    """`bench --choose`: the runtime that it keeps, which must follow from what it recorded."""
    found = answered(invoke("bench", bundle, "--choose", "--json"))["choices"][0]
    kept = choice.kept(bundle)
    assert kept is not None and kept.runtime == found["runtime"]
    times = found["times_as_fast"]
    best = max(times, key=times.__getitem__)
    assert kept.runtime == (best if times[best] >= fastest.ADVANTAGE else "onnx")
    return kept.runtime


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rounds: the test measures again itself."""
    monkeypatch.setattr(fastest, "ROUNDS", 2)


@pytest.mark.usefixtures("quick")
def test_the_default_is_the_runtime_that_answers_fastest_here(
    invoke: Invoke, variant: Variant
) -> None:
    bundle = variant("int4")
    chosen = measured_choice(invoke, bundle)
    assert taken(invoke, bundle) == {chosen}
    assert confirmed(chosen, lambda: answer_seconds(bundle))


@pytest.mark.usefixtures("quick")
def test_where_the_formats_default_is_slow_the_other_runtime_is_taken(
    invoke: Invoke, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, other = OnnxRuntime.load, runtime("openvino")

    def slow(self: OnnxRuntime, component: str, file: Path, spec: Any, provider: Any = None) -> Any:
        """As slow as four loads of the other runtime, however busy the machine is."""
        for _ in range(4):
            other.load(component, file, spec)
        return load(self, component, file, spec, provider)

    monkeypatch.setattr(OnnxRuntime, "load", slow)
    chosen = measured_choice(invoke, tiny_bundle)
    assert chosen == "openvino" and taken(invoke, tiny_bundle) == {chosen}
    assert confirmed(chosen, lambda: answer_seconds(tiny_bundle))


def test_a_choice_that_the_machine_contradicts_is_not_confirmed(
    invoke: Invoke, tiny_bundle: Path
) -> None:
    seconds = answer_seconds(tiny_bundle)
    slowest = max(seconds, key=seconds.__getitem__)
    choice.keep(tiny_bundle, slowest, 1.0, {})
    assert taken(invoke, tiny_bundle) == {slowest}
    assert not confirmed(slowest, lambda: seconds)


def test_a_measurement_of_another_bundle_or_machine_decides_nothing(
    invoke: Invoke, tiny_bundle: Path, variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice.keep(variant("int4"), "openvino", 2.0, {})
    assert taken(invoke, tiny_bundle) == {"onnx"}
    other = dataclasses.replace(Machine.here(), processor="another")
    with monkeypatch.context() as patched:
        patched.setattr(Machine, "here", classmethod(lambda cls: other))
        choice.keep(tiny_bundle, "openvino", 2.0, {})
        assert taken(invoke, tiny_bundle) == {"openvino"}
    assert taken(invoke, tiny_bundle) == {"onnx"}


def test_the_fastest_variant_is_the_fastest_at_the_rows_of_the_request(
    invoke: Invoke, tiny_bundle: Path, variant: Variant, tmp_path: Path
) -> None:
    for name, bundle in (("float32", tiny_bundle), ("int4", variant("int4"))):
        shutil.copytree(bundle, tmp_path / name)
    folders = [tmp_path / "float32", tmp_path / "int4"]
    bench = ("bench", *folders, "--repeats", 5, "--steps", 2, "--rows", "16,32,64")
    saved = invoke(*bench, "--save", tmp_path / "variants.json")
    assert saved.exit_code == 0, saved.output
    ran = invoke("run", tmp_path, "--variant", "fastest", *ASKED, "--steps", 2)
    said = re.match(r"variant (\w+) on (\w+): the fastest at (\d+) rows a forward", ran.stderr)
    assert said is not None, ran.output
    chosen, on, rows = said[1], said[2], int(said[3])
    recorded = json.loads((tmp_path / "variants.json").read_text())["variants"]
    assert on == "onnx" and chosen in {each["folder"] for each in recorded}
    models = [EdgeModel.from_bundle(Bundle.open(folder)) for folder in folders]

    def forward_seconds() -> dict[str, float]:
        times = forwards(models, [rows], rounds=15)
        return {path.name: own[rows] for path, own in zip(folders, times, strict=True)}

    assert confirmed(chosen, forward_seconds)

"""ONNX Runtime's bindings: the path of a provider with memory of its own, run in the processor's
(see also test_contract.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnxruntime import OrtValue

from nextomni_edge.bundle import Bundle
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.shortcuts import CACHES
from nextomni_edge.graphs import graph_specs
from nextomni_edge.runtimes.onnx import runtime as onnx
from nextomni_edge.runtimes.onnx.runtime import BoundSession, OnnxSession
from nextomni_edge.runtimes.onnx.state import BoundState
from nextomni_edge.runtimes.state import HostState
from nextomni_edge.tasks import PLANS, Plan
from nextomni_edge.tokens.chat import Kind
from tests.generate.requests import KINDS, ask
from tests.tiny import tiny_config


@pytest.fixture
def bound(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> EdgeModel:
    monkeypatch.setitem(onnx.MEMORY, "CPUExecutionProvider", "cpu")
    return EdgeModel.from_bundle(Bundle.open(tiny_bundle))


def test_the_processor_needs_no_binding(tiny_bundle: Path) -> None:
    session = EdgeModel.from_bundle(Bundle.open(tiny_bundle)).session("text_head")
    assert type(session) is OnnxSession


def test_a_step_of_the_same_shapes_uses_the_same_buffers(bound: EdgeModel) -> None:
    session, rng = bound.session("text_head"), np.random.default_rng(0)
    assert isinstance(session, BoundSession)
    places = []
    for rows in (5, 5, 5, 3):
        session.run({"hidden": rng.standard_normal((2, rows, 48)).astype(np.float32)})
        held = [*session._mine.inputs.values(), *session._mine.binding.get_outputs()]
        places.append((session._mine.binding, [value.data_ptr() for value in held]))
    assert places[0] == places[1] == places[2]
    assert places[3][0] is not places[0][0]


def test_an_input_is_copied_and_left_as_it_was(bound: EdgeModel) -> None:
    session = bound.session("text_head")
    first = np.ones((1, 4, 48), np.float32)
    expected = session.run({"hidden": first})["logits"]
    session.run({"hidden": np.zeros_like(first)})
    np.testing.assert_array_equal(first, 1.0)
    np.testing.assert_array_equal(session.run({"hidden": first})["logits"], expected)


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("kind", KINDS)
def test_whole_generations_have_the_same_tokens_and_no_key_or_value_leaves_the_providers_memory(
    bound: EdgeModel, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, cache: str
) -> None:
    crossed: list[str] = []
    run = BoundSession._run
    monkeypatch.setattr(
        BoundSession,
        "_run",
        lambda self, *given: (crossed.append(self.spec.name), run(self, *given))[1],
    )
    reference = EdgeModel.from_checkpoint(tiny_checkpoint)
    options = GenerationOptions.defaults(bound.config, kind, steps=12, guidance=1.0, kv_cache=cache)
    found, expected = (generate(model, ask(model, kind), options) for model in (bound, reference))
    for index in expected.generated():
        np.testing.assert_array_equal(found.segments[index].tokens, expected.segments[index].tokens)
    assert ("backbone" in crossed) == (cache == "none")


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_every_task_has_the_same_tokens_wherever_its_prompt_is_kept(
    bound: EdgeModel, plan: Plan
) -> None:
    task, session = plan.task(bound), bound.session("backbone")
    options = task.options.changed(kv_cache="prefix")
    assert isinstance(session, BoundSession) and isinstance(bound.state(1, 4), BoundState)
    found = generate(bound, task.sequence, options)
    bound.sessions["backbone"] = OnnxSession(session.spec, session._session)
    assert isinstance(bound.state(1, 4), HostState)
    expected = generate(bound, task.sequence, options)
    for index in expected.generated():
        np.testing.assert_array_equal(found.segments[index].tokens, expected.segments[index].tokens)


@pytest.mark.parametrize("asked", [[0, 1, 2], [2, 1], [1]])
def test_what_is_kept_in_the_providers_memory_is_what_numpy_keeps(asked: list[int]) -> None:
    spec, rng = graph_specs(tiny_config())["backbone"], np.random.default_rng(0)
    kept, expected = BoundState(spec, "cpu", "CPUExecutionProvider", 3, 10), HostState(spec, 3, 10)
    for sequences in (np.array([0, 1, 2]), np.array([2, 0]), np.array([1])):
        positions = np.stack([rng.permutation(10)[:4] for _ in sequences])
        real = np.arange(4) < rng.integers(1, 5, (len(sequences), 1))
        new = {
            past: rng.standard_normal((2, len(sequences), 2, 4, 12)).astype(np.float32)
            for past, _ in spec.states
        }
        kept.put(
            {name: OrtValue.ortvalue_from_numpy(array) for name, array in new.items()},
            sequences,
            positions,
            real,
        )
        expected.put(sequences, positions, real, {own: new[past] for past, own in spec.states})
    for name, array in expected.past(np.array(asked), 10).items():
        np.testing.assert_array_equal(kept.past(np.array(asked))[name].numpy()[:, :, :, :10], array)

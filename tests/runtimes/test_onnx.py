"""ONNX Runtime's bindings: the path of a provider with memory of its own, run in the processor's (see also test_contract.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.runtimes import onnx
from nextomni_edge.runtimes.onnx import BoundSession, OnnxSession
from nextomni_edge.tokens.chat import Kind
from tests.generate.test_cache import KINDS, ask


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


@pytest.mark.parametrize("cache", ["none", "revised"])
@pytest.mark.parametrize("kind", KINDS)
def test_whole_generations_have_the_same_tokens(bound: EdgeModel, tiny_checkpoint: Path, kind: Kind, cache: str) -> None:
    reference = EdgeModel.from_checkpoint(tiny_checkpoint)
    options = GenerationOptions.defaults(bound.config, kind, steps=12, guidance=1.0, kv_cache=cache)
    found, expected = (generate(model, ask(model, kind), options) for model in (bound, reference))
    for index in expected.generated():
        np.testing.assert_array_equal(found.segments[index].tokens, expected.segments[index].tokens)

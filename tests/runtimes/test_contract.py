"""What every runtime must do, on the same model: the guarded door, and the same numbers as the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.checkpoint import Checkpoint
from nextomni_edge.errors import InputError, MissingRuntimeError, UsageError
from nextomni_edge.graphs import graph_specs
from nextomni_edge.runtimes.base import RUNTIMES, NonFiniteError, Session, runtime
from nextomni_edge.spec import ComponentName, TensorSpec

Load = Any


@pytest.fixture(params=sorted(RUNTIMES))
def load(request: pytest.FixtureRequest, tiny_checkpoint: Path) -> Load:
    """load(component, provider=None) → Session, for each runtime in turn."""
    config, name = Checkpoint.open(tiny_checkpoint).config, request.param
    loader = runtime(name)
    bundle = Bundle.open(request.getfixturevalue("tiny_bundle")) if name == "onnx" else None

    def load(component: str, provider: str | None = None) -> Session:
        file = bundle.component_file(component) if bundle else tiny_checkpoint
        return loader.load(component, file, graph_specs(config)[component], provider)

    return load


def example(spec: TensorSpec, rng: np.random.Generator, **sizes: int) -> np.ndarray:
    """A random input; ids stay under 16, which every table has."""
    shape = spec.shape({"batch": 2, "rows": 5, "past": 0, "attended": 5, "length": 4} | sizes)
    if spec.dtype == "int64":
        return np.asarray(rng.integers(16, size=shape))
    return np.ones(shape, np.bool_) if spec.dtype == "bool" else rng.standard_normal(shape).astype(np.float32)


def inputs_of(session: Session, **sizes: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {spec.name: example(spec, rng, **sizes) for spec in session.spec.inputs}


@pytest.mark.parametrize("component", ComponentName.ALL)
def test_outputs_are_those_of_the_spec_at_any_size(load: Load, component: str) -> None:
    session = load(component)
    for batch, rows in ((1, 1), (3, 4)):
        found = session.run(inputs_of(session, batch=batch, rows=rows, attended=rows, length=rows))
        assert list(found) == [spec.name for spec in session.spec.outputs]
        assert all(array.shape[1 if name in ("keys", "values") else 0] == batch for name, array in found.items())


@pytest.mark.parametrize("component", ComponentName.ALL)
def test_numbers_are_those_of_the_reference(load: Load, tiny_checkpoint: Path, component: str) -> None:
    session = load(component)
    reference = runtime("torch").load(component, tiny_checkpoint, session.spec)
    for name, found in session.run(inputs_of(session)).items():
        np.testing.assert_allclose(found, reference.run(inputs_of(session))[name], rtol=1e-3, atol=2e-4)


def test_only_the_outputs_asked_for_come_back(load: Load) -> None:
    session = load("backbone")
    assert list(session.run(inputs_of(session), {"hidden"})) == ["hidden"]


def wrong_inputs(session: Session) -> list[tuple[dict[str, np.ndarray], str]]:
    good = inputs_of(session)
    hidden, codes = good["hidden"], good["codes"]
    return [
        ({"hidden": hidden}, "codes is missing"),
        ({**good, "extra": hidden}, "extra is unknown"),
        ({**good, "hidden": hidden.astype(np.float64)}, "hidden: dtype float64, expected float32"),
        ({**good, "hidden": hidden[0]}, "hidden: rank 2, expected 3"),
        ({**good, "hidden": hidden[:, :, :-1]}, "hidden: axis 2 has size 47, expected 48"),
        ({**good, "codes": codes[:, :-1]}, "codes: axis 1 (rows) has size 4, but another tensor has 5"),
        ({**good, "hidden": hidden[:0]}, "hidden: axis 0 (batch) has size 0, expected 1 to 64"),
    ]


@pytest.mark.parametrize("case", range(7))
def test_wrong_inputs_are_refused_at_the_door(load: Load, case: int) -> None:
    session = load("image_head")
    inputs, sentence = wrong_inputs(session)[case]
    with pytest.raises(UsageError) as error:
        session.run(inputs)
    assert str(error.value) == f"image_head: input {sentence}"


def test_nan_names_the_component_and_the_place(load: Load) -> None:
    session = load("text_head")
    inputs = inputs_of(session)
    inputs["hidden"][1, 3, 0] = np.nan
    with pytest.raises(NonFiniteError, match=r"^text_head: output logits is nan at batch 1, rows 3, axis 2: 0$"):
        session.run(inputs)


def test_a_provider_that_is_not_here_is_refused(load: Load) -> None:
    with pytest.raises(MissingRuntimeError, match=r"^text_head: provider 'AbacusExecutionProvider' is not "):
        load("text_head", "AbacusExecutionProvider")


def test_the_provider_named_is_the_one_that_runs(load: Load) -> None:
    provider = load("text_head").provider
    assert load("text_head", provider).provider == provider


def test_a_file_that_is_no_model_is_refused(load: Load, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    spec = load("text_head").spec
    name = request.node.callspec.params["load"]
    (tmp_path / "config.json").write_text("{}")
    broken = tmp_path / "text_head.onnx"
    broken.write_bytes(b"not a graph")
    with pytest.raises(InputError):
        runtime(name).load("text_head", broken if name == "onnx" else tmp_path, spec)

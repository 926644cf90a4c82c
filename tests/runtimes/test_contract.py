"""What every runtime must do, on the same model: the guarded door, the reference's numbers, and
honesty on where it runs."""

from __future__ import annotations

import importlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.checkpoints.directory import Checkpoint
from nextomni_edge.errors import InputError, MissingRuntimeError, UsageError
from nextomni_edge.graphs import graph_specs
from nextomni_edge.runtimes.base import (
    READERS,
    RUNTIMES,
    Execution,
    NonFiniteError,
    Session,
    runtime,
)
from nextomni_edge.spec import TensorSpec
from nextomni_edge.verify.gguf_reference import run_reference
from tests.tiny import COMPONENTS

# What each runtime reads (torch: the model directory), and the module that must be there for it.
READS = {
    "coreml": ("tiny_coreml_bundle", "numpy"),
    "llamacpp": ("tiny_gguf_bundle", "llama_cpp"),
    "onnx": ("tiny_bundle", "onnxruntime"),
    # buffers as on a GPU's provider, here in the processor's memory
    "onnx bound": ("tiny_bundle", "onnxruntime"),
    "openvino": ("tiny_bundle", "openvino"),
    "tensorrt": ("tiny_bundle", "numpy"),  # see `engines`: without a GPU nothing of it can run
    "torch": (None, "torch"),
}


class Loader:
    """loader(component, provider=None, execution=None) → Session, of one runtime; `kept`: where its
    compiled models are."""

    def __init__(self, name: str, model: Path, bundle: Bundle | None, kept: Path | None) -> None:
        self.name, self.model, self.bundle, self.kept = name, model, bundle, kept

    def reads(self, component: str) -> bool:
        return (
            self.bundle is None
            or self.name in READERS[self.bundle.manifest.components[component].format]
        )

    def __call__(
        self, component: str, provider: str | None = None, execution: Execution | None = None
    ) -> Session:
        file = self.bundle.component_file(component) if self.bundle else self.model
        spec = (
            self.bundle.spec(component)
            if self.bundle
            else graph_specs(Checkpoint.open(self.model).config)[component]
        )
        execution = replace(execution or Execution(), cache=self.kept) if self.kept else execution
        return runtime(self.name, execution).load(component, file, spec, provider)


@pytest.fixture(params=[*sorted(RUNTIMES), "onnx bound"])
def load(
    request: pytest.FixtureRequest,
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Loader:
    """Each runtime in turn."""
    name, (made, library) = request.param.split()[0], READS[request.param]
    pytest.importorskip(library, reason=f"the contract of runtime {name} needs {library}")
    bundle = Bundle.open(request.getfixturevalue(made)) if made else None
    if request.param == "onnx bound":
        monkeypatch.setitem(
            importlib.import_module("nextomni_edge.runtimes.onnx.runtime").MEMORY,
            "CPUExecutionProvider",
            "cpu",
        )
    kept = engines(bundle, tmp_path / "cache") if bundle and name == "tensorrt" else None
    return Loader(name, tiny_checkpoint, bundle, kept)


def engines(bundle: Bundle, folder: Path) -> Path:
    """TensorRT's engines of a bundle, built for the GPU that is here."""
    from nextomni_edge.runtimes.tensorrt.build import Asked
    from nextomni_edge.runtimes.tensorrt.engines import compile_bundle
    from nextomni_edge.runtimes.tensorrt.profile import Limits
    from nextomni_edge.runtimes.tensorrt.runtime import here

    capability = here()
    if capability is None:
        pytest.skip(
            "the contract of runtime tensorrt needs an NVIDIA GPU: its engines are built, not"
            " executed (test_tensorrt_*.py)"
        )
    compile_bundle(
        bundle,
        Asked(capability, "float32", Limits(), folder),
        None,
        bundle.component_file,
        lambda task, share: None,
    )
    return folder


def example(spec: TensorSpec, rng: np.random.Generator, **sizes: int) -> np.ndarray:
    """A random input; ids stay under 16, which every table has."""
    shape = spec.shape({"batch": 2, "rows": 5, "past": 0, "attended": 5, "length": 4} | sizes)
    if spec.name == "positions":
        return np.tile(np.arange(shape[1]), (shape[0], 1))
    if spec.dtype == "int64":
        return np.asarray(rng.integers(16, size=shape))
    return (
        np.ones(shape, np.bool_)
        if spec.dtype == "bool"
        else rng.standard_normal(shape).astype(np.float32)
    )


def inputs_of(session: Session, **sizes: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {spec.name: example(spec, rng, **sizes) for spec in session.spec.inputs}


def scaled(inputs: dict[str, np.ndarray], factor: int) -> dict[str, np.ndarray]:
    return inputs | {"embeddings": inputs["embeddings"] * np.float32(factor)}


@pytest.mark.parametrize("component", COMPONENTS)
def test_outputs_are_those_of_the_spec_at_any_size(load: Loader, component: str) -> None:
    if not load.reads(component):
        with pytest.raises(InputError, match=f"^{component}: "):
            load(component)
        return
    session = load(component)
    for batch, rows, past in ((1, 1, 0), (3, 4, 0), (2, 3, 6)):
        found = session.run(
            inputs_of(session, batch=batch, rows=rows, past=past, attended=past + rows, length=rows)
        )
        assert list(found) == [spec.name for spec in session.spec.outputs]
        assert all(
            array.shape[1 if name in ("keys", "values") else 0] == batch
            for name, array in found.items()
        )


@pytest.mark.parametrize("component", COMPONENTS)
def test_numbers_are_those_of_the_reference(
    load: Loader, tiny_checkpoint: Path, component: str
) -> None:
    if not load.reads(component):
        return  # see above
    session = load(component)
    expected = run_reference(
        runtime("torch").load(component, tiny_checkpoint, session.spec), inputs_of(session)
    )
    for name, found in session.run(inputs_of(session)).items():
        np.testing.assert_allclose(found, expected[name], rtol=1e-3, atol=2e-4)


def test_only_the_outputs_asked_for_come_back(load: Loader) -> None:
    session = load("backbone")
    assert list(session.run(inputs_of(session), {"hidden"})) == ["hidden"]


def test_a_later_run_leaves_earlier_outputs_alone(load: Loader) -> None:
    session = load("backbone")
    inputs = inputs_of(session)
    first = session.run(inputs)["hidden"]
    kept = first.copy()
    session.run(scaled(inputs, 2))
    np.testing.assert_array_equal(first, kept)


def test_threads_may_share_a_session(load: Loader) -> None:
    session = load("backbone")
    inputs = [scaled(inputs_of(session, rows=200, attended=200), scale) for scale in range(1, 9)]
    alone = [session.run(each)["hidden"] for each in inputs]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda each: session.run(each)["hidden"], inputs * 4))
    for found, expected in zip(together, alone * 4, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_inputs_need_not_be_contiguous(load: Loader) -> None:
    session = load("backbone")
    inputs = inputs_of(session, batch=4)
    every_second = {
        name: array[:, ::2] if name.startswith("past") else array[::2]
        for name, array in inputs.items()
    }
    copied = {name: array.copy() for name, array in every_second.items()}
    np.testing.assert_array_equal(
        session.run(every_second)["hidden"], session.run(copied)["hidden"]
    )


def part(
    inputs: dict[str, np.ndarray], first: int, last: int, batch: slice = slice(None)
) -> dict[str, np.ndarray]:
    """The rows of `step`, from `first` to before `last`."""
    return {
        name: inputs[name][batch, first:last]
        for name in ("embeddings", "positions", "attention_mask")
    }


def expected_of(load: Loader, inputs: dict[str, np.ndarray], again: list[int]) -> np.ndarray:
    """In PyTorch: all rows in one forward, then these again against the keys and values of all
    others."""
    model = graph_specs(Checkpoint.open(load.model).config)["backbone"]
    reference = runtime("torch").load("backbone", load.model, model)
    nothing = {
        name: example(spec, np.random.default_rng(0))
        for name, spec in ((s.name, s) for s in model.inputs)
    }
    whole = reference.run({**nothing, **inputs})
    kept = np.setdiff1d(np.arange(inputs["positions"].shape[1]), again)
    past = {
        "past_keys": whole["keys"][:, :, :, kept],
        "past_values": whole["values"][:, :, :, kept],
    }
    rows = {
        "embeddings": inputs["embeddings"][:, again],
        "positions": inputs["positions"][:, again],
    }
    return reference.run({**rows, **past, "attention_mask": inputs["attention_mask"]})["hidden"]


def test_a_state_keeps_rows_until_it_is_trimmed_or_reset(load: Loader) -> None:
    session = load("backbone")
    inputs, state = inputs_of(session, rows=9, attended=9), session.state(2, 12)
    close = {"rtol": 1e-3, "atol": 2e-4}
    whole = session.step(part(inputs, 0, 9), state)["hidden"]
    np.testing.assert_allclose(whole, session.run(inputs, {"hidden"})["hidden"], **close)
    assert (state.filled == (np.arange(12) < 9)).all()
    # in the place of those that were kept
    again = session.step(part(inputs, 6, 9), state)["hidden"]
    np.testing.assert_allclose(again, expected_of(load, part(inputs, 0, 9), [6, 7, 8]), **close)
    state.trim(6)
    assert (state.filled == (np.arange(12) < 6)).all()
    np.testing.assert_allclose(session.step(part(inputs, 6, 9), state)["hidden"], again, **close)
    state.reset()
    assert not state.filled.any()
    np.testing.assert_allclose(session.step(part(inputs, 0, 9), state)["hidden"], whole, **close)


def test_a_states_sequences_are_each_their_own(load: Loader) -> None:
    session = load("backbone")
    inputs, state = inputs_of(session, rows=9, attended=9), session.state(3, 9)
    session.step(part(inputs, 0, 9), state, np.array([2, 0]))
    state.trim(6, np.array([2]))
    assert state.filled.sum(axis=1).tolist() == [9, 0, 6]
    # what the others keep is nothing to it
    session.step(part(inputs, 0, 9, slice(1, 2)), state, np.array([1]))
    found = session.step(part(inputs, 6, 9), state, np.array([2, 0]))["hidden"]
    np.testing.assert_allclose(
        found, expected_of(load, part(inputs, 0, 9), [6, 7, 8]), rtol=1e-3, atol=2e-4
    )


def test_a_state_says_how_much_it_holds(load: Loader) -> None:
    session = load("backbone")
    one, two = session.state(1, 300), session.state(2, 300)
    # keys and values, layers, kv_heads, positions, head_dim, float32
    assert one.nbytes >= 2 * 2 * 2 * 300 * 12 * 4
    assert two.nbytes == 2 * one.nbytes


def test_rows_between_others_are_computed_or_refused(load: Loader) -> None:
    session = load("backbone")
    inputs, state = inputs_of(session, rows=9, attended=9), session.state(2, 9)
    session.step(part(inputs, 0, 9), state)
    if not state.any_rows:
        with pytest.raises(
            UsageError, match=r"^backbone: positions 2 to 3 of a sequence of which 9 are kept"
        ):
            session.step(part(inputs, 2, 4), state)
        return
    found = session.step(part(inputs, 2, 4), state)["hidden"]
    np.testing.assert_allclose(
        found, expected_of(load, part(inputs, 0, 9), [2, 3]), rtol=1e-3, atol=2e-4
    )


def test_rows_that_a_state_has_no_room_for_are_refused(load: Loader) -> None:
    session = load("backbone")
    inputs, state = inputs_of(session, rows=9, attended=9), session.state(2, 8)
    with pytest.raises(UsageError, match=r"^backbone: position 8, the state has room for 8$"):
        session.step(part(inputs, 0, 9), state)
    with pytest.raises(UsageError, match=r"^backbone: rows of 2 sequences, expected 1$"):
        session.step(part(inputs, 0, 4), state, np.array([0]))
    with pytest.raises(UsageError, match=r"^backbone: input positions is missing$"):
        session.step(
            {name: array for name, array in part(inputs, 0, 4).items() if name != "positions"},
            state,
        )


def test_a_component_without_states_keeps_nothing(load: Loader) -> None:
    if load.reads("text_head"):
        with pytest.raises(
            UsageError, match=r"^text_head: keeps nothing from one call to the next$"
        ):
            load("text_head").state(1, 4)


def wrong_inputs(session: Session) -> list[tuple[dict[str, np.ndarray], str]]:
    good = inputs_of(session)
    rows, positions = good["embeddings"], good["positions"]
    return [
        (
            {name: array for name, array in good.items() if name != "positions"},
            "positions is missing",
        ),
        ({**good, "extra": rows}, "extra is unknown"),
        (
            {**good, "embeddings": rows.astype(np.float64)},
            "embeddings: dtype float64, expected float32",
        ),
        ({**good, "embeddings": rows[0]}, "embeddings: rank 2, expected 3"),
        ({**good, "embeddings": rows[:, :, :-1]}, "embeddings: axis 2 has size 47, expected 48"),
        (
            {**good, "positions": positions[:, :-1]},
            "positions: axis 1 (rows) has size 4, but another tensor has 5",
        ),
        (
            {**good, "embeddings": rows[:0]},
            "embeddings: axis 0 (batch) has size 0, expected 1 to 64",
        ),
    ]


@pytest.mark.parametrize("case", range(7))
def test_wrong_inputs_are_refused_at_the_door(load: Loader, case: int) -> None:
    session = load("backbone")
    inputs, sentence = wrong_inputs(session)[case]
    with pytest.raises(UsageError) as error:
        session.run(inputs)
    assert str(error.value) == f"backbone: input {sentence}"


def test_nan_names_the_component_and_the_place(load: Loader) -> None:
    component, wire, row = (
        ("text_head", "hidden", 3) if load.reads("text_head") else ("backbone", "embeddings", 0)
    )
    session = load(component)
    inputs = inputs_of(session)
    inputs[wire][1, 3, 0] = np.nan  # to which every row of a backbone attends
    with pytest.raises(
        NonFiniteError, match=rf"^{component}: output \w+ is nan at batch 1, rows {row}, axis 2: 0$"
    ):
        session.run(inputs)


def test_a_provider_that_is_not_here_is_refused(load: Loader) -> None:
    with pytest.raises(
        MissingRuntimeError, match=r"^backbone: provider 'AbacusExecutionProvider' is not "
    ):
        load("backbone", "AbacusExecutionProvider")


def test_the_provider_named_is_the_one_that_runs(load: Loader) -> None:
    provider = load("backbone").provider
    assert load("backbone", provider).provider == provider


def test_the_processor_stands_in_only_where_it_is_allowed_to(load: Loader) -> None:
    session = load("backbone", "AbacusExecutionProvider", Execution(allow_fallback=True))
    assert session.provider == load("backbone").provider != "AbacusExecutionProvider"


def test_arithmetic_that_a_runtime_has_not_is_refused(
    load: Loader, request: pytest.FixtureRequest
) -> None:
    computes = type(runtime(load.name)).COMPUTES
    if set(computes) == {"float32", "bfloat16", "float16"}:
        return  # it asks the device instead: see its own tests
    with pytest.raises(UsageError, match="computes in float32 here; float16 was asked for"):
        load("backbone", None, Execution(compute="float16"))


def test_a_cache_is_refused_where_nothing_is_compiled(
    load: Loader, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if type(runtime(load.name)).COMPILES:
        load("backbone", None, Execution(cache=tmp_path / "cache"))
        assert list((tmp_path / "cache").iterdir())
    else:
        with pytest.raises(UsageError, match="compiles nothing that could be kept"):
            load("backbone", None, Execution(cache=tmp_path / "cache"))


def test_a_file_that_is_no_model_is_refused(
    load: Loader, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    spec = load("backbone").spec
    name = load.name
    (tmp_path / "config.json").write_text("{}")
    broken = tmp_path / "text_head.onnx"  # nor a package
    broken.write_bytes(b"not a graph")
    with pytest.raises(InputError):
        runtime(name).load("backbone", tmp_path if name == "torch" else broken, spec)

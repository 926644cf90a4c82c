"""Core ML packages with enumerated counts of rows, and with keys and values as a state: PyTorch's
numbers and tokens."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

coremltools = pytest.importorskip("coremltools", reason="Core ML packages are made by coremltools")

from nextomni_edge.bundle import Bundle  # noqa: E402
from nextomni_edge.bundle.coreml_package import MODEL, read_blob, read_package  # noqa: E402
from nextomni_edge.cli.verbs.inspect import as_text, describe  # noqa: E402
from nextomni_edge.errors import InputError, UsageError  # noqa: E402
from nextomni_edge.export import CoreMlOptions, export_bundle  # noqa: E402
from nextomni_edge.generate.model import EdgeModel  # noqa: E402
from nextomni_edge.runtimes.base import runtime  # noqa: E402
from nextomni_edge.runtimes.coreml.interpreter import Interpreter  # noqa: E402
from nextomni_edge.runtimes.state import HostState  # noqa: E402
from nextomni_edge.tokens.chat import Kind  # noqa: E402
from tests.bundle.damage import manifest, record  # noqa: E402
from tests.generate.requests import ask, options, traced  # noqa: E402

ROWS = (8, 64)
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def forms(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles of the backbone: `rows`, enumerated (with two components more); `state`; `both`."""
    folder = tmp_path_factory.mktemp("forms")
    for name, others, given in (
        ("rows", ["text_head", "image_decoder"], CoreMlOptions(rows=ROWS)),
        ("state", [], CoreMlOptions(state=True)),
        ("both", [], CoreMlOptions(rows=ROWS, state=True)),
    ):
        export_bundle(
            tiny_checkpoint,
            folder / name,
            ["backbone", *others],
            target="coreml",
            coreml=given,
            verify="none",
        )
    return folder


@pytest.fixture(scope="module")
def reference(tiny_checkpoint: Path) -> EdgeModel:
    return EdgeModel.from_checkpoint(tiny_checkpoint)


def in_form(forms: Path, checkpoint: Path, name: str) -> EdgeModel:
    """The model in PyTorch, but for the backbone."""
    model = EdgeModel.from_checkpoint(checkpoint)
    model.sessions["backbone"] = EdgeModel.from_bundle(Bundle.open(forms / name)).session(
        "backbone"
    )
    return model


def interpreter(file: Path) -> Interpreter:
    return Interpreter(read_package(file), lambda blob: read_blob(file, blob))


def draw(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def backbone_inputs(batch: int, rows: int, past: int) -> dict[str, np.ndarray]:
    cache = draw(2, batch, 2, past, 12)
    return {
        "embeddings": draw(batch, rows, 48),
        "positions": np.tile(np.arange(past, past + rows), (batch, 1)),
        "attention_mask": np.ones((batch, past + rows), np.bool_), "past_keys": cache,
        "past_values": cache[::-1].copy(),
    }  # fmt: skip


def test_a_package_says_which_shapes_it_takes(forms: Path) -> None:
    bundle = Bundle.open(forms / "rows")
    shapes = {
        each.name: each.shapes for each in read_package(bundle.component_file("backbone")).inputs
    }
    assert shapes["embeddings"] == ((1, 8, 48), (1, 8, 48), (1, 64, 48), (1, 64, 48))
    assert shapes["attention_mask"] == ((1, 9), (1, 520), (1, 65), (1, 576))
    assert shapes["past_keys"] == ((2, 1, 2, 1, 12), (2, 1, 2, 512, 12)) * 2
    (hidden,) = read_package(bundle.component_file("text_head")).inputs
    assert hidden.shapes == ((1, 8, 48), (1, 64, 48))
    (codes,) = read_package(bundle.component_file("image_decoder")).inputs
    assert codes.bounds == ((1, 1), (4, 4), (3, 3)) and codes.shapes == ()


def test_inspect_tells_the_form(forms: Path) -> None:
    text = as_text(describe(Bundle.open(forms / "both")))
    assert (
        "    rows: 8, 64, others padded, one sequence at a time\n" in text
        and "keys and values: a state inside, float16\n" in text
    )


def test_padding_changes_nothing_to_the_last_bit(forms: Path) -> None:
    bundle = Bundle.open(forms / "rows")
    for component, past, kept in (("backbone", 1, 0), ("backbone", 512, 6), ("text_head", 0, 0)):
        program = interpreter(bundle.component_file(component))
        mask = np.concatenate([np.arange(past) < kept, np.arange(8) < 5])[None].astype(np.float32)
        rows, caches = draw(1, 8, 48), [draw(2, 1, 2, past, 12) for _ in range(2)]
        found = []
        for scale in (0.0, 1000.0):
            rows[:, 5:] = scale * draw(1, 3, 48)
            for cache in caches:
                cache[:, :, :, kept:] = scale * draw(2, 1, 2, past - kept, 12)
            inputs = {
                "embeddings": rows,
                "positions": np.arange(8, dtype=np.int32)[None],
                "attention_mask": mask,
                "past_keys": caches[0],
                "past_values": caches[1],
            }
            found.append(program.run(inputs if component == "backbone" else {"hidden": rows}))
        zeros, noise = found
        for name, array in zeros.items():
            axis = 3 if name in ("keys", "values") else 1
            assert np.array_equal(array.take(range(5), axis), noise[name].take(range(5), axis)), (
                component,
                name,
            )
            assert not np.array_equal(array, noise[name])


@pytest.mark.parametrize(("batch", "rows", "past"), [(1, 8, 0), (2, 5, 1), (3, 9, 6), (2, 64, 20)])
def test_padded_rows_are_pytorchs(
    forms: Path, reference: EdgeModel, batch: int, rows: int, past: int
) -> None:
    device, inputs = (
        EdgeModel.from_bundle(Bundle.open(forms / "rows")),
        backbone_inputs(batch, rows, past),
    )
    inputs["attention_mask"][0, : past // 2] = False
    found, expected = (model.session("backbone").run(inputs) for model in (device, reference))
    hidden = expected["hidden"]
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=2e-5)
    logits = [
        model.head("text", hidden, np.zeros((batch, rows, 1), np.int64))
        for model in (device, reference)
    ]
    np.testing.assert_allclose(*logits, rtol=1e-4, atol=2e-5)
    codes = RNG.integers(16, size=(batch, 4, 3))
    np.testing.assert_allclose(
        device.decode_image(codes), reference.decode_image(codes), rtol=1e-4, atol=2e-5
    )


@pytest.mark.parametrize("name", ["rows", "both"])
def test_more_rows_than_the_largest_count_are_refused(forms: Path, name: str) -> None:
    model = EdgeModel.from_bundle(Bundle.open(forms / name))
    with pytest.raises(
        UsageError,
        match=(
            r"^sequence of 65 positions: the model takes at most 64; give it less or ask for less$"
        ),
    ):
        model.backbone(draw(1, 65, 48))
    inputs = {
        key: array
        for key, array in backbone_inputs(1, 65, 0).items()
        if name == "rows" or not key.startswith("past")
    }
    with pytest.raises(
        UsageError,
        match=r"^backbone: input embeddings: axis 1 \(rows\) has size 65, expected 1 to 64$",
    ):
        model.session("backbone").run(inputs)


def rounded(model: EdgeModel, embeddings: np.ndarray) -> list[np.ndarray]:
    """All rows, then some of both sequences and of one, against what a state keeps: of arrays, in
    float16 between the calls."""
    state, positions, found = model.state(2, 12), np.tile(np.arange(9), (2, 1)), []
    for place, rows in (
        (slice(None), slice(0, 9)),
        (slice(None), slice(4, 7)),
        (slice(1, 2), [2, 8]),
    ):
        sequences = np.arange(2)[place]
        part = embeddings[place][:, rows] * (1 + len(found))
        found.append(
            model.attend(part, positions[place][:, rows], state=state, sequences=sequences)
        )
        if isinstance(state, HostState):
            for array in state.arrays.values():
                array[...] = array.astype(np.float16)
    return found


@pytest.mark.parametrize("name", ["state", "both"])
def test_a_state_keeps_what_arrays_keep_in_float16(
    forms: Path, reference: EdgeModel, name: str
) -> None:
    embeddings, model = draw(2, 9, 48), EdgeModel.from_bundle(Bundle.open(forms / name))
    for found, expected in zip(
        rounded(model, embeddings), rounded(reference, embeddings), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)
    mask = np.arange(9) < np.array([[9], [6]])
    # nothing kept: no state is seen, and 0 at padding
    alone = reference.backbone(embeddings, mask) * mask[..., None]
    np.testing.assert_allclose(model.backbone(embeddings, mask), alone, rtol=1e-4, atol=2e-5)


def test_a_state_is_of_all_positions_and_forgets_when_told(forms: Path) -> None:
    model = EdgeModel.from_bundle(Bundle.open(forms / "state"))
    state, embeddings, positions = model.state(2, 12), draw(2, 6, 48), np.tile(np.arange(6), (2, 1))
    # sequences, keys and values, layers, heads, positions, width, bytes
    assert state.nbytes == 2 * 2 * 2 * 2 * 512 * 12 * 2
    first = model.attend(embeddings, positions, state=state)
    after = model.attend(embeddings[:, 4:], positions[:, 4:], state=state)
    state.trim(4)
    assert np.array_equal(model.attend(embeddings[:, 4:], positions[:, 4:], state=state), after)
    state.reset()
    assert np.array_equal(model.attend(embeddings, positions, state=state), first)
    with pytest.raises(
        UsageError, match=r"^backbone: a state of 513 positions, its packages keep 512$"
    ):
        model.state(1, 513)


@pytest.mark.parametrize("cache", ["prefix", "revised"])
@pytest.mark.parametrize("kind", ["text", "image"])
@pytest.mark.parametrize("name", ["rows", "state", "both"])
def test_a_whole_generation_has_pytorchs_tokens(
    forms: Path, tiny_checkpoint: Path, reference: EdgeModel, name: str, kind: Kind, cache: str
) -> None:
    model, given = (
        in_form(forms, tiny_checkpoint, name),
        options(reference, kind, kv_cache=cache, guidance=1.0),
    )
    expected, _ = traced(reference, ask(reference, kind), given)
    found, meter = traced(model, ask(model, kind), given)
    assert meter.rows_reused > 0
    for ours, theirs in zip(found, expected, strict=True):
        assert all(np.array_equal(own, other) for own, other in zip(ours, theirs, strict=True))


def test_a_state_in_float16_arithmetic(
    tiny_checkpoint: Path, reference: EdgeModel, tmp_path: Path
) -> None:
    given = CoreMlOptions(state=True)
    export_bundle(
        tiny_checkpoint,
        tmp_path / "b",
        ["backbone"],
        "float16",
        target="coreml",
        coreml=given,
        verify="none",
    )
    embeddings, model = draw(2, 9, 48), EdgeModel.from_bundle(Bundle.open(tmp_path / "b"))
    for found, expected in zip(
        rounded(model, embeddings), rounded(reference, embeddings), strict=True
    ):
        assert 1e-5 < np.abs(found - expected).max() < 2e-2


def test_apples_library_is_given_enumerated_shapes_and_one_state(
    forms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a double: not run here."""
    seen: list[Any] = []

    class Model:
        def __init__(self, path: str, compute_units: str) -> None:
            pass

        def make_state(self) -> object:
            return object()

        def predict(self, given: dict[str, np.ndarray], state: object) -> dict[str, np.ndarray]:
            seen.append(
                ({name: array.shape for name, array in given.items()}, given["held"], state)
            )
            return {"hidden": given["embeddings"]}

    library = SimpleNamespace(models=SimpleNamespace(MLModel=Model), ComputeUnit={"ALL": "ALL"})
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setitem(sys.modules, "coremltools", library)
    bundle = Bundle.open(forms / "both")
    session = runtime("coreml").load(
        "backbone", bundle.component_file("backbone"), bundle.spec("backbone"), "ALL"
    )
    state, mask = session.state(1, 20), np.ones((1, 3), np.bool_)
    for first in (0, 4):
        session.step(
            {
                "embeddings": draw(1, 3, 48),
                "positions": np.arange(first, first + 3)[None],
                "attention_mask": mask,
            },
            state,
        )
    assert [shapes["attention_mask"] for shapes, _, _ in seen] == [(1, 1 + 8), (1, 512 + 8)]
    assert (
        all(shapes["embeddings"] == (1, 8, 48) for shapes, _, _ in seen)
        and seen[0][2] is seen[1][2]
    )
    assert (
        seen[1][1][4:7].tolist() == [512, 513, 514]
        and (np.delete(seen[1][1], range(4, 7)) < 512).all()
    )


def first_shape(description: Any) -> Any:
    return description.input[0].type.multiArrayType.enumeratedShapes.shapes[0].shape


def test_packages_of_another_form_are_refused(forms: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(forms / "both", tmp_path / "copy"))
    manifest(lambda data: data["components"]["backbone"].update(keeps=False))(copy)
    with pytest.raises(InputError, match="a state inside, the manifest says otherwise"):
        Bundle.open(copy)
    manifest(lambda data: data["components"]["backbone"].update(keeps=True))(copy)
    changes: list[tuple[Any, str]] = [
        (lambda found: first_shape(found).__setitem__(1, 9), "shapes"),
        (lambda found: first_shape(found).__setitem__(1, -5), "which the model does not support"),
        (lambda found: first_shape(found).__setitem__(0, 2), "shapes"),
        (
            lambda found: found.state[0].type.stateType.arrayType.shape.__setitem__(3, 4096),
            "states",
        ),
        (lambda found: found.ClearField("state"), "no state inside"),
    ]
    file = copy / "backbone.mlpackage" / MODEL
    whole = file.read_bytes()
    for change, sentence in changes:
        model = coremltools.proto.Model_pb2.Model.FromString(whole)
        change(model.description)
        file.write_bytes(model.SerializeToString())
        record(copy, f"backbone.mlpackage/{MODEL}")
        with pytest.raises(InputError, match=sentence):
            Bundle.open(copy)


@pytest.mark.parametrize("rows", [(0, 8), (64, 8), (8, 8), tuple(range(1, 70))])
def test_counts_that_are_none_are_refused(rows: tuple[int, ...]) -> None:
    with pytest.raises(
        UsageError,
        match=r"^rows \(.*expected at most 64 counts, each over the one before, such as 32,64,256$",
    ):
        CoreMlOptions(rows=rows)


def test_more_rows_than_the_model_has_are_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"^rows 600: backbone takes at most 512; enumerate no more$"
    ):
        export_bundle(
            tiny_checkpoint,
            tmp_path / "b",
            ["backbone"],
            target="coreml",
            coreml=CoreMlOptions(rows=(8, 600)),
        )
    assert not (tmp_path / "b").exists()

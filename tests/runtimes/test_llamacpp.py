"""What is llama.cpp's own: one piece per sequence, room that grows, order of rows, and other
libraries in its process."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("llama_cpp", reason="llama.cpp is compiled by `make test-slow` alone")

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import GateError, InputError, UsageError
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.runtimes.base import Execution, Session, runtime

Inputs = dict[str, np.ndarray]


@pytest.fixture
def session(tiny_gguf_bundle: Path) -> Session:
    bundle = Bundle.open(tiny_gguf_bundle, verify_hashes=False)
    return runtime("llamacpp").load(
        "backbone", bundle.component_file("backbone"), bundle.spec("backbone")
    )


def rows(lengths: list[int], first: int = 0) -> Inputs:
    longest, rng = max(lengths), np.random.default_rng(0)
    return {
        "embeddings": rng.standard_normal((len(lengths), longest, 48)).astype(np.float32),
        "positions": np.tile(np.arange(first, first + longest), (len(lengths), 1)),
        "attention_mask": np.arange(longest) < np.array(lengths)[:, None],
    }


def test_what_shares_a_batch_changes_nothing(session: Session) -> None:
    inputs = rows([5, 9, 3])
    together = session.run(inputs)["hidden"]
    for index, length in enumerate([5, 9, 3]):
        alone = session.run(
            {name: array[index : index + 1, :length] for name, array in inputs.items()}
        )["hidden"]
        np.testing.assert_array_equal(together[index, :length], alone[0])
        assert not together[index, length:].any()


def test_every_row_attends_to_those_behind_it(session: Session) -> None:
    inputs = rows([6])
    before = session.run(inputs)["hidden"]
    inputs["embeddings"][0, 5] += 1.0
    assert np.abs(session.run(inputs)["hidden"][0, 0] - before[0, 0]).max() > 1e-4


def test_positions_count_from_one_another_alone(session: Session) -> None:
    here, later = (session.run(rows([7], first))["hidden"] for first in (0, 100))
    np.testing.assert_allclose(here, later, atol=1e-4)


def test_room_grows_with_the_sequences(session: Session) -> None:
    short = session.run(rows([4]))["hidden"]
    assert session.run(rows([300]))["hidden"].shape == (1, 300, 48)
    np.testing.assert_allclose(session.run(rows([4]))["hidden"], short, atol=1e-6)


def test_rows_that_nothing_attends_to_stand_at_the_end(session: Session) -> None:
    inputs = rows([4])
    inputs["attention_mask"][0, 1] = False
    with pytest.raises(
        UsageError, match=r"^backbone: rows that nothing attends to stand between others"
    ):
        session.run(inputs)


def test_positions_follow_one_another(session: Session) -> None:
    inputs = rows([4])
    inputs["positions"][0, 2:] += 1
    with pytest.raises(UsageError, match=r"^backbone: positions do not follow one another"):
        session.run(inputs)


def test_other_weights_sizes_are_refused(tiny_gguf_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_gguf_bundle, verify_hashes=False)
    with pytest.raises(InputError, match=r"^backbone: llama.cpp cannot load "):
        (tmp_path / "b.gguf").write_bytes(bundle.component_file("backbone").read_bytes()[:-4096])
        runtime("llamacpp").load("backbone", tmp_path / "b.gguf", bundle.spec("backbone"))


def test_the_library_gives_its_memory_back_in_order(tiny_gguf_bundle: Path) -> None:
    bundle = Bundle.open(tiny_gguf_bundle, verify_hashes=False)
    for _ in range(2):  # what is left of the first must not be in the second's way
        own = runtime("llamacpp").load(
            "backbone", bundle.component_file("backbone"), bundle.spec("backbone")
        )
        assert np.isfinite(own.run(rows([4]))["hidden"]).all()
        gone = weakref.ref(own)
        del own
        gc.collect()
        assert gone() is None


def test_another_runtime_runs_beside_it_in_one_process(
    tiny_gguf_bundle: Path, tiny_bundle: Path
) -> None:
    pytest.importorskip("openvino", reason="another library with threads of its own in the process")
    model = EdgeModel.from_bundle(Bundle.open(tiny_gguf_bundle), Execution("openvino"))
    other = EdgeModel.from_bundle(Bundle.open(tiny_bundle))
    embeddings = np.random.default_rng(0).standard_normal((2, 9, 48)).astype(np.float32)
    for _ in range(3):
        found, expected = (
            each.head("text", each.backbone(embeddings), np.zeros((2, 9, 1), np.int64))
            for each in (model, other)
        )
        np.testing.assert_allclose(found, expected, atol=1e-3)
    assert type(model.session("backbone")).__module__.endswith("llamacpp")
    assert type(model.session("text_head")).__module__.endswith("openvino")


def test_sequences_of_one_call_give_what_each_gives_alone(session: Session) -> None:
    inputs = rows([9] * 5)
    together = session.run(inputs)["hidden"]
    for index in range(5):
        alone = session.run({name: array[index : index + 1] for name, array in inputs.items()})[
            "hidden"
        ]
        np.testing.assert_allclose(together[index], alone[0], atol=1e-6)


def test_more_rows_than_a_call_takes_are_several_calls(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = rows([9] * 5)
    together = session.run(inputs)["hidden"]
    monkeypatch.setattr("nextomni_edge.runtimes.llamacpp.TOGETHER", 20)
    np.testing.assert_allclose(session.run(inputs)["hidden"], together, atol=1e-6)


def test_a_step_in_lockstep_is_held_against_pytorch(
    session: Session, tiny_checkpoint: Path
) -> None:
    from nextomni_edge.checkpoints.directory import Checkpoint
    from nextomni_edge.graphs import graph_specs
    from nextomni_edge.verify.gguf_reference import RuntimeInLockstep

    spec = graph_specs(Checkpoint.open(tiny_checkpoint).config)["backbone"]
    pair = RuntimeInLockstep(
        runtime("torch").load("backbone", tiny_checkpoint, spec), session, "float32"
    )
    state, inputs = pair.state(2, 9), rows([9, 7])
    whole = pair.step(inputs, state)["hidden"]
    np.testing.assert_array_equal(whole, session.run(inputs)["hidden"])
    state.trim(5)
    last = {name: array[:, 5:] for name, array in inputs.items()}
    pair.step(last, state)
    assert state.nbytes == session.state(2, 9).nbytes and not state.any_rows
    state.kept.reset()  # type: ignore[attr-defined]
    state.kept.filled[:, :5] = True  # type: ignore[attr-defined]  # what llama.cpp has forgotten, PyTorch still sees
    state.trim(5)
    with pytest.raises(GateError, match="backbone: hidden differs by"):
        pair.step(last, state)


@pytest.mark.parametrize(
    ("first", "count"), [(2, 3), (7, 2)], ids=["others behind them", "a gap before them"]
)
def test_rows_that_are_not_a_sequences_last_are_refused(
    session: Session, first: int, count: int
) -> None:
    state = session.state(1, 16)
    session.step(rows([6]), state)
    with pytest.raises(
        UsageError,
        match=(
            rf"^backbone: positions {first} to {first + count - 1} of a sequence of which 6 are"
            r" kept"
        ),
    ):
        session.step(rows([count], first), state)
    np.testing.assert_array_equal(state.filled.sum(axis=1), [6])

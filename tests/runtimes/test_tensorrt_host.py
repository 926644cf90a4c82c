"""What TensorRT's runtime decides on the host, against an engine's description as a builder
recorded it. No GPU and no library: numpy stands for the device, so this checks bindings, shapes,
states and refusals, and is no run of an engine."""

from __future__ import annotations

import ctypes
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextomni_edge.errors import InputError, MissingRuntimeError, UsageError
from nextomni_edge.graphs import graph_specs
from nextomni_edge.runtimes.base import Session, runtime
from nextomni_edge.runtimes.tensorrt import cuda
from nextomni_edge.runtimes.tensorrt import runtime as tensorrt
from nextomni_edge.runtimes.tensorrt.device import Buffer, Copy
from nextomni_edge.runtimes.tensorrt.engine import (
    Description,
    check_interface,
    find_engine,
    parse_description,
    read_engine,
    write_engine,
)
from nextomni_edge.runtimes.tensorrt.profile import Limits, outside, profile
from nextomni_edge.runtimes.tensorrt.runtime import TensorRtSession
from nextomni_edge.spec import GraphSpec
from tests.tiny import tiny_config

# tensorrt-rtx 1.7.1, sm89, the tests' tiny model
RECORDED = Path(__file__).parent / "data" / "backbone.engine.json"


@pytest.fixture
def description() -> Description:
    return parse_description(json.loads(RECORDED.read_text(encoding="utf-8")))


@pytest.fixture
def spec() -> GraphSpec:
    return graph_specs(tiny_config())["backbone"]


class Memory:
    """A device of numpy's memory; a captured graph is a list of what to do."""

    stream = 7

    def __init__(self) -> None:
        self.blocks: dict[int, Any] = {}
        self.graphs: dict[int, list[Any]] = {}
        self.capturing: list[Any] | None = None
        self.launched = self.up = self.down = 0

    def enter(self) -> None: ...

    def synchronise(self) -> None: ...

    def allocate(self, nbytes: int) -> int:
        block = np.full(max(nbytes, 1), 255, np.uint8)  # NaN in float32
        self.blocks[block.ctypes.data] = block
        return int(block.ctypes.data)

    def free(self, address: int) -> None:
        del self.blocks[address]

    def clear(self, address: int, nbytes: int) -> None:
        ctypes.memset(address, 0, nbytes)

    def upload(self, address: int, host: int, nbytes: int) -> None:
        self.up += nbytes
        ctypes.memmove(address, host, nbytes)

    def download(self, host: int, address: int, nbytes: int) -> None:
        self.down += nbytes
        ctypes.memmove(host, address, nbytes)

    def copy_rows(self, copy: Copy) -> None:
        for row in range(copy.height):
            ctypes.memmove(
                copy.target + row * copy.target_pitch,
                copy.source + row * copy.source_pitch,
                copy.width,
            )

    def begin_capture(self) -> None:
        self.capturing = []

    def end_capture(self) -> int:
        assert self.capturing is not None
        self.graphs[len(self.graphs) + 1], self.capturing = self.capturing, None
        return len(self.graphs)

    def launch(self, graph: int) -> None:
        self.launched += 1
        for action in self.graphs[graph]:
            action()

    def forget(self, graph: int) -> None:
        del self.graphs[graph]


class Context:
    """Stands for the library's: writes 2·embeddings to `hidden`, the sum of the attended past to
    its first value, and each row's own embedding's first values to keys and values."""

    def __init__(self, device: Memory, spec: GraphSpec) -> None:
        self.device, self.spec = device, spec
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.direct = 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def view(self, name: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.frombuffer(
            (ctypes.c_ubyte * size).from_address(self.addresses[name]), dtype
        ).reshape(shape)

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == self.device.stream
        if self.device.capturing is not None:
            self.device.capturing.append(self.forward)
        else:
            self.direct += 1
            self.forward()
        return True

    def forward(self) -> None:
        given = {
            tensor.name: self.view(tensor.name, self.shapes[tensor.name], tensor.dtype)
            for tensor in self.spec.inputs
        }
        rows = given["embeddings"].shape[1]
        hidden = self.view("hidden", given["embeddings"].shape, "float32")
        hidden[:] = 2 * given["embeddings"]
        past = given["past_keys"]
        seen = given["attention_mask"][:, : past.shape[3]]
        hidden[:, :, 0] = (past[0, :, 0, :, 0] * seen).sum(axis=1)[:, None]
        for name in ("keys", "values"):
            own = self.view(name, (*past.shape[:3], rows, past.shape[4]), "float32")
            own[:] = given["embeddings"][None, :, None, :, : past.shape[4]]


@pytest.fixture
def session(spec: GraphSpec, description: Description) -> TensorRtSession:
    device = Memory()
    return TensorRtSession(spec, description, Context(device, spec), device, "cuda:0")


def inputs_of(
    spec: GraphSpec, batch: int = 2, rows: int = 3, past: int = 0
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    sizes = {"batch": batch, "rows": rows, "past": past, "attended": past + rows}
    made = {
        tensor.name: rng.standard_normal(tensor.shape(sizes)).astype(tensor.dtype)
        for tensor in spec.inputs
    }
    return made | {"attention_mask": np.ones((batch, past + rows), np.bool_)}


def test_the_recorded_engine_is_the_specs(description: Description, spec: GraphSpec) -> None:
    check_interface(description, spec)
    assert description.ranges == profile(spec, Limits(batch=4))
    assert (
        sum(description.layers.values()) > 10
        and description.weight_bytes
        and description.activation_bytes
    )


def test_an_engine_of_other_tensors_is_refused(description: Description, spec: GraphSpec) -> None:
    other = dataclasses.replace(description, tensors=description.tensors[:-1])
    with pytest.raises(InputError, match=r"^backbone: the engine has outputs .* expected "):
        check_interface(other, spec)


def test_a_profile_covers_the_spec_and_its_columns_agree(spec: GraphSpec) -> None:
    ranges = profile(spec, Limits(batch=6, rows=8))
    assert (
        ranges["embeddings"].max[:2] == (6, 8)
        and ranges["past_keys"].min[3] == 0
        and ranges["past_keys"].max[3] == 8
    )
    for place in ("opt", "max"):
        shapes = {name: getattr(range_, place) for name, range_ in ranges.items()}
        assert shapes["attention_mask"][1] == shapes["embeddings"][1] + shapes["past_keys"][3]
    assert (
        outside(ranges, {"embeddings": (6, 9, 48)})
        == "embeddings: axis 1 has size 9, the engine takes 1 to 8"
    )


@pytest.mark.parametrize("limits", [Limits(batch=65), Limits(rows=10**6)])
def test_limits_outside_the_spec_are_refused(spec: GraphSpec, limits: Limits) -> None:
    with pytest.raises(
        UsageError, match=r"^backbone: at most \d+ of \w+ was asked for, expected 1 to "
    ):
        profile(spec, limits)


def test_outputs_come_back_in_the_shapes_of_the_inputs(
    session: TensorRtSession, spec: GraphSpec
) -> None:
    for batch, rows, past in ((2, 3, 0), (1, 1, 2), (4, 5, 1)):
        given = inputs_of(spec, batch, rows, past)
        found = session.run(given)
        np.testing.assert_array_equal(found["hidden"][..., 1:], 2 * given["embeddings"][..., 1:])
        assert found["keys"].shape[1:4:2] == (batch, rows)


def test_shapes_that_stay_are_captured_once_and_launched(
    session: TensorRtSession, spec: GraphSpec
) -> None:
    given = inputs_of(spec)
    results = [
        session.run({**given, "embeddings": given["embeddings"] * scale})["hidden"]
        for scale in (1, 2, 3, 4)
    ]
    for scale, found in enumerate(results, 1):
        np.testing.assert_allclose(
            found[..., 1:], 2 * scale * given["embeddings"][..., 1:], rtol=1e-6
        )
    assert session.context.direct == 1 and session.device.launched == 3


def test_another_shape_forgets_the_graph(session: TensorRtSession, spec: GraphSpec) -> None:
    for rows in (3, 3, 4, 3, 3):
        session.run(inputs_of(spec, rows=rows))
    assert (
        session.context.direct == 3
        and session.device.launched == 2
        and len(session.device.graphs) == 1
    )


def test_what_an_engine_does_not_take_is_refused_with_what_to_do(
    session: TensorRtSession, spec: GraphSpec
) -> None:
    with pytest.raises(
        UsageError,
        match=(
            r"^backbone: embeddings: axis 0 has size 5, the engine takes 1 to 4; compile it again"
        ),
    ):
        session.run(inputs_of(spec, batch=5))


def rows_of(spec: GraphSpec, positions: list[list[int]], seed: int = 0) -> dict[str, np.ndarray]:
    """What `step` takes; a position of −1 is padding."""
    places, rng = np.array(positions, np.int64), np.random.default_rng(seed)
    embeddings = rng.standard_normal((*places.shape, spec.inputs[0].dims[2])).astype(np.float32)
    return {
        "embeddings": embeddings,
        "positions": np.maximum(places, 0),
        "attention_mask": places >= 0,
    }


class Plain(Session):
    """The same arithmetic as `Context`'s, with keys and values in numpy's memory, as sessions of a
    processor have them."""

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> dict[str, np.ndarray]:
        past, rows = inputs["past_keys"], inputs["embeddings"]
        hidden = 2 * rows
        seen = inputs["attention_mask"][:, : past.shape[3]]
        hidden[:, :, 0] = (past[0, :, 0, :, 0] * seen).sum(axis=1)[:, None]
        layers, _, heads, _, width = past.shape
        own = np.broadcast_to(
            rows[None, :, None, :, :width], (layers, rows.shape[0], heads, rows.shape[1], width)
        )
        return {name: own.copy() if name != "hidden" else hidden for name in outputs}


STEPS: dict[str, list[tuple[list[int], list[list[int]]]]] = {
    "a prompt, then its response twice": [
        ([0, 1], [[0, 1, 2]] * 2),
        ([0, 1], [[3, 4, 5]] * 2),
        ([0, 1], [[3, 4, 5]] * 2),
    ],
    "rows here and there": [
        ([0, 1], [[0, 1, 2, 3, 4, 5]] * 2),
        ([0, 1], [[1, 4, 5]] * 2),
        ([0, 1], [[5, 0]] * 2),
    ],
    "other rows of each": [
        ([0, 1], [[0, 1, 2, 3], [2, 3, 4, -1]]),
        ([0, 1], [[3, -1], [0, 5]]),
        ([0, 1], [[0, 1], [4, 5]]),
    ],
    "one sequence, then the other": [
        ([1], [[0, 1, 2, 3]]),
        ([0], [[2, 3]]),
        ([1, 0], [[2, 4], [0, 5]]),
        ([1], [[5]]),
    ],
}


@pytest.mark.parametrize("name", STEPS)
def test_what_is_kept_on_the_device_is_what_a_processor_keeps(
    session: TensorRtSession, spec: GraphSpec, name: str
) -> None:
    plain = Plain(spec, "numpy")
    kept, expected = session.state(2, 6), plain.state(2, 6)
    for seed, (sequences, positions) in enumerate(STEPS[name]):
        given, chosen = rows_of(spec, positions, seed), np.array(sequences)
        found = session.step(given, kept, chosen)["hidden"]
        np.testing.assert_allclose(
            found, plain.step(given, expected, chosen)["hidden"], rtol=1e-5, atol=1e-5
        )
        np.testing.assert_array_equal(kept.filled, expected.filled)
    assert kept.nbytes == expected.nbytes


def test_no_key_and_no_value_crosses_to_the_host(session: TensorRtSession, spec: GraphSpec) -> None:
    state, device = session.state(2, 6), session.device
    for positions in ([[0, 1, 2]] * 2, [[3, 4, 5]] * 2, [[3, 4, 5]] * 2):
        given = rows_of(spec, positions)
        device.up = device.down = 0
        found = session.step(given, state)
        assert found.keys() == {"hidden"} and device.down == found["hidden"].nbytes
        columns = 0 if positions[0][0] == 0 else 6
        # of the mask
        assert device.up == sum(array.nbytes for array in given.values()) + 2 * columns


def test_a_step_of_the_same_rows_is_captured_once_and_launched(
    session: TensorRtSession, spec: GraphSpec
) -> None:
    state = session.state(2, 6)
    session.step(rows_of(spec, [[0, 1, 2]] * 2), state)
    for _ in range(4):
        session.step(rows_of(spec, [[3, 4, 5]] * 2), state)
    assert session.context.direct == 2 and session.device.launched == 3


def test_a_state_is_trimmed_and_reset(session: TensorRtSession, spec: GraphSpec) -> None:
    state = session.state(2, 6)
    given = rows_of(spec, [[0, 1, 2]] * 2)
    session.step(given, state)
    state.trim(1, np.array([1]))
    assert state.filled.sum(axis=1).tolist() == [3, 1]
    state.reset()
    assert not state.filled.any() and (session.step(given, state)["hidden"][:, :, 0] == 0).all()


def test_a_row_computed_anew_does_not_see_what_it_was(
    session: TensorRtSession, spec: GraphSpec
) -> None:
    state, given = session.state(2, 3), rows_of(spec, [[0, 1, 2]] * 2)
    session.step(given, state)
    assert (session.step(given, state)["hidden"][:, :, 0] == 0).all()


def test_memory_is_given_back(session: TensorRtSession) -> None:
    before = len(session.device.blocks)
    state = session.state(2, 6)
    assert len(session.device.blocks) == before + 2
    del state
    assert len(session.device.blocks) == before
    buffer = Buffer(session.device)
    buffer.reserve(10)
    address = buffer.address
    buffer.reserve(5)
    assert buffer.address == address and buffer.capacity == 10


def test_an_engine_file_is_read_back_or_refused(description: Description, tmp_path: Path) -> None:
    file = write_engine(tmp_path, description, b"plan")
    found, plan = read_engine(file)
    assert found == description and bytes(plan) == b"plan"
    content = bytearray(file.read_bytes())
    for damaged in (content[:-1], b"", bytes([content[0] ^ 1]) + content[1:], content[:50]):
        file.write_bytes(damaged)
        with pytest.raises(
            InputError, match="not a whole engine file; remove it and compile again"
        ):
            read_engine(file)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("content", "0" * 64),
        ("version", "9.9"),
        ("capability", "sm120"),
        ("library", "tensorrt"),
        ("compute", "float16"),
    ],
)
def test_an_engine_that_belongs_elsewhere_is_refused_with_the_command(
    description: Description, tmp_path: Path, part: str, value: str
) -> None:
    write_engine(tmp_path, description, b"plan")
    find_engine(tmp_path, "backbone", description.identity)
    with pytest.raises(
        MissingRuntimeError,
        match=r"found backbone-.*build it: nextomni-edge compile BUNDLE --cache ",
    ):
        find_engine(
            tmp_path, "backbone", dataclasses.replace(description.identity, **{part: value})
        )


def test_no_library_is_told_with_the_command_of_the_platform(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tensorrt, "LIBRARIES", ("no_such_tensorrt",))
    for machine, command in (
        ("x86_64", r"pip install 'nextomni-edge\[tensorrt\]'"),
        ("aarch64", "sudo apt-get install python3-libnv"),
    ):
        monkeypatch.setattr(tensorrt.platform, "machine", lambda machine=machine: machine)
        with pytest.raises(MissingRuntimeError, match=f"install it with: {command}") as error:
            runtime("tensorrt")
        assert error.value.exit_code == 5


def test_no_driver_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "LIBRARY", "libno_such_cuda.so.1")
    with pytest.raises(
        MissingRuntimeError, match=r"^no NVIDIA driver here .*ubuntu-drivers install"
    ):
        cuda.devices()
    assert tensorrt.here() is None
    with pytest.raises(MissingRuntimeError, match="--capability sm89"):
        tensorrt.this_capability()

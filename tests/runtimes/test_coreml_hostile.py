"""Programs of strangers in the interpreter: each is refused with one sentence, within a second and
without its memory."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from nextomni_edge.errors import InputError
from nextomni_edge.formats.mil import Constant, MilProgram, Operation
from nextomni_edge.runtimes.coreml.interpreter import Interpreter

pytestmark = pytest.mark.usefixtures("within_bounds")
X = np.ones((2, 3), np.float32)
TEXTS = ("mode", "pad_type")  # operands that are texts; other texts are names of values


def held(value: Any) -> Constant:
    if isinstance(value, str):
        return Constant("string", (), value)
    array = np.asarray(value)
    dtype = {"i": "int32", "f": "float32", "b": "bool"}[array.dtype.kind]
    return Constant(dtype, array.shape, array.astype(dtype))


def step(kind: str, out: str = "y", **inputs: Any) -> Operation:
    given = {
        key: tuple(
            each if isinstance(each, str) and key not in TEXTS else held(each)
            for each in (value if isinstance(value, list) else [value])
        )
        for key, value in inputs.items()
    }
    return Operation(kind, given, ((out, "float32"),), {})


def doubled(times: int) -> list[Operation]:
    names = ["x", *(f"v{index}" for index in range(times))]
    return [
        step("concat", after, values=[before, before], axis=0, interleave=False)
        for before, after in itertools.pairwise(names)
    ]


BIG = np.ones((1, 2**14), np.float32)
LONG = np.ones((1, 1, 2**15), np.float32)
STORED = "bytes of values"
PROGRAMS: dict[str, tuple[list[Operation], str]] = {
    "tiles of terabytes": ([step("tile", x="x", reps=[[2**20, 2**20]])], STORED),
    "a range without end": ([step("range_1d", start=0, end=2**31 - 1, step=1)], STORED),
    "a range in no steps": ([step("range_1d", start=0, end=5, step=0)], "cannot be computed"),
    "a range of tiny steps": ([step("range_1d", start=0.0, end=1.0, step=1e-30)], STORED),
    "a padding of gigabytes": (
        [step("pad", x="x", pad=[[0, 2**30]], mode="constant", constant_val=0.0)], STORED
    ),
    "a padding below none": (
        [step("pad", x="x", pad=[[-1, 0]], mode="constant", constant_val=0.0)], "pad"
    ),
    "rows times columns": (
        [step("add", x=BIG, y=BIG.T)], f"1073741824 {STORED}, at most 268435552 are computed"
    ),
    "a product of long vectors": (
        [step("matmul", x=BIG.T, y=BIG, transpose_x=False, transpose_y=False)], STORED
    ),
    "a choice of rows and columns": ([step("select", cond=True, a=BIG, b=BIG.T)], STORED),
    "a gain wider than its rows": (
        [step("layer_norm", x=BIG.T, axes=[[1]], gamma=BIG[0], beta=BIG[0], epsilon=1e-5)], STORED
    ),
    "values doubled again and again": (doubled(40), STORED),
    "a stack of one value": ([step("stack", values=[BIG] * 9000, axis=0)], STORED),
    "many rows gathered": (
        [step("gather", x=BIG, indices=np.zeros(2**13, int), axis=0, batch_dims=0,
              validate_indices=False)], STORED
    ),
    "an index that is not there": (
        [step("gather", x="x", indices=[[7]], axis=0, batch_dims=0, validate_indices=False)],
        "cannot be computed",
    ),
    "an axis that is not there": (
        [step("gather", x="x", indices=[[0]], axis=9, batch_dims=0, validate_indices=False)],
        "cannot be computed",
    ),
    "a picture enlarged to terabytes": (
        [step("upsample_nearest_neighbor", x=X[None, None], scale_factor_height=2.0**20,
              scale_factor_width=2.0**20)], STORED
    ),
    "a picture enlarged NaN times": (
        [step("upsample_nearest_neighbor", x=X[None, None], scale_factor_height=np.nan,
              scale_factor_width=1.0)], "cannot be computed"
    ),
    "half a time": (
        [step("upsample_nearest_neighbor", x=X[None, None], scale_factor_height=1.5,
              scale_factor_width=1.0)], "option scale_factor is 1.5"
    ),
    "windows of gigabytes": (
        [step("conv", x=LONG, weight=LONG, strides=[[1]], pad_type="custom",
              pad=[[2**14, 2**14]], dilations=[[1]], groups=1)], STORED
    ),
    "a stride of gigabytes": (
        [step("conv_transpose", x=X[None], weight=np.ones((2, 1, 1), np.float32), strides=[[2**30]],
              pad_type="valid", pad=[[0, 0]], dilations=[[1]], groups=1)], STORED
    ),
    "a shape of other values": ([step("reshape", x="x", shape=[[7]])], "cannot be computed"),
    "an operand missing": ([step("add", x="x")], "cannot be computed"),
    "an operand too many": ([step("add", x="x", y="x", z="x")], "cannot be computed"),
    "a value that nothing computes": ([step("add", x="x", y="nothing")], "cannot be computed"),
    "a value read before it is computed": (
        [step("add", "y", x="z", y="x"), step("add", "z", x="x", y="x")], "cannot be computed"
    ),
    "axes that do not go together": (
        [step("add", x="x", y=np.ones(5, np.float32))], "cannot be computed"
    ),
    "parts that are not there": (
        [step("split", x="x", split_sizes=[[1, 1, 1]], axis=1)], "cannot be computed"
    ),
    "a result that nothing computes": ([step("add", "z", x="x", y="x")], "result 'y' is not"),
    "an escape in a name": ([step("add", "z", x="x", y="\x1b[2J")], "cannot be computed"),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_that_cannot_or_must_not_be_computed_is_refused(name: str) -> None:
    steps, error = PROGRAMS[name]
    if name.startswith("values doubled"):
        steps = [*steps, step("concat", values=["v39"], axis=0, interleave=False)]
    program = MilProgram((), (), tuple(steps), ("y",))
    with pytest.raises(InputError) as raised:
        Interpreter(program, lambda blob: np.zeros(0)).run({"x": X})
    assert error in str(raised.value) and "\x1b" not in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_many_values_of_the_largest_size_are_too_many_together() -> None:
    """A value is held until its last use."""
    names = [f"v{index}" for index in range(12)]
    steps = [step("tile", name, x="x", reps=[[2**9, 2**14]]) for name in names]
    steps.append(step("concat", values=names, axis=0, interleave=False))
    program = MilProgram((), (), tuple(steps), ("y",))
    with pytest.raises(InputError, match="bytes of values at once"):
        Interpreter(program, lambda blob: np.zeros(0)).run({"x": X})

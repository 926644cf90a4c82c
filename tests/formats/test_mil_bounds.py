"""Sizes of a Core ML program that no exporter writes."""

from __future__ import annotations

import pytest

from nextomni_edge.bundle.coreml_package import OPERATORS as ALLOWED
from nextomni_edge.errors import InputError
from nextomni_edge.formats.mil import _tensor_type
from nextomni_edge.formats.protobuf import Budget, Message
from nextomni_edge.runtimes.coreml.operators import OPERATORS

pytestmark = pytest.mark.usefixtures("within_bounds")


def message(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


def tensor_type(*dims: bytes) -> Message:
    tensor = b"\x08\x0b" + b"".join(message(3, message(1, b"\x08" + dim)) for dim in dims)
    return Message(memoryview(message(1, tensor)))


def test_a_tensor_type_is_read() -> None:
    assert _tensor_type(tensor_type(b"\x02", b"\x03")) == ("float32", (2, 3))


@pytest.mark.parametrize("dims", [(b"\x01",) * 9, (b"\x01",) * 20, (b"\xff" * 9 + b"\x01",)])
def test_a_rank_or_a_size_beyond_any_is_refused(dims: tuple[bytes, ...]) -> None:
    with pytest.raises(InputError) as raised:
        _tensor_type(tensor_type(*dims))
    assert str(raised.value) == f"a value of rank {len(dims)}, expected at most 8 sizes"


def test_what_the_interpreter_runs_is_allowed() -> None:
    assert OPERATORS.keys() <= ALLOWED


def test_a_file_s_messages_share_one_budget() -> None:
    data = memoryview(b"".join(message(1, b"\x08\x00" * 20) for _ in range(3)))
    parts = Message(data, Budget(60)).parts(1)
    assert len([next(parts) for _ in range(2)]) == 2
    with pytest.raises(InputError, match="more than 60 fields, the most that are read"):
        next(parts)

"""The backbone of a GGUF file in PyTorch: the file's own numbers, widened to float32."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.manifest import Arithmetic
from nextomni_edge.errors import GateError, MissingRuntimeError
from nextomni_edge.formats.gguf import GgufTensor, gguf_name, read_gguf
from nextomni_edge.formats.regular import open_regular
from nextomni_edge.models.components import Component, components
from nextomni_edge.models.networks import Model
from nextomni_edge.runtimes.base import READERS, Array, Session, runtime
from nextomni_edge.runtimes.state import Ids, State
from nextomni_edge.runtimes.torch import TorchSession
from nextomni_edge.spec import ComponentName, Precision, Wire
from nextomni_edge.verify.comparison import error, limit, within

# ‖Ŵ − W‖ / ‖W‖ that rounding to a format makes at the most, doubled: beyond it, the file holds
# another model.
FARTHEST: Final[dict[Precision, float]] = {
    "float32": 0.0, "float16": 1e-3, "q8_0": 0.02, "q6_k": 0.06, "q4_k_m": 0.2, "q4_0": 0.25,
}  # fmt: skip


class _Pair(State):
    """The same sequences, once as PyTorch keeps them and once as the runtime does."""

    def __init__(self, checked: State, kept: State) -> None:
        super().__init__(*kept.filled.shape)
        self.checked, self.kept, self.any_rows = checked, kept, kept.any_rows

    @property
    def nbytes(self) -> int:
        return self.kept.nbytes

    def trim(self, length: int, sequences: Ids | None = None) -> None:
        super().trim(length, sequences)
        self.checked.trim(length, sequences)
        self.kept.trim(length, sequences)


class RuntimeInLockstep(Session):
    """For whole generations: PyTorch (`checked`) computes each call too, and the runtime's outputs
    are passed on, so that the two never part over a rounding. GateError: they differ by more than
    the limit of the arithmetic."""

    def __init__(self, checked: Session, runtime: Session, arithmetic: Arithmetic) -> None:
        super().__init__(runtime.spec, checked.provider)
        self._checked, self._runtime, self._arithmetic = checked, runtime, arithmetic

    def _run(self, inputs: Mapping[str, Array], outputs: list[str]) -> dict[str, Array]:
        return self._compared(
            run_reference(self._checked, inputs), self._runtime.run(inputs, outputs), outputs
        )

    def state(self, batch: int, columns: int) -> State:
        return _Pair(self._checked.state(batch, columns), self._runtime.state(batch, columns))

    def _step(self, inputs: Mapping[str, Array], state: _Pair, sequences: Ids) -> dict[str, Array]:
        expected = (
            self._checked.step(inputs, state.checked, sequences)[Wire.HIDDEN]
            * inputs[Wire.ATTENTION_MASK][..., None]
        )
        return self._compared(
            {Wire.HIDDEN: expected},
            self._runtime.step(inputs, state.kept, sequences),
            [Wire.HIDDEN],
        )

    def _compared(
        self, expected: Mapping[str, Array], found: dict[str, Array], outputs: list[str]
    ) -> dict[str, Array]:
        allowed = limit(self.spec.name, self._arithmetic)
        for name in outputs:
            if not within(measured := error(found[name], expected[name]), allowed):
                raise GateError(
                    f"{self.spec.name}: {name} differs by {measured:.3g} of its scale,"
                    f" {allowed:.0e} is allowed"
                )
        return found


def run_reference(session: Session, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs, also for inputs without states. Then there is no past, and hidden states are 0 at
    padding."""
    missing = [
        tensor
        for tensor in session.spec.inputs
        if tensor.name not in inputs and tensor.name in dict(session.spec.states)
    ]
    if not missing:
        return session.run(inputs)
    mask = inputs[Wire.ATTENTION_MASK]
    nothing = {
        tensor.name: np.zeros(tensor.shape({"batch": len(mask), "past": 0}), np.float32)
        for tensor in missing
    }
    return {
        Wire.HIDDEN: (
            session.run({**inputs, **nothing}, [Wire.HIDDEN])[Wire.HIDDEN] * mask[..., None]
        )
    }


def gguf_sessions(model: Model, bundle: Bundle) -> dict[str, tuple[Session, Session]]:
    """The backbone's sessions, where llama.cpp holds it in less than float32: PyTorch with the
    file's numbers, and the two in lockstep."""
    record = bundle.manifest.components.get(ComponentName.BACKBONE)
    if record is None or record.format != "gguf" or record.precision == "float32":
        return {}
    file = bundle.component_file(ComponentName.BACKBONE)
    component = widened(components(model)[ComponentName.BACKBONE], file, record.precision)
    loaded = runtime(READERS["gguf"][0]).load(component.name, file, bundle.spec(component.name))
    alone = TorchSession(component)
    return {component.name: (alone, RuntimeInLockstep(alone, loaded, record.arithmetic))}


def widened(component: Component, file: Path, precision: Precision) -> Component:
    """The component with the file's weights. GateError: they are not the component's, rounded."""
    module, tensors = copy.deepcopy(component.module), read_gguf(file).tensors
    with torch.no_grad():
        for name, weight in module.named_parameters():
            found = torch.tensor(_values(file, tensors[gguf_name(name)])).reshape(weight.shape)
            away = float(
                torch.linalg.norm((found - weight).double())
                / torch.linalg.norm(weight.double()).clamp_min(1e-30)
            )
            if not within(away, FARTHEST[precision]):
                raise GateError(
                    f"{file}: {gguf_name(name)} is {away:.3g} of the model's weight away, at most"
                    f" {FARTHEST[precision]} is {precision}'s rounding; it was made of another"
                    " model"
                )
            weight.copy_(found)
    return dataclasses.replace(component, module=module)


def _values(file: Path, tensor: GgufTensor) -> Array:
    with open_regular(file) as opened:
        data = np.memmap(opened, np.uint8, "r", tensor.offset, (tensor.nbytes,))
    if tensor.type in ("F32", "F16"):
        return np.asarray(data.view("<f4" if tensor.type == "F32" else "<f2"), np.float32)
    try:
        import gguf
    except ImportError as error:
        raise MissingRuntimeError(
            f"{error}; install it with: pip install 'nextomni-edge[gguf]'"
        ) from error
    return np.asarray(
        gguf.dequantize(data.reshape(tensor.shape[0], -1), gguf.GGMLQuantizationType[tensor.type]),
        np.float32,
    )

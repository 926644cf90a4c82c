"""A quantised bundle's layers in PyTorch: the bundle's own integers, dequantised, and inputs
rounded by the runtime's formulas."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nextomni_edge.bundle import Bundle, Decision
from nextomni_edge.bundle.quantised import SMOOTHING, dequantise, read_parts, stored_layers
from nextomni_edge.errors import GateError, InputError, MissingRuntimeError
from nextomni_edge.formats import float8
from nextomni_edge.models.components import Component, components
from nextomni_edge.models.networks import Model
from nextomni_edge.runtimes.base import Array, Execution, Session
from nextomni_edge.runtimes.torch import TorchSession
from nextomni_edge.verify.comparison import LIMIT, error, limit, rounds_itself, within
from nextomni_edge.verify.components import INPUT_OF, OUTPUT_OF
from nextomni_edge.verify.coreml_weights import package_weights

Float = NDArray[np.float32]
Rounding = Callable[[Float], Float]

PRODUCTS: Final = (F.linear, F.conv1d, F.conv2d)
# how far a layer's error may be from the one recorded, relative: it is summed in another order
SAME_ERROR: Final = 1e-3
HALF_STEP: Final = 2.0**-11  # the most that rounding to float16 moves a number, relative


@dataclass(frozen=True)
class RoundedLayer:
    """A layer whose input is rounded, and of a static convolution the (scale, zero point) of its
    output."""

    name: str
    rounding: Rounding
    output: tuple[float, ...] | None


class FakeQuantisedSession(TorchSession):
    """`module` has the dequantised weights.

    Where inputs are rounded, a second session over the bundle's graph gives its layers' inputs (see
    recorder.py). Each is compared with PyTorch's own value, and replaces it. Without such a session
    (a runtime that `rounds_itself`) PyTorch rounds its own values. GateError: a layer's input
    differs by more than float32's rounding explains.
    """

    def __init__(
        self, component: Component, inputs: RoundedInputs, runtime: Session | None
    ) -> None:
        super().__init__(component)
        self.module, self.inputs, self.runtime = component.module, inputs, runtime

    def _run(self, inputs: Mapping[str, Array], outputs: list[str]) -> dict[str, Array]:
        if self.runtime is not None:
            self.inputs.recorded = self.runtime.run(inputs)
        with self.inputs:
            return super()._run(inputs, outputs)


class LockstepSession(Session):
    """For whole generations: PyTorch computes each call too, and the runtime's outputs are passed
    on, so that the two never part over the last bit of a value. GateError: an output differs by
    more than its limit."""

    def __init__(self, checked: FakeQuantisedSession) -> None:
        super().__init__(checked.spec, checked.provider)
        self._checked = checked

    def _run(self, inputs: Mapping[str, Array], outputs: list[str]) -> dict[str, Array]:
        expected, allowed = self._checked.run(inputs, outputs), limit(self.spec.name)
        if self._checked.runtime is None:
            return expected
        found = self._checked.inputs.recorded
        for name in outputs:
            measured = error(found[name], expected[name])
            if not within(measured, allowed):
                raise GateError(
                    f"{self.spec.name}: {name} differs by {measured:.3g} of its scale,"
                    f" {allowed:.0e} is allowed"
                )
        return {name: found[name] for name in outputs}


class RoundedInputs(TorchFunctionMode):
    """A context in which a linear function or a convolution with a quantised weight reads its
    `recorded` input, rounded. A convolution gives its recorded rounded output, where that is a
    rounding of the computed one."""

    def __init__(self, component: str, rounded: Mapping[int, RoundedLayer]) -> None:
        super().__init__()
        self._component, self._rounded = component, rounded  # by the id of the weight
        self.recorded: Mapping[str, Array] = {}
        self.largest = 0.0  # relative difference of an input so far

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        layer = self._rounded.get(id(args[1])) if func in PRODUCTS else None
        if layer is None:
            return func(*args, **(kwargs or {}))
        found = func(
            torch.tensor(layer.rounding(self._input(layer, args[0]))), *args[1:], **(kwargs or {})
        )
        return found if layer.output is None else self._output(layer, layer.output, found)

    def _input(self, layer: RoundedLayer, x: Tensor) -> Float:
        if not self.recorded:
            return x.numpy()
        found: Float = self.recorded[INPUT_OF + layer.name].reshape(tuple(x.shape))
        measured = error(found, x.numpy())
        self.largest = max(self.largest, measured)
        if not within(measured, LIMIT):
            raise GateError(
                f"{self._component}: the input of {layer.name} differs by {measured:.3g} of its"
                f" scale, {LIMIT:.0e} is allowed"
            )
        return found

    def _output(self, layer: RoundedLayer, activation: tuple[float, ...], y: Tensor) -> Tensor:
        """A value on the border of two integers may have gone to either."""
        scale, zero = activation
        if not self.recorded:
            return torch.tensor(round_static(y.numpy(), scale, zero))
        found: Float = self.recorded[OUTPUT_OF + layer.name].reshape(tuple(y.shape))
        inside = np.clip(y.numpy(), -zero * scale, (255 - zero) * scale)
        away = error(found, inside) - 0.5 * scale / max(1.0, np.abs(inside).max(initial=0.0))
        if not within(away, LIMIT) or not within(
            error(round_static(found, scale, zero), found), LIMIT
        ):
            raise GateError(
                f"{self._component}: the output of {layer.name} is no rounding of what PyTorch"
                " computed for it"
            )
        return torch.tensor(found)


def fake_quantised_sessions(
    model: Model, bundle: Bundle, execution: Execution | None = None
) -> dict[str, FakeQuantisedSession]:
    """A session for each component that the bundle has quantised. The model's own modules stay
    unchanged.

    GateError: the integers are not the model's (their error differs from the recorded one).
    InputError: their shapes do not fit.
    """
    quantised = {name for name, record in bundle.manifest.components.items() if record.quantisation}
    return {
        name: _session(component, bundle, execution)
        for name, component in components(model).items()
        if name in quantised
    }


def _session(
    component: Component, bundle: Bundle, execution: Execution | None
) -> FakeQuantisedSession:
    record = bundle.manifest.components[component.name]
    if not record.stored_as.onnx:
        return _weights_alone(component, bundle)
    module = copy.deepcopy(component.module)
    weights, stored = dict(module.named_parameters()), stored_layers(bundle.path / record.file)
    rounded, widths = dict[int, RoundedLayer](), dict[str, int]()
    for name, decision in record.quantisation.items():
        where = f"{bundle.path}: {component.name}/{name}"
        if name not in weights or name not in stored:
            raise InputError(
                f"{where}: listed as quantised, but the {'graph' if name in weights else 'model'}"
                " has no such weight"
            )
        parts = read_parts(bundle.path, stored[name])
        _replace(weights[name], decision, parts, where)
        if (rounding := _rounding(decision, parts)) is not None:
            rounded[id(weights[name])] = RoundedLayer(name, rounding, decision.output)
            widths[name] = 1 if decision.operator == "conv" else weights[name].shape[1]
    runtime = (
        _recorder(bundle, component.name, widths)
        if widths and not rounds_itself(record, execution)
        else None
    )
    return FakeQuantisedSession(
        dataclasses.replace(component, module=module),
        RoundedInputs(component.name, rounded),
        runtime,
    )


def _weights_alone(component: Component, bundle: Bundle) -> FakeQuantisedSession:
    """A Core ML package's own weights, with inputs that nothing rounds."""
    record = bundle.manifest.components[component.name]
    module, decisions = copy.deepcopy(component.module), record.quantisation
    weights = dict(module.named_parameters())
    stored = package_weights(bundle.component_file(component.name), decisions)
    for name, decision in decisions.items():
        where = f"{bundle.path}: {component.name}/{name}"
        if name not in weights or tuple(weights[name].shape) != stored[name].values.shape:
            raise InputError(
                f"{where}: the package's weight is {stored[name].values.shape}, the model has no"
                " such"
            )
        # the error is of the model's weight, which the reference has rounded as the package does
        room = HALF_STEP if record.precision == "float16" else 0.0
        _check_error(torch.tensor(stored[name].meant()), weights[name], decision, where, room)
        with torch.no_grad():
            weights[name].copy_(torch.tensor(stored[name].values))
    smooth(
        module,
        {name: layer.smoothing for name, layer in stored.items() if layer.smoothing is not None},
    )
    return FakeQuantisedSession(
        dataclasses.replace(component, module=module), RoundedInputs(component.name, {}), None
    )


def smooth(module: nn.Module, smoothing: Mapping[str, Array]) -> None:
    """Multiply the inputs of these weights' owners, as a quantised graph does. A buffer of each
    keeps the factors."""
    for weight, factor in smoothing.items():
        owner = module.get_submodule(weight.rpartition(".")[0])
        owner.register_buffer(SMOOTHING, torch.tensor(factor))
        owner.register_forward_pre_hook(
            lambda owner, given: (given[0] * owner.get_buffer(SMOOTHING), *given[1:])
        )


def _recorder(bundle: Bundle, component: str, widths: Mapping[str, int]) -> Session:
    try:
        # a bundle that is not quantised is verified without onnx-ir
        from nextomni_edge.verify.recorder import recorder
    except ImportError as missing:
        raise MissingRuntimeError(
            f"{missing}; install it with: pip install 'nextomni-edge[quantize]'"
        ) from missing
    return recorder(bundle, component, widths)


def _replace(
    weight: nn.Parameter, decision: Decision, parts: Mapping[str, Array], where: str
) -> None:
    try:
        found = torch.tensor(dequantise(decision, parts, tuple(weight.shape)))
        meant = found * torch.tensor(parts[SMOOTHING]) if SMOOTHING in parts else found
    except (ValueError, RuntimeError) as failure:
        raise InputError(
            f"{where}: the stored parts do not fit the weight's shape {tuple(weight.shape)}"
            f" ({failure})"
        ) from failure
    _check_error(meant, weight, decision, where)
    with torch.no_grad():
        weight.copy_(found)


def weight_error(meant: Tensor, weight: Tensor) -> float:
    """‖Ŵ − W‖ / ‖W‖ (Frobenius)."""
    with torch.no_grad():
        return float(
            torch.linalg.norm((meant - weight).double())
            / torch.linalg.norm(weight.double()).clamp_min(1e-30)
        )


def _check_error(
    meant: Tensor, weight: Tensor, decision: Decision, where: str, room: float = 0.0
) -> None:
    """GateError: the error is not the recorded one. `room`: how far `weight` itself may be from the
    weight that the recorded error is of, relative."""
    away = weight_error(meant, weight)
    allowed = SAME_ERROR * max(away, decision.weight_error) + room
    if not abs(away - decision.weight_error) <= allowed:
        raise GateError(
            f"{where}: the integers are {away:.3g} of the model's weight away,"
            f" {decision.weight_error:.3g} is recorded; they were made of another model"
        )


def _rounding(decision: Decision, parts: Mapping[str, Array]) -> Rounding | None:
    """What happens to a layer's input before its product; None: nothing."""
    if not decision.rounds_input:
        return None

    def rounded(x: Float) -> Float:
        x = x * parts[SMOOTHING] if SMOOTHING in parts else x
        if decision.scheme == "static":
            assert decision.activation is not None  # the manifest's check
            return round_static(x, *decision.activation)
        if decision.scheme == "float8":
            assert decision.activation is not None  # the manifest's check
            return round_float8(x, decision.activation[0])
        if decision.scheme == "per_tensor":
            return round_tensor(x)
        return round_blocks(x, decision.block_size) if decision.block_size else round_tokens(x)

    return rounded


# In numpy: PyTorch multiplies by a reciprocal where a division is written, and falls on the other
# side of some borders.
def round_tensor(x: Float) -> Float:
    """ONNX's DynamicQuantizeLinear and back: uint8 over the range of all values, 0 included."""
    low, high = np.minimum(x.min(), np.float32(0)), np.maximum(x.max(), np.float32(0))
    scale = (high - low) / np.float32(255) or np.float32(1)
    return _round(x, scale, np.rint(-low / scale))


def round_tokens(x: Float) -> Float:
    """Each row to int8, its largest magnitude becoming 127."""
    scale = np.maximum(np.abs(x).max(axis=-1, keepdims=True), np.float32(1e-30)) / np.float32(127)
    found: Float = np.rint(x / scale) * scale
    return found


def round_static(x: Float, scale: float, zero: float) -> Float:
    """ONNX's QuantizeLinear to uint8 and back."""
    return _round(x, np.float32(scale), np.float32(zero))


def round_float8(x: Float, scale: float) -> Float:
    """ONNX's QuantizeLinear to E4M3 and back."""
    found: Float = float8.rounded(x / np.float32(scale)) * np.float32(scale)
    return found


def round_blocks(x: Float, block_size: int) -> Float:
    """What MatMulNBits does at accuracy level 4: each row's blocks to int8, the largest magnitude
    becoming 127."""
    width = x.shape[-1]
    padded = np.pad(x, [*[(0, 0)] * (x.ndim - 1), (0, -width % block_size)])
    blocks = padded.reshape(*x.shape[:-1], -1, block_size)
    largest = np.abs(blocks).max(axis=-1, keepdims=True)
    inverse = np.divide(np.float32(127), largest, out=np.zeros_like(largest), where=largest > 0)
    rounded = np.rint(blocks * inverse) * (largest / np.float32(127))
    found: Float = rounded.reshape(padded.shape)[..., :width]
    return found


def _round(x: Float, scale: np.float32, zero: np.float32) -> Float:
    found: Float = (np.clip(np.rint(x / scale) + zero, 0, 255) - zero) * scale
    return found

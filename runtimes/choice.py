"""Which runtime is the fastest here for a bundle where a person names none: a rule that
benchmarks/runtime_speed.py measured."""

from __future__ import annotations

import importlib.util
import platform
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from nextomni_edge.runtimes.base import Execution
from nextomni_edge.spec import ComponentName

if TYPE_CHECKING:
    from nextomni_edge.bundle import Bundle

MEASURED_ON: Final = ("x86_64", "AMD64")


def with_fastest(bundle: Bundle, execution: Execution) -> Execution:
    """The execution, with the fastest runtime that is installed; its own where it asks for more
    than the default.

    OpenVINO multiplies a backbone's 4-bit blocks 1.7 times as fast as ONNX Runtime, which is the
    format's own and loads sooner: it stays in float32 (the two are within 4 %), static INT8 (5 to
    25 % slower) and dynamic INT8 (2.8 to 3 times as fast).
    """
    backbone = bundle.manifest.components.get(ComponentName.BACKBONE)
    if (
        execution != Execution()
        or backbone is None
        or backbone.format != "onnx"
        or platform.machine() not in MEASURED_ON
    ):
        return execution
    in_blocks = sum(decision.scheme == "blocks" for decision in backbone.quantisation.values())
    if 2 * in_blocks <= len(backbone.quantisation) or importlib.util.find_spec("openvino") is None:
        return execution
    return replace(execution, runtime="openvino")

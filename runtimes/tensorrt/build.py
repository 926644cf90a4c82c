"""Engines of TensorRT from a bundle's graphs: a strongly typed network, the spec's profile, and the
builder's report.

TensorRT for RTX builds an engine ahead of time for a named capability, without a GPU. JetPack's
library builds for the present GPU. None of this was executed here.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from nextomni_edge.bundle.graph_content import graph_content
from nextomni_edge.errors import InputError, MissingRuntimeError, UsageError
from nextomni_edge.files import atomic_write
from nextomni_edge.formats.regular import read_regular
from nextomni_edge.runtimes.base import Compute
from nextomni_edge.runtimes.tensorrt.engine import (
    Description,
    Tensor,
    capability_number,
    check_interface,
    content_key,
)
from nextomni_edge.runtimes.tensorrt.network import make_buildable, narrow
from nextomni_edge.runtimes.tensorrt.profile import Limits, Range, profile
from nextomni_edge.runtimes.tensorrt.runtime import errors_of, identity_of, library, log_to
from nextomni_edge.spec import GraphSpec

BFLOAT16_SINCE, FLOAT8_SINCE = 80, 89
TIMING_CACHE: Final = "timing.cache"
DTYPES: Final[dict[Compute, str]] = {"float16": "HALF", "bfloat16": "BF16"}
PRODUCT: Final = "gemm"  # a layer's type: a product of matrices
_DTYPE = re.compile(r"Datatype: (\w+)")
_LAYER = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<kind>[^,]*), Inputs: \[(?P<inputs>.*?)\], "
    r"(?:Constants: .*?)?"
    r"Outputs: \[(?P<outputs>.*?)\], (?:Tactic|Parameter|Stream)",
    re.M,
)
_BOUND = re.compile(
    r"^ ?Name: (?P<name>[^,]*), IOMode: Input.*?MinShape: \[(?P<min>[^\]]*)\], "
    r"OptShape: \[(?P<opt>[^\]]*)\], "
    r"MaxShape: \[(?P<max>[^\]]*)\]",
    re.M,
)


@dataclass(frozen=True)
class Asked:
    """The engines to build: their capability ("sm89"), arithmetic and sizes. Timings are kept in
    `folder`."""

    capability: str
    compute: Compute
    limits: Limits
    folder: Path


def capabilities(trt: ModuleType) -> list[str]:
    """The capabilities that this library builds for ahead of time; none where it builds for the
    present GPU."""
    members = getattr(getattr(trt, "ComputeCapability", None), "__members__", {})
    return sorted(
        (name.lower() for name in members if name.startswith("SM")), key=capability_number
    )


def check_capability(asked: Asked, here: str | None, float8: bool = False) -> None:
    """Check that the engines can be built. `here`: this machine's own capability, None without a
    GPU. `float8`: the graphs compute in FP8. UsageError, MissingRuntimeError: what is impossible,
    and why."""
    trt, number = library(), capability_number(asked.capability)
    known = capabilities(trt)
    if asked.capability != here and not known:
        raise MissingRuntimeError(
            f"{trt.__name__} {trt.__version__} builds for the GPU that is there ({here or 'none'}),"
            f" not for {asked.capability}: compile on that device"
        )
    if known and asked.capability not in known:
        orin = (
            "; only JetPack's TensorRT supports sm87 (Orin): nextomni-edge pack --for jetson, which"
            " compiles there"
        )
        raise UsageError(
            f"{trt.__name__} {trt.__version__} builds for {', '.join(known)}, not for"
            f" {asked.capability}{orin if asked.capability == 'sm87' else ''}"
        )
    if asked.compute == "bfloat16" and number < BFLOAT16_SINCE:
        raise UsageError(
            f"{asked.capability} has no bfloat16 (sm{BFLOAT16_SINCE} is the first that has); take"
            " float16 or float32"
        )
    if float8 and number < FLOAT8_SINCE:
        raise UsageError(
            f"{asked.capability} has no FP8 (sm{FLOAT8_SINCE} is the first that has); it has INT8"
            ' and weights of INT4: quantise with --config of {"kind": "int8-static", "symmetric":'
            " true}, or with --recipe int4-rtn"
        )


def build(
    component: str, file: Path, spec: GraphSpec, asked: Asked, graph: Path | None = None
) -> tuple[Description, Any]:
    """(description, plan) of one component. `graph`: another form of `file` with the same meaning
    that the library can read.

    InputError: the library cannot parse or build it, or the result differs from the spec.
    """
    trt, messages = library(), list[tuple[str, str]]()
    builder = trt.Builder(log_to(messages))
    network = _parsed(trt, builder, component, graph or file, messages)
    if asked.compute != "float32":
        narrow(trt, network, getattr(trt.DataType, DTYPES[asked.compute]))
    ranges = profile(spec, asked.limits)
    config = _config(trt, builder, ranges, asked)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise InputError(
            f"{component}: TensorRT builds no engine of {file} ({errors_of(messages)})"
        )
    if not capabilities(trt):
        _keep_timings(config, asked.folder / TIMING_CACHE)
    said = "\n".join(message for _, message in messages)
    _check_ranges(component, said, ranges)
    identity = identity_of(trt, content_key(graph_content(file)), asked.capability, asked.compute)
    kinds, dtypes, products = _layers(said)
    description = Description(
        component, identity, _tensors(trt, network), ranges, kinds, dtypes,
        _bytes(said, "Total Weights Memory"), _bytes(said, "Total Activation Memory"), products,
    )  # fmt: skip
    check_interface(description, spec)
    return description, plan


def _parsed(
    trt: ModuleType, builder: Any, component: str, file: Path, messages: list[tuple[str, str]]
) -> Any:
    """The graph as a strongly typed network: its types decide the arithmetic, not the builder."""
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log_to(messages))
    if not parser.parse_from_file(str(file)):
        reasons = [
            f"{error.node_operator()}: {error.desc()}"
            for error in map(parser.get_error, range(parser.num_errors))
        ]
        raise InputError(
            f"{component}: TensorRT cannot read {file.name} ({'; '.join(reasons)[:300]})"
        )
    make_buildable(trt, network)
    return network


def _config(trt: ModuleType, builder: Any, ranges: dict[str, Range], asked: Asked) -> Any:
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # float32 means float32: TF32 keeps 10 bits of each factor
    config.clear_flag(trt.BuilderFlag.TF32)
    shapes = builder.create_optimization_profile()
    for name, range_ in ranges.items():
        shapes.set_shape(name, range_.min, range_.opt, range_.max)
    if config.add_optimization_profile(shapes) < 0:
        raise InputError(f"TensorRT refuses the profile {ranges}")
    if capabilities(trt):
        config.num_compute_capabilities = 1
        config.set_compute_capability(
            trt.ComputeCapability.__members__[asked.capability.upper()], 0
        )
    else:  # ahead of time no kernel is timed
        kept = asked.folder / TIMING_CACHE
        config.set_timing_cache(
            config.create_timing_cache(read_regular(kept) if kept.is_file() else b""),
            ignore_mismatch=False,
        )
    return config


def _keep_timings(config: Any, file: Path) -> None:
    """Measured times of kernels, for the next build on this device."""
    with atomic_write(file) as out:
        out.write(bytes(config.get_timing_cache().serialize()))


def _tensors(trt: ModuleType, network: Any) -> tuple[Tensor, ...]:
    names = {
        trt.DataType.FLOAT: "float32",
        trt.DataType.HALF: "float16",
        trt.DataType.INT64: "int64",
        trt.DataType.BOOL: "bool",
    }
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    return tuple(
        Tensor(tensor.name, names.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape), given)
        for tensors, given in ((inputs, True), (outputs, False))
        for tensor in tensors
    )


def _check_ranges(component: str, said: str, ranges: dict[str, Range]) -> None:
    """InputError: the builder reports other shapes than those asked for."""
    for found in _BOUND.finditer(said):
        built = Range(
            *(
                tuple(int(size) for size in found[place].split(","))
                for place in ("min", "opt", "max")
            )
        )
        if built != ranges[found["name"]]:
            raise InputError(
                f"{component}: the engine takes {found['name']} as {built}, asked for was"
                f" {ranges[found['name']]}"
            )


def _layers(said: str) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """(layers by type, data types that layers write, data types that products read) from the list
    at the end of the builder's log."""
    kinds, dtypes, products = Counter[str](), Counter[str](), Counter[str]()
    for found in _LAYER.finditer(said):
        kinds[found["kind"]] += 1
        dtypes.update(set(_DTYPE.findall(found["outputs"])))
        products.update(set(_DTYPE.findall(found["inputs"])) if found["kind"] == PRODUCT else ())
    return dict(sorted(kinds.items())), dict(sorted(dtypes.items())), dict(sorted(products.items()))


def _bytes(said: str, what: str) -> int | None:
    found = re.findall(rf"{what}: (\d+) bytes", said)
    return int(found[-1]) if found else None

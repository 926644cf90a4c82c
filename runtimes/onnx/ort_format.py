"""Graphs in ONNX Runtime's own file format (ORT format), which its builds for phones load without
the ONNX library."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final

import onnxruntime

from nextomni_edge.errors import InputError
from nextomni_edge.runtimes.base import Array
from nextomni_edge.runtimes.onnx.runtime import CPU

ENDING: Final = ".ort"
# Folding would store a weight of float16 or int8 as the float32 that the graph widens it to.
WIDENS: Final = "ConstantFolding"


def convert(component: str, graph: Path, out: Path, folds: bool) -> None:
    """Write `graph`, an ONNX file with its external weights, as one file in ORT format. Weights
    keep their types. The library's optimisations that hold on every processor are applied.
    `folds`: constants are computed now, which may widen weights. InputError: the library cannot
    convert it.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # the level above binds weights to the layout of this machine's processor
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(out)
    options.add_session_config_entry("session.save_model_format", "ORT")
    try:
        onnxruntime.InferenceSession(
            str(graph),
            options,
            providers=[CPU],
            disabled_optimizers=[] if folds else [WIDENS],
        )
    except Exception as error:  # the library's exceptions share no base but Exception
        raise InputError(
            f"{component}: ONNX Runtime {onnxruntime.__version__} cannot write {graph} in ORT"
            f" format ({error})"
        ) from error


Run = Callable[[Mapping[str, Array], list[str]], list[Array]]


def load(component: str, file: Path) -> Run:
    """What runs a file in ORT format: (inputs, names of outputs) → outputs. InputError: the library
    cannot load it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # the exception says it
    try:
        session = onnxruntime.InferenceSession(file.read_bytes(), options, providers=[CPU])
    except Exception as error:  # the library's exceptions share no base but Exception
        raise InputError(
            f"{component}: ONNX Runtime {onnxruntime.__version__} cannot load it in ORT format"
            f" ({error})"
        ) from error

    def run(inputs: Mapping[str, Array], names: list[str]) -> list[Array]:
        return list(session.run(names, dict(inputs)))

    return run


def required_operators(files: Collection[Path], out: Path) -> None:
    """Write the list of operators and types that these files in ORT format use. ONNX Runtime's
    build script takes it as --include_ops_by_config."""
    root = logging.getLogger()
    handlers = list(root.handlers)
    from onnxruntime.tools.ort_format_model import create_config_from_models

    root.handlers[:] = handlers  # the import gives the root one, and its logger writes to it
    logging.getLogger("ort_format_model.utils").setLevel(logging.WARNING)
    create_config_from_models(sorted(files), out, True)
    lines = out.read_text(encoding="utf-8").splitlines()
    # its comments hold the paths of this machine
    kept = [line for line in lines if not line.startswith("#")]
    out.write_text("\n".join(kept) + "\n", encoding="utf-8")


def version() -> str:
    """The version of ONNX Runtime that converts."""
    return str(onnxruntime.__version__)

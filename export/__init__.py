"""Exporters: a model leaves PyTorch, one file per target.

The package is a call, too: `nextomni_edge.export("my-model", "my-bundle")`. It imports PyTorch at
that call, or where one of its names is used.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from nextomni_edge.extras import needs_extra
from nextomni_edge.files import StrPath

if TYPE_CHECKING:
    from nextomni_edge.export.bundle import Check, Progress, Target
    from nextomni_edge.export.bundle import CoreMlOptions as CoreMlOptions
    from nextomni_edge.export.bundle import ExportReport as ExportReport
    from nextomni_edge.export.bundle import export_bundle as export_bundle
    from nextomni_edge.spec import Precision

__all__ = ["CoreMlOptions", "ExportReport", "export_bundle"]


class ExportPackage(ModuleType):
    """The type of this package: a module that can be called."""

    def __call__(
        self,
        model: StrPath,
        out: StrPath,
        *,
        components: Collection[str] | None = None,
        precision: Precision = "float32",
        target: Target = "onnx",
        coreml: CoreMlOptions | None = None,
        verify: Check = "full",
        overwrite: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> ExportReport:
        """Export a model directory to a bundle, and hold the bundle against the model.

        components: their names; None means all. precision: of the weights as stored. target: the
        format of the graphs, "onnx", "coreml" or "gguf". verify: "full" compares with PyTorch and
        writes the golden trace; "golden" writes the trace unchecked; "none" does neither. progress:
        called with (what is being done, the share done).

        GateError: the bundle does not compute what the model computes. InputError: not a model
        directory. UsageError: `out` exists without `overwrite`. MissingRuntimeError: the extra
        `export` is not installed.
        """
        with needs_extra("export", "torch", "onnx", "onnxscript", "onnxruntime"):
            from nextomni_edge.export.bundle import export_bundle
        if target in ("coreml", "gguf"):
            with needs_extra(target):
                importlib.import_module(f"{__name__}.{target}")
        return export_bundle(
            Path(model), Path(out), components, precision, overwrite, dry_run, progress, verify,
            target, coreml,
        )  # fmt: skip


if not TYPE_CHECKING:  # or a checker would take every name for one of the package

    def __getattr__(name: str) -> object:
        if name in __all__:
            return getattr(importlib.import_module(f"{__name__}.bundle"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


sys.modules[__name__].__class__ = ExportPackage

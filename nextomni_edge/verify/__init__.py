"""Whether a bundle computes the same as its model: against PyTorch, and against the bundle's own
golden trace.

The package is a call, too: `nextomni_edge.verify("my-bundle")`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from nextomni_edge.extras import needs_extra
from nextomni_edge.files import StrPath
from nextomni_edge.runtimes.base import Compute, Execution
from nextomni_edge.verify.comparison import (
    LIMIT,
    TIE,
    ComponentResult,
    NearTie,
    Report,
    TaskResult,
    VerificationError,
)
from nextomni_edge.verify.replay import Progress, replay
from nextomni_edge.verify.verification import against_checkpoint, record, verify

__all__ = [
    "LIMIT", "TIE", "ComponentResult", "NearTie", "Report", "TaskResult", "VerificationError",
    "against_checkpoint", "record", "replay", "verify",
]  # fmt: skip


class VerifyPackage(ModuleType):
    """The type of this package: a module that can be called."""

    def __call__(
        self,
        bundle: StrPath,
        against: StrPath | None = None,
        *,
        runtime: str | None = None,
        device: str | None = None,
        compute: Compute = "float32",
        progress: Progress | None = None,
    ) -> Report:
        """Replay a bundle's golden trace on this machine, or hold the bundle against the model
        directory `against` in PyTorch.

        runtime, device, compute: as `nextomni_edge.load`'s. progress: called with (what is being
        done, the share done).

        VerificationError (a GateError): something differs, NaN included; its `report` says what.
        InputError: a file is not what the manifest says. MissingRuntimeError: the runtime, or with
        `against` PyTorch, is not installed.
        """
        execution = Execution(runtime, device, compute)
        if against is None:
            return verify(Path(bundle), None, execution, progress)
        with needs_extra("export", "torch"):
            return verify(Path(bundle), Path(against), execution, progress)


sys.modules[__name__].__class__ = VerifyPackage

"""Whether a bundle computes the same as its model: against PyTorch, and against the bundle's own
golden trace."""

from nextomni_edge.verify.comparison import (
    LIMIT,
    TIE,
    ComponentResult,
    NearTie,
    Report,
    TaskResult,
    VerificationError,
)
from nextomni_edge.verify.replay import replay
from nextomni_edge.verify.verification import against_checkpoint, record, verify

__all__ = [
    "LIMIT", "TIE", "ComponentResult", "NearTie", "Report", "TaskResult", "VerificationError",
    "against_checkpoint", "record", "replay", "verify",
]  # fmt: skip

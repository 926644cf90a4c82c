"""Whether a bundle computes what the model computes: against PyTorch, and against the golden trace
that the bundle carries."""

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

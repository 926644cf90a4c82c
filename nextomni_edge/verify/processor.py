"""A golden trace that another kind of processor recorded.

A library takes other integer kernels there. Their products are the same integers, but a float just
before a rounding may fall on the other side of it, so an integer component is held to a measured
tolerance (`comparison.INT8_LIMIT`, and `OTHER_PROCESSOR_TIE` for draws). A float32 component is
not: its tolerance stays.
"""

from __future__ import annotations

from nextomni_edge.bundle import Bundle
from nextomni_edge.runtimes.machine import integer_features
from nextomni_edge.verify.comparison import multiplies_integers
from nextomni_edge.verify.golden import GoldenTrace


def features(bundle: Bundle) -> tuple[str, ...]:
    """What a trace of this bundle keeps of this processor: nothing where no component multiplies
    integers."""
    components = bundle.manifest.components.values()
    return integer_features() if any(map(multiplies_integers, components)) else ()


def difference(bundle: Bundle, trace: GoldenTrace) -> str | None:
    """One line where the trace is of another kind of processor; None where it is of this kind,
    where no component multiplies integers, and where an older release recorded the trace."""
    here = features(bundle)
    if not trace.processor or not here or set(trace.processor) == set(here):
        return None
    return (
        "another kind of processor: integer kernels differ; the trace was recorded with"
        f" {' '.join(trace.processor)}, here are {' '.join(here)}"
    )

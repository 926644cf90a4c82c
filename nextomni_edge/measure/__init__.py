"""What a model would need on a device that is not here: bytes, whether they fit, and a bound on its
speed."""

from nextomni_edge.measure.devices import DEVICES, Device
from nextomni_edge.measure.estimate import (
    FORMULA,
    Estimate,
    Step,
    bundle_weights,
    config_weights,
    estimate,
)

__all__ = [
    "DEVICES",
    "FORMULA",
    "Device",
    "Estimate",
    "Step",
    "bundle_weights",
    "config_weights",
    "estimate",
]

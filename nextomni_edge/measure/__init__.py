"""What a model will take on a device, before it is there: bytes, whether they fit, and a bound on
its speed."""

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

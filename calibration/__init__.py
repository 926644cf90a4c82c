"""Quantised bundles whose cost is measured. Nothing here needs PyTorch: numpy, onnx-ir and a
runtime."""

from nextomni_edge.calibration.quantize import QuantReport, quantize

__all__ = ["QuantReport", "quantize"]

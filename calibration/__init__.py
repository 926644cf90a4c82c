"""Quantised bundles whose cost is measured. Nothing here needs PyTorch: numpy, onnx-ir and a runtime."""

"""Exporters: a model leaves PyTorch, one file per target."""

"""Exporters: a model leaves PyTorch, one file per target."""

from nextomni_edge.export.bundle import ExportReport, export_bundle

__all__ = ["ExportReport", "export_bundle"]

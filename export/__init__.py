"""Exporters: a model leaves PyTorch, one file per target."""

from nextomni_edge.export.bundle import CoreMlOptions, ExportReport, export_bundle

__all__ = ["CoreMlOptions", "ExportReport", "export_bundle"]

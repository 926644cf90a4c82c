"""A bundle: a directory that holds a model for a device, and its proof."""

from nextomni_edge.bundle.manifest import (
    ComponentRecord,
    Decision,
    FileRecord,
    Golden,
    Manifest,
    Provenance,
    Quantisation,
)
from nextomni_edge.bundle.measured import Measured
from nextomni_edge.bundle.reader import Bundle, bundle_identity
from nextomni_edge.bundle.writer import BundleWriter, write_measured

__all__ = [
    "Bundle", "BundleWriter", "ComponentRecord", "Decision", "FileRecord", "Golden", "Manifest",
    "Measured", "Provenance", "Quantisation", "bundle_identity", "write_measured",
]  # fmt: skip

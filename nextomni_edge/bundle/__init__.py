"""A bundle: a directory that holds a model for a device, and its proof."""

from nextomni_edge.bundle.manifest import ComponentRecord, FileRecord, Golden, Manifest, Provenance
from nextomni_edge.bundle.reader import Bundle
from nextomni_edge.bundle.writer import BundleWriter

__all__ = ["Bundle", "BundleWriter", "ComponentRecord", "FileRecord", "Golden", "Manifest", "Provenance"]

"""Whether a bundle's weights are what its graphs read, byte for byte: no orphan, no duplicate."""

from __future__ import annotations

from dataclasses import dataclass

from nextomni_edge.bundle.graph_check import regions
from nextomni_edge.bundle.reader import Bundle
from nextomni_edge.errors import UsageError


@dataclass(frozen=True)
class Account:
    """Bytes of the weight files; bytes that graphs reference, where shared content counts once; and
    bytes of the largest such file."""

    on_disk: int
    referenced: int
    largest_file: int

    @property
    def exact(self) -> bool:
        return self.on_disk == self.referenced


def account(bundle: Bundle) -> Account:
    """The weights of a bundle of ONNX graphs. UsageError: Core ML packages, which hold their
    own."""
    if any(not component.stored_as.onnx for component in bundle.manifest.components.values()):
        raise UsageError(
            f"{bundle.path}: Core ML packages hold their weights; only ONNX graphs reference files"
        )
    files, named = bundle.manifest.files, set(bundle.manifest.referenced())
    sizes = [record.size for name, record in files.items() if name not in named]
    read = {
        (files[location].sha256, start, stop)
        for name in bundle.manifest.components
        for location, start, stop in regions(bundle.component_file(name))
    }
    return Account(sum(sizes), _covered(read), max(sizes, default=0))


def _covered(read: set[tuple[str, int, int]]) -> int:
    """Bytes in the union of (content, start, stop)."""
    total, last, end = 0, "", 0
    for content, start, stop in sorted(read):
        end = end if content == last else 0
        total += max(0, stop - max(start, end))
        last, end = content, max(end, stop)
    return total

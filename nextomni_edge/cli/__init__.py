"""The command line: `nextomni-edge VERB`. Every command's module imports what it needs when it
runs, so that help is instant."""

from __future__ import annotations

from nextomni_edge.cli.root import main, root

__all__ = ["main", "root"]

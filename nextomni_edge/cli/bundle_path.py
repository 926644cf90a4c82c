"""The type of an argument that names a bundle: a place on this machine, or a repository of the
hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import click

from nextomni_edge.hub.reference import PREFIX


class BundlePath(click.Path):
    """A path. `hf:OWNER/NAME[@REVISION]` is fetched, and its place in the cache is the path."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        if isinstance(value, str) and value.startswith(PREFIX):
            from nextomni_edge.hub.download import located

            return located(value)
        return super().convert(value, param, ctx)


BUNDLE: Final = BundlePath(path_type=Path)

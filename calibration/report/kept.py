"""Results of long measurements that survive an interruption."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from nextomni_edge.errors import InputError
from nextomni_edge.files import atomic_write
from nextomni_edge.formats.strict_json import read_json

MAX_RESULT: Final = 64 * 2**20
SETTINGS: Final = "settings.json"
MEASURES: Final = "measures"


class Kept:
    """A folder with one file per result. A file's name holds everything that decides the result.
    Results of other settings are removed."""

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        self._folder, text = folder, json.dumps(settings, sort_keys=True)
        if (
            not (folder / SETTINGS).is_file()
            or (folder / SETTINGS).read_text(encoding="utf-8") != text
        ):
            for left in folder.iterdir():
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
            with atomic_write(folder / SETTINGS, "w") as file:
                file.write(text)
        (folder / MEASURES).mkdir(exist_ok=True)

    def __call__(self, name: str, key: Mapping[str, object], make: Callable[[], Any]) -> Any:
        """The JSON that an earlier run kept under this name and key, or else the new result of
        `make`."""
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        path = self._folder / MEASURES / f"{name}-{digest}.json"
        try:
            return read_json(path, MAX_RESULT)
        except InputError:  # not made yet, or damaged: made again
            result = make()
        with atomic_write(path, "w") as file:
            json.dump(result, file, allow_nan=False)
        return result


def remove_kept(folder: Path) -> None:
    """Remove the kept results, once everything is written."""
    shutil.rmtree(folder / MEASURES)
    (folder / SETTINGS).unlink()

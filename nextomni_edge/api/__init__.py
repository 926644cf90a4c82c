"""The front door: what a program needs of this package, over any bundle, without PyTorch.

Each name is imported on its first use, so that `import nextomni_edge` is instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from nextomni_edge.api.answer import Answer as Answer
    from nextomni_edge.api.chat import Chat as Chat
    from nextomni_edge.api.media import Audio as Audio
    from nextomni_edge.api.media import Image as Image
    from nextomni_edge.api.media import Video as Video
    from nextomni_edge.api.model import Model as Model
    from nextomni_edge.api.model import load as load
    from nextomni_edge.api.settings import Settings as Settings
    from nextomni_edge.api.step import Step as Step

HOMES: Final = {
    "load": "model",
    "Model": "model",
    "Answer": "answer",
    "Step": "step",
    "Chat": "chat",
    "Image": "media",
    "Audio": "media",
    "Video": "media",
    "Settings": "settings",
}

__all__ = [
    "Answer", "Audio", "Chat", "Image", "Model", "Settings", "Step", "Video", "load",
]  # fmt: skip


if not TYPE_CHECKING:  # or a checker would take every name for one of the package

    def __getattr__(name: str) -> object:
        if name not in HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

"""What is said in a conversation, before a template makes tokens of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from nextomni_edge.modalities.table import Kind


@dataclass(frozen=True)
class Part:
    """One piece of a turn: text, sub-codes (n,K) of an image or a clip, or (frames,n,K) of a video.
    An image of a masked model has its rows and columns (h,w,1). A given image may also hold
    continuous features (n,H), where the model reads those."""

    kind: Kind
    value: str | NDArray[Any]


@dataclass(frozen=True)
class Turn:
    role: Literal["user", "assistant"]
    parts: tuple[Part, ...]

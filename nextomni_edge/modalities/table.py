"""The table of all modalities. Adding one is its file and a line here."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from nextomni_edge.modalities.modality import Modality

_RECORDS = (
    "nextomni_edge.modalities.text:TEXT",
    "nextomni_edge.modalities.image:IMAGE",
    "nextomni_edge.modalities.audio:AUDIO",
    "nextomni_edge.modalities.video:VIDEO",
)


def _table() -> Mapping[str, Modality]:
    records: list[Modality] = [pkgutil.resolve_name(name) for name in _RECORDS]
    return MappingProxyType({record.name: record for record in records})


MODALITIES: Mapping[str, Modality] = _table()

if TYPE_CHECKING:
    Kind = str
else:  # what reads JSON refuses a name that is not in the table
    Kind = Literal[tuple(MODALITIES)]

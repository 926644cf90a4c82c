"""The quantisation configs of the shared variants, by name."""

from __future__ import annotations

import pytest

from nextomni_edge.calibration.recipes.config import Int4, QuantConfig, recipe

CONFIGS: dict[str, QuantConfig] = {
    "int8": recipe("int8-dynamic"),
    "int4": recipe("int4-rtn"),
    "int4-asymmetric": Int4(
        block_size=64, symmetric=False, table_bits=8, head_bits=32, skip=("audio_decoder",)
    ),
}
# the third form takes as long as the others
EACH = [
    "int8",
    "int4",
    pytest.param("int4-asymmetric", marks=pytest.mark.slow),
]

"""The quantisation configs of the shared variants, by name."""

from __future__ import annotations

from nextomni_edge.calibration.recipes.config import Int4, QuantConfig, recipe

CONFIGS: dict[str, QuantConfig] = {
    "int8": recipe("int8-dynamic"),
    "int4": recipe("int4-rtn"),
    "int4-asymmetric": Int4(
        block_size=64, symmetric=False, table_bits=8, head_bits=32, skip=("audio_decoder",)
    ),
}

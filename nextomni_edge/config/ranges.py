"""The range of every number of a config: what a file says is allocated, so it is bounded first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from nextomni_edge.errors import InputError

# The largest size that any model needs, and more: what a config says is allocated.
MOST: Final[Mapping[str, int]] = {
    "layers": 2**10, "query_heads": 2**12, "kv_heads": 2**12, "heads": 2**12,
    "hidden_size": 2**17, "mlp_size": 2**20, "width": 2**17, "channels": 2**14,
    "residual_blocks": 2**8, "max_positions": 2**22, "vocabulary_size": 2**22, "metric_dim": 2**16,
    "block_size": 2**16, "max_blocks": 2**16, "canvas": 2**20, "codebooks": 2**8, "entries": 2**20,
    "code_dim": 2**14, "size": 2**13, "drawn": 2**13, "patch": 2**12, "max_frames": 2**12,
    "sample_rate": 2**20, "tokens": 2**16, "n_fft": 2**16, "hop": 2**16,
    "mels": 2**12, "frames_per_token": 2**12, "steps": 2**16,
    "blocks": 2**10, "more_blocks": 2**10, "mlp_width": 2**20, "unit_blocks": 2**8,
    "middle_units": 2**8, "unit_heads": 2**10, "unit_head_width": 2**12, "kernel": 2**8,
    "harmonics": 2**8, "stack": 2**8, "every": 2**8, "pool": 2**8, "positions": 2**20,
    "query_rows": 2**16, "pitch_width": 2**14, "head_size": 2**12, "encoder_width": 2**14,
    "decoder_width": 2**17, "position_kernel": 2**10, "position_groups": 2**10,
    "unit_kernel": 2**8, "rate": 2**20,
}  # fmt: skip
# bytes of the largest array that a config asks for, whatever is generated
MAX_ARRAY: Final = 2**30
# where neither "1 to 2³⁰" nor "a positive number" is the answer
RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "logit_shift": (0, 1),
    **{name: (1, most) for name, most in MOST.items()},
    "c": (1e-30, 1e6),
    "a": (1e-30, 50),  # (t/(1−t))^a stays a number at every t of a grid
    "vocoder_iterations": (0, 10_000),
    "max_seconds": (0.001, 86_400),
    "temperature": (0, 1e6),
    "draw_temperature": (0, 1e6),
    "guidance": (0, 1e6),
    "null_token": (0, 2**30),
    "offset": (0, 2**30),
    "mask": (0, 2**30),
    "block": (0, 2**30),
    "top_k": (0, 2**30),
    "top_p": (1e-9, 1),
    "threshold": (0, 1),
    "opens": (0, 1),
    "queries": (0, 2**20),
    "shift": (-1e9, 1e9),
    "scale": (-1e9, 1e9),
    "noise_size": (0, 1e6),
    "voiced": (0, 1e6),
    "slope": (0, 1),
    "repeat_penalty": (1, 1e6),
    "position_penalty": (1, 1e6),
    "repeat_free": (0, 2**30),
    "codebook_penalty": (0, 1e6),
}


def check_numbers(part: Any, prefix: str) -> None:
    """Check that every size is at least 1 and small enough for products of sizes, and that every
    constant is in its meaningful range."""
    for f in dataclasses.fields(part):
        value = getattr(part, f.name)
        if isinstance(value, tuple):
            for index, item in enumerate(value):
                if dataclasses.is_dataclass(item):
                    check_numbers(item, f"{prefix}{f.name}[{index}].")
        elif dataclasses.is_dataclass(value):
            check_numbers(value, f"{prefix}{f.name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            low, high = RANGES.get(f.name, (1, 2**30) if isinstance(value, int) else (1e-30, 1e30))
            if not low <= value <= high:
                raise InputError(
                    f"model config: {prefix}{f.name} is {value}, expected {low} to {high}"
                )

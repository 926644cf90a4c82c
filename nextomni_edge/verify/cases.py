"""Inputs for one component at a time: small, of several sizes, and the same on every machine."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.config import ModelConfig
from nextomni_edge.spec import ComponentName, GraphSpec, TensorSpec, Wire

Inputs = dict[str, NDArray[Any]]

# One row and many, one request and several, nothing past and something: none is what the graph was
# traced with but the last.
SIZES: Final[tuple[dict[str, int], ...]] = (
    {
        "batch": 1, "rows": 1, "past": 0, "length": 1, "height": 2, "width": 2, "heard": 1,
        "frames": 2,
    },
    {
        "batch": 1, "rows": 7, "past": 0, "length": 4, "height": 3, "width": 5, "heard": 9,
        "frames": 12,
    },
    {
        "batch": 3, "rows": 4, "past": 6, "length": 2, "height": 4, "width": 2, "heard": 2,
        "frames": 5,
    },
    {
        "batch": 2, "rows": 3, "past": 5, "length": 3, "height": 4, "width": 6, "heard": 5,
        "frames": 7,
    },
)  # fmt: skip


def cases(spec: GraphSpec, config: ModelConfig) -> Iterator[tuple[str, Inputs]]:
    """(name, inputs) of each case. Sizes beyond the model's are reduced to them, and duplicates are
    left out."""
    seen: set[tuple[int, ...]] = set()
    for wanted in SIZES:
        patch = config.image.patch
        wanted = wanted | {f"pixel_{side}": wanted[side] * patch for side in ("height", "width")}
        sizes = {
            name: min(wanted[name], dim.max) for name, dim in spec.dims().items() if name in wanted
        }
        key = tuple(sizes.values())
        if key in seen:
            continue
        seen.add(key)
        if "past" in sizes:
            sizes["attended"] = sizes["past"] + sizes["rows"]
        name = ",".join(
            f"{name}={size}"
            for name, size in sizes.items()
            if name in spec.dims() and name != "attended"
        )
        generator = np.random.default_rng([zlib.crc32(spec.name.encode()), *key])
        yield (
            name,
            {
                tensor.name: draw(tensor, sizes, spec.name, config, generator)
                for tensor in spec.inputs
            },
        )


def draw(
    tensor: TensorSpec,
    sizes: Mapping[str, int],
    component: str,
    config: ModelConfig,
    generator: np.random.Generator,
) -> NDArray[Any]:
    """One input of a component at the given sizes: `attended` is past + rows."""
    shape = tensor.shape(sizes)
    if tensor.name == Wire.TOKENS:
        return generator.integers(0, config.text.vocabulary_size, shape)
    if tensor.name == Wire.CODES:
        image = component in (
            ComponentName.EMBED_IMAGE,
            ComponentName.IMAGE_HEAD,
            ComponentName.IMAGE_DECODER,
        )
        entries = (config.image if image else config.audio).codebook.entries
        if component == ComponentName.AUDIO_DECODER and config.audio.codec is not None:
            entries = config.audio.codec.entries  # the mask has no sound
        return generator.integers(0, entries, shape)
    if tensor.name == Wire.POSITIONS:
        past = sizes.get("past", 0)
        return np.broadcast_to(np.arange(past, past + sizes["rows"]), shape).copy()
    if tensor.name == Wire.ATTENTION_MASK:
        if "past" not in sizes:  # padding stands behind the rows
            rows = math.prod(shape[1:])
            kept = generator.integers(1, rows, (shape[0], 1), endpoint=True)
            return (np.arange(rows) < kept).reshape(shape)
        mask = generator.random(shape) < 0.8
        mask[:, [0, -1]] = (
            # a row that attends to nothing has no answer; under a causal mask the first column is
            # all it may see
            True
        )
        return mask
    if tensor.name == Wire.PLACES:
        return np.sort(generator.integers(0, sizes["length"], shape), axis=1)
    if tensor.name == Wire.TIME:
        return generator.random(shape, np.float32)
    if tensor.name == Wire.SINES:
        return generator.uniform(-0.1, 0.1, shape).astype(np.float32)
    if tensor.name == Wire.WAVEFORM:
        return generator.uniform(-0.5, 0.5, shape).astype(np.float32)
    if tensor.name == Wire.PIXELS:
        return generator.uniform(-1.0, 1.0, shape).astype(np.float32)
    if tensor.name == Wire.LOG_MEL:
        return generator.uniform(-1.0, 1.5, shape).astype(np.float32)
    return generator.standard_normal(shape, np.float32)

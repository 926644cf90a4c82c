"""Sequences that train every head."""

import numpy as np

from nextomni_edge.models.omni import OmniModel
from nextomni_edge.tokens.chat import Part, Turn, conversation, part_segments, text_response
from nextomni_edge.tokens.sequence import Segment, Sequence
from nextomni_edge.tokens.text import TextTokenizer


def sequences(model: OmniModel, tokenizer: TextTokenizer, seed: int = 0) -> list[Sequence]:
    """A drawing to draw, a drawing to name, and a clip to say: every head, different lengths."""
    rng = np.random.default_rng(seed)
    image = Part("image", rng.integers(0, 16, (4, 3)))
    audio = Part("audio", rng.integers(0, 16, (3, 2)))
    draw = conversation(tokenizer, [Turn("user", (Part("text", "draw a cat"),))])
    name = conversation(tokenizer, [Turn("user", (image, Part("text", "what is this?")))])
    response = Segment(
        "text", text_response(tokenizer, "a cat", model.config.text.block_size), frozen=False
    )
    return [
        Sequence((*draw, *part_segments(tokenizer, image, frozen=False))),
        Sequence((*name, response)),
        Sequence((*draw, *part_segments(tokenizer, audio, frozen=False))),
    ]

"""Text: ids of the tokenizer, answered in blocks or on a canvas."""

from __future__ import annotations

from nextomni_edge.modalities.modality import Modality, one

TEXT = Modality(
    name="text",
    title="a text",
    suffixes=(".txt", ".md"),
    opened_by="is UTF-8",
    formats={".txt": "text", ".md": "text", "": "text"},
    reader="nextomni_edge.media.files:read_text_file",
    writer="nextomni_edge.media.files:write_text_file",
    most=lambda config: config.text.max_blocks,
    usual=one,
    shape=lambda config, blocks: (blocks * config.text.block_size,),
)

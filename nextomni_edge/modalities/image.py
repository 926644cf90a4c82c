"""Images: a square grid of visual tokens (METHOD 1)."""

from __future__ import annotations

from nextomni_edge.modalities.modality import Codec, Modality, one
from nextomni_edge.spec import Wire

IMAGE = Modality(
    name="image",
    title="a picture",
    suffixes=(
        ".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jp2", ".ico",
        ".heic", ".heif", ".hif",
        ".qoi", ".tga", ".ppm",
    ),
    opened_by="Pillow decodes",
    formats={
        ".png": "PNG", ".webp": "WEBP", ".gif": "GIF", ".jpg": "JPEG", ".jpeg": "JPEG",
        ".bmp": "BMP",
    },
    reader="nextomni_edge.media.files:read_image_file",
    writer="nextomni_edge.media.files:write_image_file",
    most=one,
    usual=one,
    shape=lambda config, _: (config.image.positions, config.image.codebook.codebooks),
    codec=Codec(Wire.PIXELS, Wire.PIXELS, rank=3, graphs="nextomni_edge.graphs:image_codec"),
)  # fmt: skip

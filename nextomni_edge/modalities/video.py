"""Videos: images between video markers (METHOD 1)."""

from __future__ import annotations

from nextomni_edge.modalities.image import IMAGE
from nextomni_edge.modalities.modality import Modality

VIDEO = Modality(
    name="video",
    title="a video",
    suffixes=(
        ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ogv", ".3gp",
    ),
    opened_by="Pillow or PyAV decodes",
    formats={
        ".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".mp4": "MP4", ".mov": "MOV",
        ".webm": "WEBM",
    },
    reader="nextomni_edge.media.files:read_video_file",
    writer="nextomni_edge.media.files:write_video_file",
    windower="nextomni_edge.media.files:video_windows",
    most=lambda config: config.image.max_frames,
    usual=lambda config: config.image.max_frames,
    shape=lambda config, frames: (frames, *IMAGE.shape(config, 1)),
    codec=IMAGE.codec,
    frames_of=IMAGE.name,
)  # fmt: skip

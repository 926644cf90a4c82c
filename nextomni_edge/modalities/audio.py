"""Sounds: a row of audio tokens, each a fixed number of log-mel frames (METHOD 1)."""

from __future__ import annotations

from nextomni_edge.modalities.modality import Codec, Modality
from nextomni_edge.spec import Wire

AUDIO = Modality(
    name="audio",
    title="a sound",
    suffixes=(
        ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".au",
        ".wma",
    ),
    opened_by="soundfile or PyAV decodes",
    formats={".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".mp3": "MP3"},
    reader="nextomni_edge.media.files:read_audio_file",
    writer="nextomni_edge.media.files:write_audio_file",
    windower="nextomni_edge.media.files:audio_windows",
    most=lambda config: config.audio.max_positions,
    usual=lambda config: config.audio.max_positions,
    shape=lambda config, tokens: (tokens, config.audio.codebook.codebooks),
    codec=Codec(
        Wire.LOG_MEL, Wire.WAVEFORM, rank=3, graphs="nextomni_edge.graphs:audio_codec",
        waveform=True,
    ),
)  # fmt: skip

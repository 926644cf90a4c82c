"""Answers as bytes and as data URLs."""

from __future__ import annotations

import base64
from typing import Final

import numpy as np

from nextomni_edge.api.answer import Answer
from nextomni_edge.media.audio import resample

PCM_RATE: Final = 24_000  # Hz; OpenAI's interface fixes it for pcm
TYPES: Final = {
    "png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif",
    "wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "mp4": "video/mp4",
    "pcm": f"audio/pcm;rate={PCM_RATE}",
}  # fmt: skip
FORMS: Final = {"image": "png", "audio": "wav", "video": "mp4"}


def file_bytes(answer: Answer, form: str) -> bytes:
    """The answer's file in a form of TYPES; what `run` writes but for pcm."""
    if form in ("pcm", "pcm16"):
        samples, rate = answer.audio
        heard = np.clip(resample(samples, rate, PCM_RATE), -1.0, 1.0)
        return (heard * 32767).round().astype("<i2").tobytes()
    return answer.encode(f".{form}")


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def answer_url(answer: Answer) -> str:
    """An answer that is a medium, as a data URL."""
    form = FORMS[answer.modality]
    return f"data:{TYPES[form]};base64,{base64_of(file_bytes(answer, form))}"

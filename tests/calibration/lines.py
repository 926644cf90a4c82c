"""A calibration set's bins, and lines of a prompts file."""

from __future__ import annotations

import json
from typing import Any

BINS = 4


def line(task: str, answer: str, *parts: tuple[str, str], **more: Any) -> str:
    turn = {"role": "user", "parts": [{"kind": kind, "value": value} for kind, value in parts]}
    return json.dumps({"task": task, "answer": answer, "turns": [turn], **more})

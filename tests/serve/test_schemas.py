"""What a request may set: nothing that names a file of the server's machine."""

from __future__ import annotations

import pytest

from nextomni_edge.api.settings import Settings
from nextomni_edge.serve.schemas import (
    ChatRequest,
    GenerateRequest,
    ImageRequest,
    Sampling,
    SpeechRequest,
)

SPEECH = {"input": "hello", "voice": "/etc/passwd", "seed": 7}


def test_the_voice_of_a_request_is_no_file() -> None:
    assert SpeechRequest(**SPEECH).settings() == {"seed": 7}
    assert GenerateRequest(prompt="a", size=[64, 32]).settings() == {"size": [64, 32]}


@pytest.mark.parametrize("schema", [ChatRequest, GenerateRequest, ImageRequest, SpeechRequest])
def test_only_the_named_settings_leave_a_request(schema: type[Sampling]) -> None:
    everything = dict.fromkeys(schema.model_fields, "x")
    named = {*Sampling.model_fields, *schema.more_settings}
    assert set(schema.model_construct(**everything).settings()) == named


def test_no_setting_of_a_request_takes_a_path() -> None:
    hints = Settings.__annotations__
    assert set(Sampling.model_fields) <= set(hints)
    paths = {name for name, hint in hints.items() if "Path" in str(hint) or "Audio" in str(hint)}
    allowed = {*Sampling.model_fields, *ChatRequest.more_settings, *GenerateRequest.more_settings}
    assert "voice" in paths and not paths & allowed

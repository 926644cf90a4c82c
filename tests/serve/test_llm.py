"""`llm`, a command line that people use with many models, chats with the server: it needs an
address and a model's name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nextomni_edge as ne
from tests.serve.running import Running

MODELS = """
- model_id: edge
  model_name: tiny
  api_base: "{address}/v1"
  vision: true
"""
PROGRAM = "from llm.cli import cli; cli()"


@pytest.fixture
def home(running: Running, tmp_path: Path) -> Path:
    """The folder of `llm`'s own settings, with our model in it."""
    home = tmp_path / "llm"
    home.mkdir()
    models = MODELS.format(address=running.address)
    (home / "extra-openai-models.yaml").write_text(models, encoding="utf-8")
    return home


def llm(home: Path, *arguments: object) -> str:
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    environment = {**os.environ, "LLM_USER_PATH": str(home), "OPENAI_API_KEY": "any"}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=120
    ).stdout.rstrip("\n")


def test_a_streamed_answer_is_that_of_the_front_door(home: Path, model: ne.Model) -> None:
    said = llm(home, "-m", "edge", "-o", "seed", 7, "a cat")
    assert said == (model.generate("a cat", seed=7).text or "").rstrip("\n")


def test_a_picture_is_sent_and_a_conversation_goes_on(home: Path, model: ne.Model) -> None:
    path = home / "a.png"
    Image.fromarray(np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)).save(path)
    chat = model.chat()
    first = chat.say(("what is this?", ne.Image(path)), seed=3)
    said = llm(home, "-m", "edge", "-o", "seed", 3, "--no-stream", "-a", path, "what is this?")
    assert said == (first.text or "").rstrip("\n")
    again = llm(home, "-c", "-o", "seed", 4, "and now?")
    assert again == (chat.say("and now?", seed=4).text or "").rstrip("\n")

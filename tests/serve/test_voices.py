"""Voices by name: the folder that a server reads, and the speech that a client asks for."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
from openai import BadRequestError, OpenAI

import nextomni_edge as ne
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.serve.voices import Clip, read_voices, spoken
from tests.calls import Invoke, refused
from tests.published import omnivoice_checkpoint as checkpoint
from tests.published.omnivoice_models import imported, model
from tests.serve.running import server
from tests.tiny import tiny_config

SAID = "Nice to meet you."
SETTINGS: dict[str, Any] = {"steps": 4, "seed": 3}


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voices")
    soundfile.write(folder / "alloy.wav", checkpoint.clip(), 44_100)
    (folder / "alloy.txt").write_text(f"{SAID}\n")
    return folder


@pytest.fixture(scope="module")
def client(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    log = tmp_path_factory.mktemp("serve") / "log"
    with server(log, f"voice={imported('few')}", "--voices", voices) as started:
        yield OpenAI(base_url=f"{started.address}/v1", api_key="any", max_retries=0)


@pytest.fixture(scope="module")
def expected(voices: Path) -> ne.Answer:
    return ne.load(imported("few")).generate(
        "Good morning.", to="audio", voice=voices / "alloy.wav", voice_text=SAID, speed=1.5,
        language="fr", **SETTINGS,
    )  # fmt: skip


def test_speech_is_said_in_the_named_voice(client: OpenAI, expected: ne.Answer) -> None:
    said = client.audio.speech.create(
        model="voice", voice="alloy", input="Good morning.", response_format="wav", speed=1.5,
        extra_body={"language": "French", **SETTINGS},
    )  # fmt: skip
    assert said.content == expected.encode(".wav")


def test_a_chat_is_answered_in_the_named_voice(client: OpenAI, voices: Path) -> None:
    create: Any = client.chat.completions.create
    reply = create(
        model="voice", messages=[{"role": "user", "content": "Good morning."}],
        modalities=["audio"], audio={"voice": "alloy", "format": "wav"}, seed=3,
        extra_body={"steps": 4},
    )  # fmt: skip
    answer = ne.load(imported("few")).generate(
        "Good morning.", to="audio", voice=voices / "alloy.wav", voice_text=SAID, **SETTINGS
    )
    assert base64.b64decode(reply.choices[0].message.audio.data) == answer.encode(".wav")


def test_words_for_a_voice_design_one(client: OpenAI) -> None:
    said = client.audio.speech.create(
        model="voice", voice={"id": "alloy"}, input="One.", response_format="wav",
        instructions="female, low pitch", extra_body=SETTINGS,
    )  # fmt: skip
    assert said.content[:4] == b"RIFF"


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"voice": "nova"}, "voice 'nova': expected one of alloy"),
        ({"voice": "../alloy"}, "voice '../alloy': expected one of alloy"),
        ({"voice": ["alloy"]}, "expected one of alloy"),
        ({"voice": {"id": {}}}, "voice '{}': expected one of alloy"),
        ({"voice": "alloy", "language": "Frensh"}, "did you mean"),
        ({"voice": "alloy", "instructions": "sings"}, "sings"),
    ],
)
def test_a_voice_that_cannot_be_is_one_sentence(
    client: OpenAI, asked: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.audio.speech.create(
            model="voice", input="One.", voice="alloy", extra_body={**asked, **SETTINGS}
        )
    assert sentence in caught.value.message


def test_a_model_with_one_voice_takes_any_name_and_no_more() -> None:
    config, clips = tiny_config(), {"alloy": Clip(Path("alloy.wav"), SAID)}
    assert spoken(config, clips, "nova") == {}
    with pytest.raises(UsageError, match=r"^language, instructions, speed: this model has one way"):
        spoken(config, clips, "alloy", 2.0, "en", "female")
    assert spoken(model("few").config, {}, "nova") == {}


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "0 clips, expected 1"),
        ({"a.wav": b""}, "a.txt"),
        ({"a.wav": b"", "a.txt": b" \n"}, "a.txt: empty; write what the clip says"),
        ({"a.wav": b"", "a.txt": b"\xff\xfe"}, "a.txt: not UTF-8"),
        ({"a.wav": b"", "a.mp3": b"", "a.txt": b"x"}, "two clips of the name 'a'"),
        ({"a.wav": b"", "a.txt": b"x" * 20_000}, "a.txt"),
    ],
)
def test_a_folder_that_holds_no_voices_is_refused(
    tmp_path: Path, files: dict[str, bytes], sentence: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        read_voices(tmp_path)


def test_a_folder_that_is_none_is_refused(
    invoke: Invoke, tiny_bundle: Path, tmp_path: Path
) -> None:
    result = invoke("serve", tiny_bundle, "--check", "--voices", tmp_path / "none")
    refused(result, 3, "expected a folder of clips")

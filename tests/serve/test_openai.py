"""OpenAI's own Python client against a running server: every endpoint, and the same answers as the
front door's."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import soundfile
from openai import OpenAI
from PIL import Image

import nextomni_edge as ne
from tests.serve.running import Running

COLOURS = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
TONE = np.sin(np.arange(4000, dtype=np.float32) / 9)


@pytest.fixture(scope="module")
def client(running: Running) -> OpenAI:
    return OpenAI(base_url=f"{running.address}/v1", api_key="any", max_retries=0, timeout=120)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    Image.fromarray(COLOURS).save(folder / "a.png")
    soundfile.write(folder / "a.wav", TONE, 16000, subtype="FLOAT")
    return folder


def url(path: Path) -> str:
    kind = {".png": "image/png", ".wav": "audio/wav"}[path.suffix]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def user(content: Any) -> list[Any]:
    return [{"role": "user", "content": content}]


def picture_part(path: Path) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url(path)}}


def sound_part(path: Path) -> dict[str, Any]:
    data = base64.b64encode(path.read_bytes()).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def test_the_models_are_listed_with_their_cards(client: OpenAI, model: ne.Model) -> None:
    (listed,) = client.models.list().data
    assert listed.id == "tiny" and listed.owned_by == "nextomni-edge"
    card: dict[str, Any] = client.models.retrieve("tiny").model_dump()["nextomni"]
    assert card["identity"] == model.identity and card["answers"] == [
        "text", "image", "audio", "video",
    ]  # fmt: skip
    assert card["bytes"] > 1000 and card["parity"][0].startswith("parity: compared with")


@pytest.mark.parametrize("seed", [None, 0, 7, 2**63 + 5])
def test_a_text_is_the_one_that_run_gives(client: OpenAI, model: ne.Model, seed: int) -> None:
    given: dict[str, Any] = {} if seed is None else {"seed": seed}
    reply = client.chat.completions.create(model="tiny", messages=user("a red cat"), **given)
    assert reply.choices[0].message.content == model.generate("a red cat", seed=seed or 0).text
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage and reply.usage.total_tokens == (
        reply.usage.prompt_tokens + reply.usage.completion_tokens
    )


def test_a_picture_and_a_sound_are_read(client: OpenAI, model: ne.Model, files: Path) -> None:
    content = [picture_part(files / "a.png"), sound_part(files / "a.wav"),
               {"type": "text", "text": "what?"}]  # fmt: skip
    reply = client.chat.completions.create(model="tiny", messages=user(content), seed=3)
    expected = model.generate((files / "a.png", files / "a.wav", "what?"), seed=3)
    assert reply.choices[0].message.content == expected.text


def test_a_conversation_is_seen_whole(client: OpenAI, model: ne.Model) -> None:
    chat = model.chat()
    first = chat.say("a red cat", seed=1, max_blocks=2).text or "?"
    chat.turns[-1] = ne.api.prompt.turn_of(model.edge, first)  # type: ignore[attr-defined]
    chat.turns[-1] = type(chat.turns[-1])("assistant", chat.turns[-1].parts)
    said = chat.say("and then?", seed=2)
    messages: list[Any] = [
        *user("a red cat"), {"role": "assistant", "content": first}, *user("and then?"),
    ]  # fmt: skip
    reply = client.chat.completions.create(model="tiny", messages=messages, seed=2)
    assert reply.choices[0].message.content == said.text


def test_what_the_system_says_stands_before_the_next_words(client: OpenAI, model: ne.Model) -> None:
    messages: list[Any] = [{"role": "system", "content": "be brief"}, *user("a cat")]
    reply = client.chat.completions.create(model="tiny", messages=messages, seed=4)
    assert reply.choices[0].message.content == model.generate("be brief\n\na cat", seed=4).text


def test_modalities_choose_what_is_answered(client: OpenAI, model: ne.Model) -> None:
    create: Any = client.chat.completions.create
    reply = create(
        model="tiny", messages=user("a cat"), seed=5, modalities=["text", "image", "audio"]
    )
    message = reply.choices[0].message
    assert message.content == model.generate("a cat", seed=5).text
    drawn = message.model_dump()["images"][0]["image_url"]["url"].partition(",")[2]
    assert base64.b64decode(drawn) == model.generate("a cat", to="image", seed=5).encode(".png")
    said = model.generate("a cat", to="audio", seed=5)
    assert base64.b64decode(message.audio.data) == said.encode(".wav")


def test_several_choices_have_the_seeds_that_follow(client: OpenAI, model: ne.Model) -> None:
    reply = client.chat.completions.create(model="tiny", messages=user("a cat"), seed=8, n=3)
    texts = [choice.message.content for choice in reply.choices]
    assert texts == [model.generate("a cat", seed=seed).text for seed in (8, 9, 10)]
    assert len(set(texts)) > 1


def test_settings_of_the_flow_go_in_the_extra_body(client: OpenAI, model: ne.Model) -> None:
    settings: dict[str, Any] = {"steps": 5, "guidance": 1.5, "temperature": 0.7, "top_p": 0.9}
    own = {name: settings[name] for name in ("steps", "guidance")}
    reply = client.chat.completions.create(
        model="tiny", messages=user("a cat"), seed=6, temperature=0.7, top_p=0.9, extra_body=own
    )
    expected = model.generate("a cat", seed=6, **settings).text
    assert reply.choices[0].message.content == expected


def test_a_text_is_no_longer_than_was_asked(client: OpenAI, model: ne.Model) -> None:
    whole = model.generate("a cat", seed=7).text
    reply = client.chat.completions.create(
        model="tiny", messages=user("a cat"), seed=7, max_tokens=1
    )
    short = reply.choices[0].message.content or ""
    assert whole.startswith(short) and short != whole
    assert reply.choices[0].finish_reason == "length"


def test_a_chat_is_streamed(client: OpenAI, model: ne.Model) -> None:
    chunks = list(
        client.chat.completions.create(
            model="tiny", messages=user("a cat"), seed=7, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == model.generate("a cat", seed=7).text
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens > 0


def test_a_streamed_sound_is_whole(client: OpenAI, model: ne.Model) -> None:
    create: Any = client.chat.completions.create
    chunks = create(
        model="tiny", messages=user("a cat"), seed=7, stream=True, modalities=["audio"],
        audio={"voice": "alloy", "format": "wav"},
    )  # fmt: skip
    data = [chunk.choices[0].delta.model_dump().get("audio") for chunk in chunks]
    sound = b"".join(base64.b64decode(each["data"]) for each in data if each)
    assert sound == model.generate("a cat", to="audio", seed=7).encode(".wav")


def test_pictures_are_drawn(client: OpenAI, model: ne.Model) -> None:
    drawn = client.images.generate(
        model="tiny", prompt="a cat", n=2, size=None, extra_body={"seed": 3}
    )
    pictures = [base64.b64decode(each.b64_json or "") for each in drawn.data or ()]
    expected = [model.generate("a cat", to="image", seed=seed).encode(".png") for seed in (3, 4)]
    assert pictures == expected
    for form, name in (("jpeg", "JPEG"), ("webp", "WEBP")):
        drawn = client.images.generate(
            model="tiny",
            prompt="a cat",
            output_format=form,  # type: ignore[call-overload]
        )
        content = base64.b64decode((drawn.data or [])[0].b64_json or "")
        assert Image.open(io.BytesIO(content)).format == name


def test_a_picture_is_streamed_as_it_forms(client: OpenAI, model: ne.Model) -> None:
    events = list(
        client.images.generate(
            model="tiny", prompt="a cat", stream=True, partial_images=2, extra_body={"seed": 3}
        )
    )
    assert [event.type for event in events] == [
        *["image_generation.partial_image"] * 2, "image_generation.completed",
    ]  # fmt: skip
    last = base64.b64decode(events[-1].b64_json)
    assert last == model.generate("a cat", to="image", seed=3).encode(".png")
    assert len({event.b64_json for event in events}) == 3


def test_a_picture_is_edited(client: OpenAI, model: ne.Model, files: Path) -> None:
    expected = model.generate((files / "a.png", "bluer"), to="image", seed=2).encode(".png")
    given: Any = (files / "a.png").read_bytes()
    edited = client.images.edit(
        model="tiny", image=("a.png", given), prompt="bluer", extra_body={"seed": 2}
    )
    assert base64.b64decode((edited.data or [])[0].b64_json or "") == expected
    both = client.images.edit(
        model="tiny", image=[("a.png", given)] * 2, prompt="bluer", extra_body={"seed": 2}
    )
    assert base64.b64decode((both.data or [])[0].b64_json or "") != expected


@pytest.mark.parametrize("form", ["wav", "mp3", "flac"])
def test_speech_is_the_file_that_run_writes(client: OpenAI, model: ne.Model, form: Any) -> None:
    said = client.audio.speech.create(
        model="tiny", voice="alloy", input="a cat", response_format=form, extra_body={"seed": 9}
    )
    assert said.content == model.generate("a cat", to="audio", seed=9).encode(f".{form}")


def test_speech_in_pcm_is_24_khz_and_comes_in_chunks(client: OpenAI, model: ne.Model) -> None:
    samples, rate = model.generate("a cat", to="audio", seed=9).audio
    with client.audio.speech.with_streaming_response.create(
        model="tiny", voice="alloy", input="a cat", response_format="pcm", extra_body={"seed": 9}
    ) as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        heard = np.frombuffer(b"".join(answer.iter_bytes()), "<i2")
    assert abs(len(heard) / 24000 - len(samples) / rate) < 0.01


def test_a_sound_is_transcribed(client: OpenAI, model: ne.Model, files: Path) -> None:
    expected = model.generate((files / "a.wav", "what?"), seed=0).text
    sound: Any = ("a.wav", (files / "a.wav").read_bytes())
    create: Any = client.audio.transcriptions.create
    assert create(model="tiny", file=sound, prompt="what?").text == expected
    plain = create(model="tiny", file=sound, prompt="what?", response_format="text")
    assert plain.strip() == expected.strip()
    events = list(create(model="tiny", file=sound, prompt="what?", stream=True))
    assert events[-1].text == expected


def test_embeddings_are_those_of_embed(client: OpenAI, model: ne.Model, files: Path) -> None:
    expected = model.embed(["a cat", "a dog"])
    rows = client.embeddings.create(model="tiny", input=["a cat", "a dog"]).data  # as Base64
    assert np.array_equal(np.array([row.embedding for row in rows], np.float32), expected)
    rows = client.embeddings.create(model="tiny", input="a cat", encoding_format="float").data
    assert np.array_equal(np.array(rows[0].embedding, np.float32), expected[0])
    media: Any = [picture_part(files / "a.png")]
    rows = client.embeddings.create(model="tiny", input=media).data
    picture = model.embed([ne.Image(files / "a.png")])
    assert np.array_equal(np.array([row.embedding for row in rows], np.float32), picture)


@pytest.mark.parametrize(
    ("error", "given", "sentence"),
    [
        (openai.NotFoundError, {"model": "huge"}, "no model of this name; expected one of tiny"),
        (openai.BadRequestError, {"extra_body": {"sed": 7}}, "did you mean 'seed'?"),
        (openai.BadRequestError, {"extra_body": {"steps": 0}}, "steps is 0, expected at least 1"),
        (openai.BadRequestError, {"extra_body": {"steps": 9999}}, "this server takes at most 512"),
        (openai.BadRequestError, {"temperature": -1}, "temperature: Input should be"),
        (openai.BadRequestError, {"n": 99}, "n is 99; this server takes at most 4"),
        (openai.BadRequestError, {"tools": [{}]}, "tools: List should have at most 0 items"),
        (openai.BadRequestError, {"messages": []}, "messages: List should have at least 1 item"),
        (openai.BadRequestError, {"messages": user("")}, "a message of the user is empty"),
        (openai.BadRequestError,
         {"messages": user([{"type": "image_url", "image_url": {"url": "https://a.b/c.png"}}])},
         "remote addresses are not fetched"),
        (openai.UnprocessableEntityError,
         {"messages": user([{"type": "image_url",
                             "image_url": {"url": "data:image/png;base64,aGVsbG8="}}])},
         "the image: not a picture that"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_one_sentence(
    client: OpenAI, error: type[openai.APIStatusError], given: dict[str, Any], sentence: str
) -> None:
    asked: dict[str, Any] = {"model": "tiny", "messages": user("a cat"), **given}
    with pytest.raises(error) as raised:
        client.chat.completions.create(**asked)
    body: Any = raised.value.body
    assert sentence in body["message"] and "\n" not in body["message"]
    assert body["type"] and "/tmp" not in body["message"]


def test_what_cannot_be_meant_is_refused_before_a_stream_begins(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="the model takes at most"):
        client.chat.completions.create(
            model="tiny", messages=user("a cat"), stream=True, extra_body={"max_blocks": 99}
        )

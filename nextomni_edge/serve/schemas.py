"""What requests hold, field by field. FastAPI checks them, and makes the OpenAPI document of
them."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from nextomni_edge.api.settings import Settings

Kinds = Literal["text", "image", "audio", "video"]
Text = Annotated[str, Field(max_length=1 << 20)]
Name = Annotated[str, Field(max_length=64)]
Count = Annotated[int, Field(ge=1, le=128)]
Whole = Annotated[int, Field(ge=0, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**64)]
Number = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Strict(BaseModel):
    """An object without unknown fields: a misspelt one would be ignored in silence."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def known(cls, data: Any) -> Any:
        """The nearest name for a field that does not exist."""
        if isinstance(data, dict):
            names = {field.alias or name for name, field in cls.model_fields.items()}
            for name in data.keys() - names:
                near = difflib.get_close_matches(str(name), names, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ", or none that is supported"
                raise PydanticCustomError(
                    "unknown", "no field {name}{hint}", {"name": ascii(name)[:80], "hint": hint}
                )
        return data


class Sampling(Strict):
    """The settings of a generation, as `Model.generate` takes them. None is the model's own."""

    more_settings: ClassVar[tuple[str, ...]] = ()  # fields of a request's own that are settings too

    seed: Seed | None = None
    steps: Whole | None = None
    stepper: Name | None = None
    temperature: Number | None = None
    top_k: Whole | None = None
    top_p: Share | None = None
    guidance: Number | None = None
    guidance_until: Share | None = None
    max_blocks: Whole | None = None
    eos_threshold: Share | None = None
    extend: Name | None = None
    lead_tokens: Whole | None = None
    grid: Annotated[list[Share], Field(max_length=4096)] | None = None
    kv_cache: Name | None = None
    refresh_prompt: Whole | None = None
    refresh: Whole | None = None
    cache_threshold: Number | None = None
    cache_share: Share | None = None
    cache_drift: Number | None = None
    cache_warmup: Share | None = None
    frames: Whole | None = None
    seconds: Number | None = None
    length: Whole | None = None
    block: Whole | None = None
    threshold: Share | None = None
    guidance_image: Number | None = None

    def settings(self) -> Settings:
        """The settings that were given: those named only, as a request's other fields may bear the
        name of a setting that is none of a stranger's, such as the file of a voice."""
        names = (*Sampling.model_fields, *self.more_settings)
        given = {name: getattr(self, name) for name in names}
        stated = {name: value for name, value in given.items() if value is not None}
        return cast("Settings", stated)


class UrlOf(Strict):
    url: str
    detail: Name | None = None


class Sound(Strict):
    data: str
    format: Name = "wav"


class TextPart(Strict):
    type: Literal["text"]
    text: Text


class ImagePart(Strict):
    type: Literal["image_url"]
    image_url: UrlOf


class AudioPart(Strict):
    type: Literal["input_audio"]
    input_audio: Sound


class VideoPart(Strict):
    """Not of OpenAI's interface; other servers have it too."""

    type: Literal["video_url"]
    video_url: UrlOf


PromptPart = Annotated[TextPart | ImagePart | AudioPart | VideoPart, Field(discriminator="type")]
Content = Text | Annotated[list[PromptPart], Field(min_length=1, max_length=64)]


class Message(Strict):
    """A turn. A system's or developer's words are put before those of the user's next turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Content | None = None
    name: Name | None = None
    refusal: None = None
    images: Annotated[list[ImagePart], Field(max_length=16)] | None = None
    audio: None = None


class AudioForm(Strict):
    """The form of a sound that is answered, and its voice (see voices.spoken)."""

    voice: Any = None
    format: Literal["wav", "mp3", "pcm16", "flac"] = "wav"


class StreamOptions(Strict):
    include_usage: bool = False


class Ignored(Strict):
    """Fields that change nothing here, and that clients send."""

    user: Text | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: Name | None = None
    safety_identifier: Text | None = None
    prompt_cache_key: Text | None = None
    presence_penalty: Literal[0] | None = None
    frequency_penalty: Literal[0] | None = None
    logprobs: Literal[False] | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    response_format: dict[Literal["type"], Literal["text"]] | None = None


class ChatRequest(Sampling, Ignored):
    """OpenAI's chat completion, with the flow's settings."""

    more_settings: ClassVar[tuple[str, ...]] = ("size",)

    model: Name | None = None
    messages: Annotated[list[Message], Field(min_length=1)]
    modalities: Annotated[list[Kinds], Field(min_length=1, max_length=4)] = ["text"]
    audio: AudioForm = AudioForm()
    n: Count = 1
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: Annotated[list[Any], Field(max_length=0)] | None = None
    size: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None


class GenerateRequest(Sampling):
    """Our own form: a prompt or messages, the answer's modality, and the flow as events."""

    more_settings: ClassVar[tuple[str, ...]] = ("size",)

    model: Name | None = None
    prompt: Content | None = None
    messages: Annotated[list[Message], Field(min_length=1)] | None = None
    to: Kinds = "text"
    size: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    stream: bool = False
    preview: bool = False
    """Decode x_t of each step that is sent, at the price of a decoder's forward each."""


class ImageRequest(Sampling):
    """OpenAI's picture of a prompt."""

    model: Name | None = None
    prompt: Annotated[Text, Field(min_length=1)]
    n: Count = 1
    size: Annotated[str, Field(pattern=r"^(auto|[1-9]\d{0,3}x[1-9]\d{0,3})$")] | None = None
    response_format: Literal["b64_json"] | None = None
    output_format: Literal["png", "jpeg", "webp"] = "png"
    quality: Name | None = None
    style: Name | None = None
    background: Literal["auto", "opaque"] | None = None
    moderation: Name | None = None
    output_compression: Literal[100] | None = None
    stream: bool = False
    partial_images: Annotated[int, Field(ge=0, le=3)] = 0
    user: Text | None = None


class SpeechRequest(Sampling):
    """OpenAI's speech (see voices.spoken). `language` is our own."""

    model: Name | None = None
    input: Annotated[Text, Field(min_length=1)]
    voice: Any = None
    response_format: Literal["mp3", "wav", "pcm", "flac"] = "mp3"
    speed: Annotated[float, Field(ge=0.25, le=4)] = 1.0
    language: Name | None = None
    instructions: Text | None = None
    stream_format: Literal["audio"] = "audio"


class EmbeddingRequest(Strict):
    """OpenAI's embeddings; an input may also be a part with a medium."""

    model: Name | None = None
    input: (
        Annotated[Text, Field(min_length=1)]
        | Annotated[list[Text | PromptPart], Field(min_length=1, max_length=256)]
    )
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: Text | None = None

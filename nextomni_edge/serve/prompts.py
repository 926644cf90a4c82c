"""Messages as turns of a conversation."""

from __future__ import annotations

from nextomni_edge.api.model import Model
from nextomni_edge.api.prompt import part_of
from nextomni_edge.errors import UsageError
from nextomni_edge.serve.limits import Limits
from nextomni_edge.serve.media import data_url, decoded, medium
from nextomni_edge.serve.schemas import AudioPart, ImagePart, Message, PromptPart, TextPart
from nextomni_edge.tokens.chat import Part, Turn


def turns_of(model: Model, messages: list[Message], limits: Limits) -> list[Turn]:
    """The conversation's turns, their media encoded. UsageError: too many messages, one that says
    nothing, or no question at the end."""
    if len(messages) > limits.messages:
        raise UsageError(f"{len(messages)} messages; this server takes at most {limits.messages}")
    if messages[-1].role != "user":
        raise UsageError(f"the last message is the {messages[-1].role}'s, expected the user's")
    turns, said = list[Turn](), list[str]()
    for message in messages:
        if message.role in ("system", "developer"):
            said.append(_only_text(message))
            continue
        parts = content_parts(model, message.content or "", limits)
        parts = [encoded(model, image, limits) for image in message.images or ()] + parts
        if message.role == "user":
            parts, said = _after("\n\n".join(said), parts), []
            turns.append(Turn("user", tuple(parts)))
        else:
            turns.append(Turn("assistant", tuple(parts)))
        if not parts:
            raise UsageError(f"a message of the {message.role} is empty; say something in each")
    return turns


def content_parts(model: Model, content: str | list[PromptPart], limits: Limits) -> list[Part]:
    """A message's content as parts; an empty text has none."""
    if isinstance(content, str):
        return [part_of(model.edge, content)] if content.strip() else []
    return [encoded(model, part, limits) for part in content]


def encoded(model: Model, part: PromptPart, limits: Limits) -> Part:
    """One part of a prompt. Errors as `media.medium`'s."""
    if isinstance(part, TextPart):
        return part_of(model.edge, part.text)
    if isinstance(part, AudioPart):
        sound = part.input_audio
        # some clients send the whole URL
        whole = sound.data.startswith("data:")
        content = data_url(sound.data, limits) if whole else decoded(sound.data, limits)
        return medium(model, "audio", content, limits, sound.format)
    if isinstance(part, ImagePart):
        return medium(model, "image", data_url(part.image_url.url, limits), limits)
    return medium(model, "video", data_url(part.video_url.url, limits), limits)


def _after(said: str, parts: list[Part]) -> list[Part]:
    """The parts behind what the system said."""
    if not said:
        return parts
    if parts and isinstance(parts[0].value, str):
        return [Part("text", f"{said}\n\n{parts[0].value}"), *parts[1:]]
    return [Part("text", said), *parts]


def _only_text(message: Message) -> str:
    content = message.content or ""
    if isinstance(content, str):
        return content
    texts = [part.text for part in content if isinstance(part, TextPart)]
    if len(texts) < len(content):
        raise UsageError(f"a message of the {message.role} holds a medium; give it to the user")
    return "\n".join(texts)

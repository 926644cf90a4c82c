"""Media out of requests: data URLs and uploads become encoded parts of a conversation."""

from __future__ import annotations

import base64
import binascii
import re
import tempfile
from pathlib import Path

from nextomni_edge.api.model import Model
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.media.parts import file_part
from nextomni_edge.serve.failures import Refusal
from nextomni_edge.serve.limits import MIB, Limits
from nextomni_edge.tokens.chat import Kind, Part

SUFFIX = re.compile(r"[a-z0-9]{1,5}")
HEAD = re.compile(r"data:([a-z]+/[a-z0-9.+-]+)?(;[a-z0-9=._+ -]+)*;base64", re.IGNORECASE)


def data_url(url: str, limits: Limits) -> bytes:
    """The bytes of `data:…;base64,…`. Refusal: 400 another URL, 413 too many bytes."""
    head, comma, content = url.partition(",")
    if not url[:5].lower() == "data:":
        raise Refusal(
            400, "remote addresses are not fetched; send the medium as data:TYPE;base64,…", "no_url"
        )
    if not comma or len(head) > 200 or not HEAD.fullmatch(head):
        raise Refusal(400, "a data URL begins with data:TYPE;base64,")
    return decoded(content, limits)


def decoded(content: str, limits: Limits) -> bytes:
    """The bytes of a Base64 text. Refusal: 400 none, 413 too many bytes."""
    if len(content) * 3 // 4 > limits.media + 3:
        raise too_large(limits)
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(400, f"not Base64: {error}") from error


def too_large(limits: Limits) -> Refusal:
    return Refusal(413, f"a medium is over {limits.media / MIB:.3g} MiB; send a smaller one")


def medium(model: Model, kind: Kind, content: bytes, limits: Limits, suffix: str = "") -> Part:
    """A file's bytes as an encoded part. InputError: damaged, too long, or of another kind.
    UsageError: the model does not read this kind. Refusal: 413."""
    if len(content) > limits.media:
        raise too_large(limits)
    ending = f".{suffix}" if SUFFIX.fullmatch(suffix) else ""
    with tempfile.TemporaryDirectory(prefix="nextomni-edge-") as folder:
        file = Path(folder) / f"{kind}{ending}"
        file.write_bytes(content)
        try:
            return file_part(model.edge, kind, file)
        except (InputError, UsageError) as error:
            # the sentence begins with the file, which is ours
            raise type(error)(str(error).replace(str(file), f"the {kind}")) from error

"""The bounds of a server: what a request may hold, ask for and take."""

from __future__ import annotations

from dataclasses import dataclass

from nextomni_edge.api.settings import Settings
from nextomni_edge.errors import UsageError

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Bytes, counts and seconds.

    body: bytes of a request. media: bytes of one medium, decoded. messages: of a conversation.
    answers: of a request (`n`). steps: of a flow. tokens: of a text whose length is asked for.

    queue: requests that wait; one client may hold half of them. batch: requests that are computed
    together. connections: open at once.

    linger: seconds that an idle server waits for requests to compute with the first. request: of
    the whole request. body_seconds, header_seconds: until a body, or a request's first lines, must
    be here. write_seconds: until a client must read what was sent. grace: after the order to stop.
    """

    body: int = 32 * MIB
    media: int = 16 * MIB
    messages: int = 128
    answers: int = 4
    steps: int = 512
    tokens: int = 4096
    queue: int = 64
    batch: int = 8
    connections: int = 256
    linger: float = 0.005
    request: float = 300.0
    body_seconds: float = 30.0
    header_seconds: float = 10.0
    write_seconds: float = 30.0
    grace: float = 20.0

    def check(self, settings: Settings) -> None:
        """UsageError: settings that ask for more than this server computes."""
        grid = settings.get("grid")
        asked = {
            "steps": (settings.get("steps", 0), self.steps),
            "grid": (len(grid) if grid is not None else 0, self.steps + 1),
            "length": (settings.get("length", 0), self.tokens),
            "size": (max(settings.get("size", (0,))), self.tokens),
            "frames": (settings.get("frames", 0), self.tokens),
            "max_blocks": (settings.get("max_blocks", 0), self.tokens),
        }
        for name, (found, most) in asked.items():
            if found > most:
                raise UsageError(f"{name} is {found}; this server takes at most {most}")

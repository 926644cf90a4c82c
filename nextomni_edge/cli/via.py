"""`run --via text`: an answer in two generations. The media are asked first, and the answer stands
in the prompt of the second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from nextomni_edge.cli.headings import under
from nextomni_edge.errors import InputError, UsageError

if TYPE_CHECKING:
    from nextomni_edge.api.model import Model
    from nextomni_edge.cli.console import Console
    from nextomni_edge.tokens.chat import Part

Command = TypeVar("Command", bound=Callable[..., object])
PLACE: Final = "{}"  # of the first answer in the second prompt


@dataclass(frozen=True)
class Via:
    """What the media are asked first; None asks nothing with them."""

    question: str | None

    def check(self, prompt: tuple[Any, ...]) -> None:
        """UsageError, before a model is loaded: no media to ask about, or no place for the answer
        in the texts of a prompt's items."""
        texts = [item for item in prompt if isinstance(item, str)]
        if len(texts) == len(prompt):
            raise UsageError("--via asks about media first: give --image, --audio or --video")
        if texts and not any(PLACE in text for text in texts):
            raise UsageError(f"--via: put {PLACE} where the first answer goes in --text")

    def prompt(
        self, console: Console, model: Model, parts: tuple[Part, ...], seed: int
    ) -> tuple[Part, ...]:
        """The second prompt, once the first answer is here. InputError: the answer is empty."""
        from nextomni_edge.tokens.chat import Part

        media = tuple(part for part in parts if part.kind != "text")
        texts = [str(part.value) for part in parts if part.kind == "text"]
        asked = (Part("text", self.question),) if self.question else ()
        answer = model.generate((*media, *asked), "text", seed=seed).text.strip()
        console.note(f"via text: {answer}")
        if not answer:
            raise InputError("the answer in between is empty; ask otherwise with --ask")
        return tuple(Part("text", text.replace(PLACE, answer)) for text in texts or [PLACE])


def via_options(command: Command) -> Command:
    """Give a command --via and --ask; it receives `via`, None without them."""
    prompt = under("Prompt")

    def read(context: click.Context, _: click.Parameter, ask: str | None) -> Via | None:
        on: Any = context.params.pop("via_kind", None)
        if ask is not None and not on:
            raise UsageError("--ask is what --via asks first; give --via text, too")
        return Via(ask) if on else None

    option = prompt(
        "--via",
        "via_kind",
        type=click.Choice(["text"]),
        is_eager=True,
        help="Ask about the media in text first, and put that answer for {} in --text.",
    )
    question = prompt(
        "--ask", "via", callback=read, metavar="TEXT", help='With --via: such as "what is this?".'
    )
    return option(question(command))

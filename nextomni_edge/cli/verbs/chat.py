"""`chat`: turns of any modality, in a terminal or from a pipe."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from nextomni_edge.cli.console import Console, common_options
from nextomni_edge.cli.generation import MODALITIES, Request, answer_sequence, generation_options
from nextomni_edge.cli.model import open_model, runtime_options
from nextomni_edge.cli.variant import choose, variant_option
from nextomni_edge.errors import NextOmniError, UsageError

if TYPE_CHECKING:
    from nextomni_edge.cli.answer import Answer
    from nextomni_edge.generate.model import EdgeModel
    from nextomni_edge.runtimes.base import Execution
    from nextomni_edge.tokens.chat import Kind, Part, Turn

HELP: Final = {
    "/image FILE": "add a picture to your next turn",
    "/audio FILE": "add a sound",
    "/video FILE": "add a video",
    "/send": "send what was added, without a text",
    "/to MODALITY": f"what the next answers are: {', '.join(MODALITIES)}",
    "/save FILE": "write the last answer",
    "/reset": "forget the conversation",
    "/help": "this list",
    "/quit": "leave",
}


@dataclass
class Conversation:
    """`turns` said so far; `pending` parts of the turn in the making."""

    console: Console
    model: EdgeModel
    request: Request
    kind: Kind
    turns: list[Turn] = field(default_factory=list)
    pending: list[Part] = field(default_factory=list)
    last: Answer | None = None

    def line(self, line: str) -> bool:
        """Act on one line; False ends the chat. NextOmniError: the line cannot be carried out, the
        conversation is as before."""
        if not line.startswith("/"):
            self.say(line)
            return True
        verb, _, argument = line.partition(" ")
        argument = argument.strip()
        if verb == "/quit":
            return False
        if verb in ("/image", "/audio", "/video"):
            self.add(verb[1:], argument)
        elif verb == "/to":
            self.aim(argument)
        elif verb == "/save":
            self.save(argument)
        elif verb == "/send":
            self.say("")
        elif verb == "/reset":
            self.turns, self.pending, self.last = [], [], None
        elif verb == "/help":
            self.console.note(
                "\n".join(f"{usage:<14} {meaning}" for usage, meaning in HELP.items()), level=-1
            )
        else:
            raise UsageError(
                f"no command {verb}; expected one of"
                f" {', '.join(usage.split()[0] for usage in HELP)}"
            )
        return True

    def add(self, kind: str, name: str) -> None:
        from nextomni_edge.media.parts import file_part

        if not name:
            raise UsageError(f"/{kind} needs a file")
        self.pending.append(file_part(self.model, kind, Path(name).expanduser()))

    def aim(self, kind: str) -> None:
        if kind not in MODALITIES:
            raise UsageError(f"/to {kind}: expected one of {', '.join(MODALITIES)}")
        self.kind = kind

    def save(self, name: str) -> None:
        from nextomni_edge.cli.answer import check_output

        if self.last is None:
            raise UsageError("nothing to save yet")
        if not name:
            raise UsageError("/save needs a file")
        path = Path(name).expanduser()
        check_output(self.last.kind, path)
        self.last.write(path, self.request.fps)
        self.console.result({"saved": str(path)}, f"saved {path}")

    def say(self, text: str) -> None:
        """Send the turn, show the answer, and keep both; a turn that fails is forgotten."""
        from nextomni_edge.cli.answer import read_answer
        from nextomni_edge.media.parts import text_part
        from nextomni_edge.tokens.chat import Turn

        parts = [*self.pending, *([text_part(text)] if text.strip() else [])]
        if not parts:
            return
        turns = [*self.turns, Turn("user", tuple(parts))]
        sequence = answer_sequence(
            self.console, self.model, turns, self.kind, self.request.fitting(self.kind)
        )
        self.last = read_answer(self.model, sequence)
        self.turns, self.pending = [*turns, Turn("assistant", (self.last.part,))], []
        hint = "" if self.last.media is None else "  (/save FILE keeps it)"
        self.console.result(
            {"modality": self.kind, "answer": self.last.text}, self.last.text + hint
        )


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "kind",
    type=click.Choice(MODALITIES),
    default="text",
    show_default=True,
    help="Modality of the first answers.",
)
@variant_option
@generation_options
@runtime_options
@common_options
def chat(
    console: Console,
    bundle: Path,
    kind: Kind,
    variant: str | None,
    execution: Execution,
    **request: Any,
) -> None:
    """Talk with a model in turns; /help lists what can be said besides text.

    Lines may come from a pipe: then the first line that fails ends the chat with its exit code.
    --variant chooses once, by the rows of an answer to an empty turn.
    """
    from nextomni_edge.tokens.chat import Turn

    asked = Request(**request)
    bundle, execution = choose(
        console, bundle, variant, lambda _: [Turn("user", ())], kind, asked.fitting(kind), execution
    )
    talk = Conversation(console, open_model(console, bundle, execution), asked, kind)
    interactive = sys.stdin.isatty()
    if interactive:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  (importing it is what gives input() a history)
        console.note("/help lists the commands, /quit leaves")
    while (line := read_line(interactive, f"{talk.kind}> ")) is not None:
        try:
            if not talk.line(line):
                return
        except NextOmniError as error:
            if not interactive:
                raise
            console.note(f"error: {error}", level=-1)


def read_line(interactive: bool, prompt: str) -> str | None:
    """The next line without its end, or None at the end of input."""
    if not interactive:
        line = sys.stdin.readline()
        return line.strip() if line else None
    try:
        return input(prompt).strip()
    except EOFError:
        return None

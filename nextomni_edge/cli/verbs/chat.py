"""`chat`: turns of any modality, in a terminal or from a pipe."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from nextomni_edge.api.settings import MODALITIES, Request
from nextomni_edge.cli.bundle_path import BUNDLE
from nextomni_edge.cli.console import Console, common_options
from nextomni_edge.cli.generation import generation_options, request_of, watch
from nextomni_edge.cli.headings import HeadedCommand, under
from nextomni_edge.cli.model import load_model, runtime_options, trust_options
from nextomni_edge.cli.streams import on_terminal, stdin_lines
from nextomni_edge.cli.terminal import complete_lines, show_picture, unquoted
from nextomni_edge.cli.variant import choose, variant_option
from nextomni_edge.errors import NextOmniError, UsageError

if TYPE_CHECKING:
    from nextomni_edge.api.chat import Chat
    from nextomni_edge.api.model import Model
    from nextomni_edge.bundle.trust import Trust
    from nextomni_edge.runtimes.base import Execution
    from nextomni_edge.tokens.chat import Kind, Part

HELP: Final = {
    "/image FILE": "add a picture to what you say next; Enter sends it without words",
    "/audio FILE": "add a sound",
    "/video FILE": "add a video",
    "/send": "send what you added, without words",
    "/to MODALITY": f"ask for answers in {', '.join(MODALITIES)}",
    "/save FILE": "write the last answer",
    "/reset": "forget the conversation",
    "/help": "this list",
    "/quit": "leave",
}
COMMANDS: Final = tuple(usage.split()[0] for usage in HELP)
TAKE_FILES: Final = ("/image", "/audio", "/video", "/save")
NAMES: Final = {"text": "text", "image": "picture", "audio": "sound", "video": "video"}


@dataclass
class Conversation:
    """What was said is in `chat`; `pending` are the parts of the turn in the making. `shows`:
    pictures are shown in the terminal."""

    console: Console
    model: Model
    chat: Chat
    request: Request
    kind: Kind
    fps: float = 8.0
    shows: bool = False
    pending: list[Part] = field(default_factory=list)

    @property
    def prompt(self) -> str:
        """What stands before the person's words: what was added, and the modality of the answer."""
        added = "".join(f"[{NAMES[part.kind]}] " for part in self.pending)
        return f"{added}you (answer in {self.kind})> "

    def line(self, line: str) -> bool:
        """Act on one line; False ends the chat. NextOmniError: the line cannot be carried out, the
        conversation is as before."""
        if not line.startswith("/"):
            self.say(line)
            return True
        verb, _, argument = line.partition(" ")
        if verb == "/quit":
            return False
        if verb in ("/image", "/audio", "/video"):
            self.add(verb[1:], unquoted(argument))
        elif verb == "/to":
            self.aim(argument.strip())
        elif verb == "/save":
            self.save(unquoted(argument))
        elif verb == "/send":
            self.send()
        elif verb == "/reset":
            self.chat.reset()
            self.pending = []
        elif verb == "/help":
            width = max(map(len, HELP))
            lines = (f"{usage:<{width}}  {meaning}" for usage, meaning in HELP.items())
            self.console.note("\n".join(lines), level=-1)
        else:
            raise UsageError(f"no command {verb}; expected one of {', '.join(COMMANDS)}")
        return True

    def add(self, kind: str, name: str) -> None:
        """Encode a file as a part of the next turn, and say so."""
        from nextomni_edge.media.parts import file_part

        if not name:
            raise UsageError(f"/{kind} needs a file")
        self.pending.append(file_part(self.model.edge, kind, Path(name)))
        self.console.note(
            f"added {name}: say something about it, or press Enter to send it without words"
        )

    def aim(self, kind: str) -> None:
        if kind not in MODALITIES:
            raise UsageError(f"/to {kind}: expected one of {', '.join(MODALITIES)}")
        self.kind = kind

    def save(self, name: str) -> None:
        if self.chat.last is None:
            raise UsageError("nothing to save yet")
        if not name:
            raise UsageError("/save needs a file")
        self.chat.last.save(name, self.fps)
        self.console.result({"saved": name}, f"saved {name}")

    def send(self) -> None:
        if not self.pending:
            raise UsageError("nothing to send: add a file with /image, /audio or /video first")
        self.say("")

    def say(self, text: str) -> None:
        """Send the turn and show the answer; a turn that fails is forgotten, what was added
        stays."""
        said: tuple[Part | str, ...] = (*self.pending, *([text] if text.strip() else []))
        if not said:
            return
        request = self.request.fitting(self.kind)
        steps = self.chat.stream(said, self.kind)
        answer = watch(self.console, self.model.config, request, steps).decoded()
        self.pending = []
        shown = str(answer)
        if self.shows and self.kind == "image":
            show_picture(answer.image)
        if self.kind != "text":
            shown += "  (/save FILE keeps it)"
        if self.console.as_json or shown.strip():  # an empty answer is no empty line
            self.console.result({"modality": self.kind, "answer": str(answer)}, shown)


@click.command(cls=HeadedCommand)
@click.argument("bundle", type=BUNDLE)
@under("Answer")(
    "--to",
    "kind",
    type=click.Choice(MODALITIES),
    default="text",
    show_default=True,
    help="Modality of the first answers; /to changes it.",
)
@generation_options
@variant_option
@runtime_options
@trust_options
@common_options
def chat(
    console: Console,
    bundle: Path,
    kind: Kind,
    variant: str | None,
    execution: Execution,
    trust: Trust,
    **given: Any,
) -> None:
    """Talk with a model in turns; /help lists what can be said besides text.

    Tab completes commands and paths; Ctrl-C drops the line or stops the answer; Ctrl-D leaves.
    Lines may come from a pipe: then the first line that fails ends the chat with its exit code.
    --variant chooses once, by the rows of an answer to an empty turn.
    """
    from nextomni_edge.tokens.chat import Turn

    request = request_of(kind, given)
    bundle, execution = choose(
        console, bundle, variant, lambda _: [Turn("user", ())], request.fitting(kind), execution
    )
    model = load_model(console, bundle, execution, trust)
    talk = Conversation(
        console, model, model.chat(kind, **request.settings), request, kind, given["fps"]
    )
    if not on_terminal(sys.stdin):
        for line in stdin_lines():
            if not talk.line(line):
                return
        return
    talk.shows = on_terminal(sys.stdout) and not console.as_json
    complete_lines(COMMANDS, TAKE_FILES)
    console.note("/help lists the commands, Tab completes them and paths, /quit leaves")
    while attempt(console, talk):
        pass


def attempt(console: Console, talk: Conversation) -> bool:
    """Read one line and act on it; False ends the chat. An error is shown. Ctrl-C drops the line
    or stops the answer: the conversation goes on."""
    reading = True
    try:
        line = input(talk.prompt).strip()
        reading = False
        return talk.line(line)
    except EOFError:
        return False
    except KeyboardInterrupt:
        # CPython notes an interrupt that left `exec` of a text (a lazy import's dataclass, say) and
        # at its end dies of SIGINT for it, although it was caught here. Any `exec` clears the note.
        exec("")
        console.note("" if reading else "\nstopped: the conversation is as it was", level=-1)
    except NextOmniError as error:
        console.note(f"error: {error}", level=-1)
    return True

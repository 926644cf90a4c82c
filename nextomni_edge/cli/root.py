"""The group of all verbs, and the one place where an exception becomes a line and an exit code."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import json
import keyword
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import click

from nextomni_edge.cli.encoding import tolerate_consoles
from nextomni_edge.cli.native import own_stderr
from nextomni_edge.cli.streams import READER_LEFT, FullError, open_closed, put, tell
from nextomni_edge.errors import NextOmniError, UsageError, one_line
from nextomni_edge.files import FULL
from nextomni_edge.threads import bound_threads

# Verb -> what it is for; the module of the same name under cli/verbs/ holds the command of the same
# name (with a _ for a keyword).
VERBS: Final = {
    "train": "Train a recipe's model.",
    "import": "Make a model directory of a published checkpoint, without copying it.",
    "export": "Take a model out of PyTorch: write and verify a bundle.",
    "calibrate": "Collect what a bundle's networks read, from noise to data, for `quantize`.",
    "quantize": "Write a bundle with its weights as integers, and measure what that costs.",
    "report": (
        "Hold variants against their parent: size, agreement at every t, whole generations, speed."
    ),
    "verify": "Check a bundle against its model, or against its own golden trace.",
    "inspect": "Show what a bundle holds, or how two bundles differ.",
    "run": "Any modality in, any modality out.",
    "bench": "Time generations part by part, against a baseline.",
    "chat": "Talk with a model in turns.",
    "serve": "Answer clients over HTTP, with a page to play with.",
    "embed": "Write the embeddings of texts and media files.",
    "search": "Index a folder of mixed media and find by any modality.",
    "compile": "Build TensorRT engines, on the device that runs them or ahead of time.",
    "pack": "Wrap a bundle for a device: all that it needs there.",
    "sign": "Sign a bundle, so that others know who made it.",
    "push": "Put a bundle on the Hugging Face hub, with a model card.",
    "doctor": "Check this machine: libraries, providers, a bundle's golden trace replayed here.",
}
INTERRUPTED: Final = 130
TRACEBACK_VARIABLE: Final = "NEXTOMNI_EDGE_TRACEBACK"


class Verbs(click.Group):
    """Loads a verb's module when the verb is used, and offers the nearest name for one that does
    not exist."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        spelling = f"{name}_" if keyword.iskeyword(name) else name
        command: click.Command = getattr(
            importlib.import_module(f"nextomni_edge.cli.verbs.{spelling}"), spelling
        )
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            near = difflib.get_close_matches(args[0], VERBS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(VERBS)}"
            raise click.UsageError(f"no command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def main(self, args: Sequence[str] | None = None, *positional: Any, **options: Any) -> Any:
        arguments = list(sys.argv[1:] if args is None else args)
        tolerate_consoles()
        options["standalone_mode"] = False
        stdout = sys.stdout
        try:
            code = super().main(arguments, *positional, **options)
        except SystemExit as error:
            # click replaces it where a reader, such as `head`, left
            if sys.stdout is not stdout:
                sys.exit(READER_LEFT)
            raise error
        except Exception as error:
            code = report(error, arguments)
        sys.exit(code if isinstance(code, int) else 0)


@click.group(
    cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(package_name="nextomni-edge", message="%(prog)s %(version)s")
def root() -> None:
    """Any-to-any discrete-flow models from PyTorch to devices.

    Exit codes: 0 done, 1 our fault, 2 usage, 3 bad input, 4 parity or quality not met, 5 runtime or
    provider missing.

    \b
    To complete commands and options with Tab, add to ~/.bashrc:
      eval "$(_NEXTOMNI_EDGE_COMPLETE=bash_source nextomni-edge)"
    In zsh write zsh_source for bash_source. In fish:
      _NEXTOMNI_EDGE_COMPLETE=fish_source nextomni-edge | source
    """


def report(error: Exception, arguments: list[str]) -> int:
    """Tell the person what went wrong, in one line on stderr (with --json also on stdout), and
    return the exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        tell(error.format_message())
        return error.exit_code
    code, line, expected = _explain(error)
    hint = (
        f" (see `{error.ctx.command_path} --help`)"
        if isinstance(error, click.UsageError) and error.ctx
        else ""
    )
    wants_traceback = (
        os.environ.get(TRACEBACK_VARIABLE)
        or sum(_verbosity(argument) for argument in arguments) >= 2
    )
    if wants_traceback and code != INTERRUPTED:
        tell("".join(traceback.format_exception(error)).rstrip())
    elif not expected:
        hint = f"; this is a fault of the program, -vv or {TRACEBACK_VARIABLE}=1 shows where"
    tell(f"{'interrupted' if code == INTERRUPTED else 'error: ' + line}{hint}")
    if "--json" in arguments:
        described = {"type": type(error).__name__, "message": line}
        with contextlib.suppress(FullError):
            put(json.dumps({"error": described, "exit_code": code}))
    return code


def _explain(error: Exception) -> tuple[int, str, bool]:
    """(exit code, one line, whether it is a mistake that a person can mend)."""
    if isinstance(error, click.Abort):
        return INTERRUPTED, "interrupted", True
    if isinstance(error, NextOmniError):
        return error.exit_code, one_line(str(error)), True
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        near = difflib.get_close_matches(error.option_name, error.possibilities, 1, 0.0)[0]
        return 2, f"no option {error.option_name!r}; did you mean {near!r}?", True
    if isinstance(error, click.ClickException):
        return 2, one_line(error.format_message()), True
    if isinstance(error, OSError) and error.filename is not None:
        return 3, one_line(f"{os.fsdecode(error.filename)}: {error.strerror}"), True
    if isinstance(error, OSError) and error.errno in FULL:
        return UsageError.exit_code, f"cannot be written ({os.strerror(error.errno)})", True
    if isinstance(error, MemoryError):
        return 1, "not enough memory", True
    return 1, f"{type(error).__name__}: {one_line(str(error))}", False


def _verbosity(argument: str) -> int:
    if argument == "--verbose":
        return 1
    return len(argument) - 1 if re.fullmatch(r"-v+", argument) else 0


def _terminated(signum: int, frame: object) -> NoReturn:
    sys.exit(128 + signum)


def main() -> None:
    """The console script. SIGTERM unwinds like an exit, so that temporary files go."""
    signal.signal(signal.SIGTERM, _terminated)
    open_closed()
    tolerate_consoles()
    bound_threads()
    with own_stderr(shows=sum(map(_verbosity, sys.argv[1:])) > 0):
        root.main(prog_name="nextomni-edge")

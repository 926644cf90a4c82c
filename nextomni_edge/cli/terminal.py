"""What a terminal can do for a chat: complete names, and show pictures in coloured characters."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import PIL.Image

HALF_BLOCK: Final = "▀"  # its upper half in the text's colour, its lower half in the background's
QUOTES: Final = "\"'"


def unquoted(argument: str) -> str:
    """A file's name as a person types it, or drops it into a terminal: in quotes, with backslashes
    before blanks, or with a ~ for the home folder."""
    name = argument.strip()
    if len(name) > 1 and name[0] in QUOTES and name[-1] == name[0]:
        name = name[1:-1]
    elif os.name == "posix" and not os.path.lexists(name):
        name = name.replace("\\ ", " ")
    return os.path.expanduser(name)  # noqa: PTH111  (an unknown ~name is no error)


def completions(line: str, commands: Sequence[str], takes_files: Sequence[str]) -> list[str]:
    """Whole lines that a line may become: a command, or a command with a path."""
    command, blank, typed = line.partition(" ")
    if not blank:
        return [name for name in commands if name.startswith(line)] if line else []
    if command not in takes_files:
        return []
    quote = typed[:1] if typed[:1] in tuple(QUOTES) else ""
    found = []
    for path in sorted(glob.glob(glob.escape(unquoted(typed.removeprefix(quote))) + "*")):  # noqa: PTH207
        folder = os.path.isdir(path)  # noqa: PTH112
        # a folder is not the end of a path, so its quotes stay open
        closing = "" if folder else quote
        found.append(f"{command} {quote}{path}{os.sep if folder else ''}{closing}")
    return found


def complete_lines(commands: Sequence[str], takes_files: Sequence[str]) -> None:
    """Let `input` complete with Tab and keep a history, where there is readline."""
    try:
        import readline
    except ImportError:  # Windows
        return

    def complete(text: str, state: int) -> str | None:
        found = completions(readline.get_line_buffer(), commands, takes_files)
        return found[state] if state < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims("")
    # macOS has libedit under readline's name, with another syntax
    libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")


def show_picture(picture: PIL.Image.Image) -> None:
    """Print a picture as half-block characters, two pixels in each, in the colours that the
    terminal has."""
    from rich.color import Color
    from rich.console import Console
    from rich.style import Style
    from rich.text import Text

    small, drawn = fitted(picture, *shutil.get_terminal_size()), Text()
    for top in range(0, small.height, 2):
        for left in range(small.width):
            upper = Color.from_rgb(*small.getpixel((left, top)))  # type: ignore[misc]
            lower = Color.from_rgb(*small.getpixel((left, top + 1)))  # type: ignore[misc]
            drawn.append(HALF_BLOCK, Style(color=upper, bgcolor=lower))
        drawn.append("\n")
    Console().print(drawn, end="")


def fitted(picture: PIL.Image.Image, columns: int, lines: int) -> PIL.Image.Image:
    """The picture in RGB, no larger than the terminal, with an even height."""
    import PIL.Image

    width = min(picture.width, columns, max(1, 2 * (lines - 2) * picture.width // picture.height))
    height = max(2, round(picture.height * width / picture.width) // 2 * 2)
    return picture.convert("RGB").resize((width, height), PIL.Image.Resampling.BOX)

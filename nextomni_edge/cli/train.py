"""`train`: run a recipe, a folder with a `train.py` that takes --out and --minutes and resumes what it finds in its --out."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import click

from nextomni_edge.cli.console import Console, common_options
from nextomni_edge.cli.library import needs_extra
from nextomni_edge.errors import InputError, UsageError


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for states, logs and the model."
)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Stop after this long; --resume goes on.")
@click.option("--resume", is_flag=True, help="Go on with the run that is in --out.")
@common_options
def train(console: Console, recipe: Path, options: tuple[str, ...], out: Path, minutes: float | None, resume: bool) -> None:
    """Train RECIPE's model; OPTIONS that are not listed here go to the recipe itself.

    \b
    nextomni-edge train examples/emoji --data data --out runs/emoji --minutes 30
    """
    script = recipe / "train.py"
    if not script.is_file():
        raise InputError(f"{recipe}: no train.py in it; expected a recipe's folder, such as examples/emoji")
    with needs_extra("train", "torch", "accelerate"):
        pass  # the recipe imports them in its own process
    started = out.is_dir() and next(out.rglob("state.safetensors"), None) is not None
    if started and not resume:
        raise UsageError(f"{out} holds an earlier run; pass --resume to go on with it, or choose another --out")
    if resume and not started:
        raise UsageError(f"{out} holds no run to resume; leave --resume out to begin one")
    command = [sys.executable, str(script), "--out", str(out), *(["--minutes", str(minutes)] if minutes else []), *options]
    code = run_recipe(command)
    if code:
        click.get_current_context().exit(code if 0 < code <= 5 or code == 130 else 1)
    console.result({"out": str(out)}, str(out))


def run_recipe(command: list[str]) -> int:
    """The recipe's exit code. Its output goes to stderr; an interrupt is the recipe's to handle, as it saves its state first."""
    with subprocess.Popen(command, stdout=sys.stderr) as process:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the recipe as well
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            raise
        finally:
            signal.signal(signal.SIGINT, before)

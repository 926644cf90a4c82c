"""`train`: run a recipe, a folder with a `train.py` that takes --out and --minutes and resumes what
it finds in its --out."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nextomni_edge.cli import numbers
from nextomni_edge.cli.console import Console, common_options
from nextomni_edge.cli.model import threads_option
from nextomni_edge.cli.streams import stderr
from nextomni_edge.cli.verbs.dry_run import print_dry_run
from nextomni_edge.cli.verbs.plan import DEVICES
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.extras import needs_extra
from nextomni_edge.files import atomic_write
from nextomni_edge.outputs import refuse_overlap

if TYPE_CHECKING:
    from nextomni_edge.config import ModelConfig


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for states, logs and the model.  [required]",
)
@click.option(
    "--minutes",
    type=numbers.MINUTES,
    help="Stop after this long; --resume goes on.",
)
@click.option("--resume", is_flag=True, help="Go on with the run that is in --out.")
@click.option(
    "--init",
    multiple=True,
    metavar="LAYOUT=DIR",
    help=(
        "Begin from a published part: qwen2, llama, clip, siglip, whisper; or, without LAYOUT=,"
        " from a model directory."
    ),
)
@click.option(
    "--add-special-tokens",
    is_flag=True,
    help="With --init: add the special tokens that the tokenizer lacks, behind its own ids.",
)
@click.option(
    "--processes",
    type=numbers.Whole(1, 1024),
    default=1,
    show_default=True,
    help="One for each accelerator, or CPU socket.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Train nothing. Print the memory, tokens, steps and least time of each stage.",
)
@click.option(
    "--device",
    type=click.Choice(DEVICES),
    help="With --dry-run: the device. cpu is this machine, measured now.  [default: h100]",
)
@threads_option
@common_options
def train(
    console: Console,
    recipe: Path,
    options: tuple[str, ...],
    out: Path | None,
    minutes: float | None,
    resume: bool,
    init: tuple[str, ...],
    add_special_tokens: bool,
    processes: int,
    dry_run: bool,
    device: str | None,
) -> None:
    """Train RECIPE's model; OPTIONS that are not listed here go to the recipe itself.

    \b
    nextomni-edge train examples/emoji --data data --out runs/emoji --minutes 30
    nextomni-edge train examples/nextomni --dry-run

    The parts of --init must have the sizes of RECIPE's config.json; the recipe is given the
    model that they make as --init.
    """
    if not (recipe / "train.py").is_file():
        raise InputError(
            f"{recipe}: no train.py in it; expected a recipe's folder, such as examples/emoji"
        )
    with needs_extra("train", "torch", "accelerate"):
        pass  # the recipe imports them in its own process
    if dry_run:
        print_dry_run(console, recipe, processes, device or "h100")
        return
    if device:
        raise UsageError("--device is for --dry-run: a training takes the accelerators it finds")
    if out is None:
        raise UsageError("Missing option '--out'.")
    begin(console, recipe, options, out, minutes, resume, init, add_special_tokens, processes)


def begin(
    console: Console,
    recipe: Path,
    options: tuple[str, ...],
    out: Path,
    minutes: float | None,
    resume: bool,
    init: tuple[str, ...],
    add_special_tokens: bool,
    processes: int,
) -> None:
    """Start the recipe, and wait until it ends."""
    refuse_overlap(out, [recipe, *(Path(given.partition("=")[2] or given) for given in init)])
    started = out.is_dir() and next(out.rglob("state.safetensors"), None) is not None
    if started and not resume:
        raise UsageError(
            f"{out} holds an earlier run; pass --resume to go on with it, or choose another --out"
        )
    if resume and not started:
        raise UsageError(f"{out} holds no run to resume; leave --resume out to begin one")
    given: list[str] = []
    if init:
        given = ["--init", str(initial_model(console, recipe, out, init, add_special_tokens))]
    limit = ["--minutes", str(minutes)] if minutes else []
    launched = (
        ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        if processes > 1
        else []
    )
    command = [
        sys.executable,
        *launched,
        str(recipe / "train.py"),
        "--out",
        str(out),
        *limit,
        *given,
        *options,
    ]
    code = run_recipe(command)
    if code:
        click.get_current_context().exit(code if 0 < code <= 5 or code == 130 else 1)
    console.result({"out": str(out)}, str(out))


def initial_model(
    console: Console, recipe: Path, out: Path, init: tuple[str, ...], add_special_tokens: bool
) -> Path:
    """The model directory that the recipe begins from: the one that is given, or one made of
    published parts in `out`."""
    if len(init) == 1 and "=" not in init[0]:
        return Path(init[0])
    from nextomni_edge.models.initial import read_part, write_initial
    from nextomni_edge.train.stages import recipe_config

    parts = [read_part(spec) for spec in init]
    config = recipe_config(recipe)
    folders = [recipe, out, *(part.path for part in parts)]
    tokenizer = next(
        (folder / "tokenizer.json" for folder in folders if (folder / "tokenizer.json").is_file()),
        None,
    )
    if tokenizer is not None:
        tokenizer = with_special_tokens(console, tokenizer, config, out, add_special_tokens)
    for line in write_initial(config, parts, out / "initial", tokenizer):
        console.note(f"not taken: {line}")
    return out / "initial"


def with_special_tokens(
    console: Console, tokenizer: Path, config: ModelConfig, out: Path, add: bool
) -> Path | None:
    """A tokenizer that has the chat format's special tokens; None where it lacks some, and they are
    not to be added: the recipe must then have its own. InputError: the config's vocabulary has no
    rows for them."""
    from nextomni_edge.tokens.text import open_tokenizer
    from nextomni_edge.tokens.train import add_special_tokens, missing_special_tokens

    opened = open_tokenizer(tokenizer)
    missing = missing_special_tokens(opened)
    if config.text.template != "chatml" or not missing:
        return tokenizer
    if not add:
        console.note(
            f"not taken: {tokenizer} lacks {', '.join(missing)}; --add-special-tokens adds them"
        )
        return None
    size = add_special_tokens(opened)
    if size > config.text.vocabulary_size:
        raise InputError(
            f"{tokenizer}: {size} tokens with the special ones, but text.vocabulary_size is"
            f" {config.text.vocabulary_size}; the recipe's config.json must say at least {size}"
        )
    out.mkdir(parents=True, exist_ok=True)
    with atomic_write(out / "tokenizer.json", "w") as file:
        file.write(opened.to_str(pretty=True))
    return out / "tokenizer.json"


def run_recipe(command: list[str]) -> int:
    """The recipe's exit code. Its output goes to stderr; an interrupt is the recipe's to handle, as
    it saves its state first."""
    place = stderr() or subprocess.DEVNULL
    with subprocess.Popen(command, stdout=place, stderr=place) as process:
        # the terminal sends it to the recipe as well
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            raise
        finally:
            signal.signal(signal.SIGINT, before)

"""NExT-OMNI's recipe: warm-ups of the codecs of pictures and sounds, then the flow in stages PT,
CPT and SFT.

    nextomni-edge train examples/nextomni --dry-run
    nextomni-edge train examples/nextomni --init MODEL --data DATA --out runs/nextomni

stages.json names what accounts of the paper give (`accounts`): the warm-ups, the stages, and the
context of 16,384 rows. The rates, steps, batches, mixtures and the other contexts are ours, as no
account that we could check gives them. The optimiser is that of `train.loop`.

DATA holds a folder of shards for each source of the mixtures (samples.py says what is in them).
`--stages rehearsal.json` runs the same code on a small model in seconds. Each stage leaves a model
directory, --out/STAGE/model, from which the next begins.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import click
import numpy as np
import torch
from accelerate import PartialState
from samples import Samples
from torch import Tensor, nn

from nextomni_edge.errors import InputError, NextOmniError
from nextomni_edge.models import native
from nextomni_edge.models.omni import OmniModel
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.train.loop import (
    ON_CPU,
    Followed,
    Metrics,
    StepFunction,
    Trainer,
    TrainOptions,
    load_average,
)
from nextomni_edge.train.objective import Objective
from nextomni_edge.train.stages import STAGES, Stage, Stages, read_stages
from nextomni_edge.train.warm_up import WarmUp

HERE = Path(__file__).parent
EVERY = 10  # steps between two lines of the log


def module_of(stage: Stage, model: OmniModel, tokenizer: TextTokenizer) -> nn.Module:
    """What a stage trains, with its frozen parts frozen."""
    module = (
        Objective(model, tokenizer.special, stage.condition_dropout)
        if stage.trains == "flow"
        else WarmUp(stage.trains, model, stage.perceptual)
    )
    for name, parameter in module.named_parameters():
        if stage.frozen(name):
            parameter.requires_grad_(False)
    return module


def groups(stage: Stage, module: nn.Module) -> list[dict[str, object]]:
    """The trained parameters by their rate. Matrices decay; vectors and tables do not."""
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim == 2 and "embed" not in name
            decay = stage.weight_decay if decays else 0.0
            found.setdefault((stage.rate * stage.factor(name), decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in found.items()
    ]


def losses(stage: Stage, samples: Samples) -> StepFunction:
    """The loss of a batch's number."""

    def flow(module: nn.Module, batch: int, rng: np.random.Generator) -> tuple[Tensor, Metrics]:
        every = stage.reconstruct_every
        rebuilds = every > 0 and batch % every == 0
        found: tuple[Tensor, Metrics] = module(samples.draw(batch), rng, rebuilds)
        return found

    def warm_up(module: nn.Module, batch: int, _: np.random.Generator) -> tuple[Tensor, Metrics]:
        device = next(module.parameters()).device
        found: tuple[Tensor, Metrics] = module(
            *(tensor.to(device) for tensor in samples.warm_up(batch))
        )
        return found

    return flow if stage.trains == "flow" else warm_up


def report(step: int, metrics: Metrics) -> None:
    if step % EVERY == 0:
        said = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        click.echo(f"step {step}: {said}", err=True)


def run_stage(
    stage: Stage, first: bool, source: Path, data: Path, out: Path, minutes: float
) -> bool:
    """Train a stage from the model directory `source`, resuming what is in `out`; whether it is
    finished, with its model in `out`/model. The `first` stage of the flow freezes the metric
    tables of the media as their codebooks are."""
    torch.manual_seed(0)
    model, tokenizer = native.load(source).train(), TextTokenizer(source / "tokenizer.json")
    if first:
        freeze_tables(model)
    module = module_of(stage, model, tokenizer)
    samples = Samples(data, stage, model.config, tokenizer)
    options: TrainOptions = stage.options(PartialState(cpu=ON_CPU).num_processes, minutes=minutes)
    followed: dict[str, Followed] = {f"data/{name}": own for name, own in samples.shards.items()}
    if isinstance(module, Objective):
        followed["balance"] = module.balance
    trainer = Trainer(module, groups(stage, module), options, out, followed)
    trainer.resume()
    trainer.run(losses(stage, samples), report)
    if trainer.step < stage.steps:
        click.echo(f"{stage.name}: {trainer.step} of {stage.steps} steps", err=True)
        return False
    if trainer.accelerator.is_main_process:
        # the trainer's module may be in shares: a new one takes the average
        finished = native.load(source)
        if first:
            freeze_tables(finished)
        load_average(out / "state.safetensors", module_of(stage, finished, tokenizer))
        native.save(finished, source / "tokenizer.json", out / "model")
    trainer.accelerator.wait_for_everyone()
    return True


def freeze_tables(model: OmniModel) -> None:
    """The metric tables of pictures and sounds, as the warm-ups left their codebooks."""
    with torch.no_grad():
        model.metric_tables.image.copy_(model.embed_image.codebook.unit())
        model.metric_tables.audio.copy_(model.embed_audio.codebook.unit())


def run(stages: Stages, init: Path, data: Path, out: Path, minutes: float) -> None:
    """Every stage that is not finished, in order."""
    began, source, flows = time.monotonic(), init, 0
    for stage in stages.stages:
        folder, flow = out / stage.name, stage.trains == "flow"
        if not (folder / "model" / "config.json").is_file():
            left = minutes - (time.monotonic() - began) / 60
            if left <= 0 or not run_stage(stage, flow and not flows, source, data, folder, left):
                return
        source, flows = folder / "model", flows + flow


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the stages.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Folder of the sources' shards.",
)
@click.option(
    "--init",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Model directory that the training begins from, with a tokenizer.",
)
@click.option(
    "--stages", "declared", default=STAGES, help="Data file of the stages, in this folder."
)
@click.option("--minutes", default=math.inf, help="Stop after this long.")
def main(out: Path, data: Path, init: Path, declared: str, minutes: float) -> None:
    """Train the stages in order."""
    if not (init / "tokenizer.json").is_file():
        raise InputError(
            f"{init}: no tokenizer.json in it; train --add-special-tokens completes that of a part"
        )
    run(read_stages(HERE / declared), init, data, out, minutes)


if __name__ == "__main__":
    try:
        main(standalone_mode=False)
    except NextOmniError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)

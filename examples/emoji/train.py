"""Train the demo model: `python examples/emoji/train.py --data DIR --out DIR` (image, audio, flow,
speech, crossing, directions, decoders; or text)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from accelerate import PartialState
from recipe import HERE, TEXT, Recipe
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save
from torch import Tensor, nn
from training_log import Log

from nextomni_edge.checkpoints.directory import file_sha256
from nextomni_edge.errors import InputError, NextOmniError, UsageError
from nextomni_edge.files import atomic_write
from nextomni_edge.models import native
from nextomni_edge.models.omni import OmniModel
from nextomni_edge.train.decoding import Decoding
from nextomni_edge.train.loop import ON_CPU, Metrics, StepFunction, Trainer, TrainOptions
from nextomni_edge.train.objective import Objective
from nextomni_edge.train.reconstruction import SemanticHead
from nextomni_edge.train.warm_up import WarmUp

WARM_UP_BATCH = 64
STAGES = {
    "image": TrainOptions(steps=1000, rate=1.5e-3, averaging=0.995, weight_decay=0.01),
    "audio": TrainOptions(steps=600, rate=1.5e-3, averaging=0.995, weight_decay=0.01),
    "flow": TrainOptions(steps=3400, rate=2e-3, averaging=0.998),
    "speech": TrainOptions(steps=7600, rate=1.5e-3, averaging=0.998, decay=0.5),
    "crossing": TrainOptions(steps=2000, rate=1e-3, averaging=0.995, decay=0.6),
    "directions": TrainOptions(steps=7200, rate=1.5e-3, averaging=0.997, decay=0.5),
    "decoders": TrainOptions(steps=1700, rate=1e-3, averaging=0.995, decay=0.5, weight_decay=0.01),
    "text": TrainOptions(steps=4800, rate=2e-3, averaging=0.995, decay=0.5),
}
WARM_UPS = ("image", "audio")
DECODERS = "decoders"
# in the flow stages the encoders and decoders still learn, at this share of the rate
ENCODER_RATE = 0.02
RECONSTRUCT_EVERY = 8
CONDITION_DROPOUT = 0.1
# From a stage's first step to its last. What a sound or a picture tells is decided at small t, as
# later x_t itself tells; but a new backbone that begins there stays at the marginals: it learns
# what is ever said from an x_t that tells.
T_POWER = {"crossing": (3.0, 3.0), "directions": (3.0, 3.0), "text": (1.0, 3.0)}


def warm_up(recipe: Recipe, stage: str, model: OmniModel) -> tuple[nn.Module, StepFunction]:
    """A warm-up and its batches."""
    tasks = recipe.tasks

    def loss(module: nn.Module, batch: int, rng: np.random.Generator) -> tuple[Tensor, Metrics]:
        picks = tasks.picks(rng, WARM_UP_BATCH, distinct=True)
        if stage == "image":
            # the canonical picture is what generation draws
            plain = rng.random(len(picks.drawing)) < 0.4
            augmented = tasks.pixels(picks.drawing, rng)
            media = np.where(plain[:, None, None, None], tasks.pixels(picks.drawing), augmented)
        else:
            media = tasks.mels(picks.clip, rng)
        device = next(module.parameters()).device
        inputs = [
            tensor.to(device) for tensor in (torch.from_numpy(media), *recipe.names(picks.names))
        ]
        found: tuple[Tensor, Metrics] = module(*inputs)
        return found

    return WarmUp(stage, model, head=SemanticHead), loss


def decoders(recipe: Recipe, model: OmniModel) -> tuple[nn.Module, StepFunction]:
    """Both decoders in turn, on what the model answers with: drawings as they are, changed or
    moved, and for two thirds the voices that it speaks with."""
    tasks, module = recipe.tasks, Decoding(model)

    def loss(wrapped: nn.Module, batch: int, rng: np.random.Generator) -> tuple[Tensor, Metrics]:
        modality = ("image", "audio")[batch % 2]
        if modality == "image":
            media = tasks.drawn(rng, WARM_UP_BATCH)
        else:
            spoken = tasks.picks(rng, 2 * WARM_UP_BATCH // 3, spoken=True).clip
            others = tasks.picks(rng, WARM_UP_BATCH // 3).clip
            media = tasks.mels(np.concatenate([spoken, others]))
        device = next(wrapped.parameters()).device
        found: tuple[Tensor, Metrics] = wrapped(modality, torch.from_numpy(media).to(device))
        return found

    return module, loss


def flow(
    recipe: Recipe, stage: str, model: OmniModel, batches: int
) -> tuple[Objective, StepFunction]:
    """A stage of the backbone: every task in the stage's shares; reconstruction and the dropped
    condition are for media."""
    media = stage != TEXT
    objective = Objective(model, recipe.tokenizer.special, CONDITION_DROPOUT if media else 0.0)
    first, last = T_POWER.get(stage, (1.0, 1.0))

    def loss(module: nn.Module, batch: int, rng: np.random.Generator) -> tuple[Tensor, Metrics]:
        draw = recipe.tasks.draw(stage, batch)
        objective.t_power = first + (last - first) * batch / batches
        total, metrics = module(draw, rng, media and batch % RECONSTRUCT_EVERY == 0)
        return total, {f"{draw.task}/{name}": value for name, value in metrics.items()}

    return objective, loss


def objective_of(
    recipe: Recipe, stage: str, model: OmniModel, batches: int
) -> tuple[nn.Module, StepFunction]:
    """What a stage minimises, and its batches."""
    if stage in WARM_UPS:
        return warm_up(recipe, stage, model)
    if stage == DECODERS:
        return decoders(recipe, model)
    return flow(recipe, stage, model, batches)


def parameter_groups(
    module: nn.Module, options: TrainOptions, stage: str
) -> list[dict[str, object]]:
    """Weight matrices decay, vectors and tables don't; in the flow stages encoders and decoders
    learn slowly, or for text not."""
    slowly = 0.0 if stage == TEXT else ENCODER_RATE
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        slow = stage not in (*WARM_UPS, DECODERS) and any(
            part in name for part in ("encoder", "decoder", "codebook")
        )
        rate = options.rate * (slowly if slow else 1.0)
        decay = options.weight_decay if parameter.ndim == 2 and "embed" not in name else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": params, "lr": rate, "weight_decay": decay}
        for (rate, decay), params in groups.items()
    ]


def run_stage(
    recipe: Recipe,
    stage: str,
    init: Path | None,
    new_backbone: bool,
    minutes: float,
    changes: dict[str, Any],
) -> bool:
    """Train one stage, resuming its state where there is one; whether it is finished, which leaves
    its weights in OUT/STAGE."""
    torch.manual_seed(0)
    options = dataclasses.replace(STAGES[stage], minutes=minutes, **changes)
    source = start(recipe, stage, init)
    model = begin(recipe, stage, source, new_backbone)
    batches = options.steps * options.accumulate * PartialState(cpu=ON_CPU).num_processes
    module, loss = objective_of(recipe, stage, model, batches)
    followed = {"balance": module.balance} if isinstance(module, Objective) else {}
    trainer = Trainer(
        module, parameter_groups(module, options, stage), options, recipe.out / stage, followed
    )
    trainer.extra["source"] = digest(source)
    if trainer.resume() and trainer.extra.get("source") != digest(source):
        raise InputError(
            f"{trainer.out}: its state began from other weights than {names_of(source)}; restore"
            " them, or use another --out"
        )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, disable=not trainer.accelerator.is_main_process) as progress:
        log = Log(recipe.out / f"{stage}.csv", progress, options.steps)
        trainer.run(loss, log)
    if trainer.step < options.steps:
        click.echo(
            f"{stage}: {trainer.step} of {options.steps} steps; run the same command again to go on"
        )
        return False
    if trainer.accelerator.is_main_process:
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(trainer.average[name])
        finish(recipe, stage, model)
    trainer.accelerator.wait_for_everyone()
    return True


def start(recipe: Recipe, stage: str, init: Path | None) -> list[Path]:
    """The weights that a stage begins from: none for a warm-up, both warm-ups for flow, the stage
    before for others, or `init`."""
    if stage in WARM_UPS:
        return []
    if init is not None:
        return [init / "model.safetensors"]
    stages = list(STAGES)
    needed = WARM_UPS if stage == "flow" else (stages[stages.index(stage) - 1],)
    for name in needed:
        if not weights_of(recipe, name).exists():
            raise InputError(
                f"{weights_of(recipe, name)} is missing: finish --stage {name} first, or give"
                " --init MODEL"
            )
    return [weights_of(recipe, name) for name in needed]


def weights_of(recipe: Recipe, stage: str) -> Path:
    """Where a finished stage leaves its weights."""
    return (
        recipe.out
        / stage
        / ("weights.safetensors" if stage in WARM_UPS else "model/model.safetensors")
    )


def names_of(source: list[Path]) -> str:
    return " and ".join(str(path) for path in source)


def digest(source: list[Path]) -> str:
    """SHA-256 of the weights that a stage began from: its state is worth nothing with other metric
    tables."""
    return hashlib.sha256(json.dumps([file_sha256(path) for path in source]).encode()).hexdigest()


def begin(recipe: Recipe, stage: str, source: list[Path], new_backbone: bool) -> OmniModel:
    """The model that a stage trains: a new one, the one of the stage before, or a new one on both
    warm-ups, whose metric tables are frozen as they stand. `new_backbone`: text keeps nothing but
    how media are encoded."""
    if len(source) == 1:
        model = native.load(source[0].parent).train()
        if stage == TEXT:
            kept = ("encoder", "decoder", "codebook", "metric_tables") if new_backbone else ()
            return renewed(recipe, model, kept)
        if stage == DECODERS:
            return renewed(recipe, model, ())
        if dataclasses.replace(model.config, flow=recipe.config.flow) != recipe.config:
            raise InputError(
                f"{source[0].parent}: its config.json has other sizes than {HERE / 'config.json'}"
            )
        return model
    model = OmniModel(recipe.config)
    own = native.state_names(model)
    with torch.no_grad():
        for path in source:
            for name, tensor in load_file(path).items():
                own[name].copy_(tensor)
        if source:
            model.metric_tables.text.copy_(recipe.text_table())
            model.metric_tables.image.copy_(model.embed_image.codebook.unit())
            model.metric_tables.audio.copy_(model.embed_audio.codebook.unit())
    return model


def renewed(recipe: Recipe, source: OmniModel, kept: tuple[str, ...]) -> OmniModel:
    """The recipe's model with the tensors of `source` whose names have one of the words `kept`, or
    with all. What a decoder of finer pictures has in another shape is new."""
    model = OmniModel(recipe.config).train()
    own = native.state_names(model)
    with torch.no_grad():
        for name, tensor in native.state_names(source).items():
            wanted = not kept or any(part in name for part in kept)
            coarser = name.startswith("image_decoder") and own[name].shape != tensor.shape
            if wanted and not coarser:
                own[name].copy_(tensor)
    return model


def finish(recipe: Recipe, stage: str, model: OmniModel) -> None:
    """Write the trained part of a warm-up, or the whole model."""
    path = weights_of(recipe, stage)
    if stage not in WARM_UPS:
        native.save(model, recipe.out / "tokenizer.json", path.parent, torch.float16)
        return
    trained = (f"{stage}_encoder.", f"{stage}_decoder.", f"embed_{stage}.codebook.")
    parts = {
        name: tensor.detach()
        for name, tensor in model.named_parameters()
        if name.startswith(trained)
    }
    with atomic_write(path) as file:
        file.write(save(parts))


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Folder made by prepare.py.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for states, logs and the model.",
)
@click.option("--stage", type=click.Choice([*STAGES, "all"]), default="all", show_default=True)
@click.option(
    "--init",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help=(
        "Model directory that the stage begins from, in place of the stage before; not with a"
        " warm-up."
    ),
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=math.inf,
    help="Stop after this long; the same command again goes on.",
)
@click.option("--steps", type=click.IntRange(min=1), help="Length of the stage's schedule.")
@click.option(
    "--objective",
    type=click.Choice(["flow", "ar"]),
    default="flow",
    show_default=True,
    help="Of --stage text: the flow's, or next-token prediction under a causal mask.",
)
@click.option(
    "--new-backbone",
    is_flag=True,
    help="Of --stage text: keep nothing of --init but how media are encoded.",
)
@click.option("--batch-size", type=click.IntRange(min=2), default=48, show_default=True)
@click.option(
    "--accumulate",
    type=click.IntRange(min=1),
    help="Batches of each process whose mean gradient makes a step.",
)
@click.option(
    "--precision", type=click.Choice(["no", "bf16"]), help="bf16: automatic mixed precision."
)
def main(
    data: Path,
    out: Path,
    stage: str,
    init: Path | None,
    minutes: float,
    objective: str,
    new_backbone: bool,
    batch_size: int,
    **changes: Any,
) -> None:
    """Train the demo model, in stages that resume where they stopped. The last one leaves it in
    OUT/decoders/model.

    The stage text is apart: it goes on from --init (or OUT/decoders) with texts about pictures,
    and is left in OUT/text/model.
    """
    out.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + 60 * minutes
    try:
        if init is not None and stage in (*WARM_UPS, "all"):
            raise UsageError(
                "--init goes with one stage after the warm-ups: --stage"
                f" {', '.join(name for name in STAGES if name not in WARM_UPS)}"
            )
        if (objective == "ar" or new_backbone) and stage != TEXT:
            raise UsageError(
                f"--objective ar and --new-backbone are for text alone: they go with --stage {TEXT}"
            )
        recipe = Recipe(data, out, batch_size, init, stage, objective == "ar")
        for name in [name for name in STAGES if name != TEXT] if stage == "all" else [stage]:
            done = stage == "all" and weights_of(recipe, name).exists()
            given = {name: value for name, value in changes.items() if value is not None}
            if not done and not run_stage(
                recipe, name, init, new_backbone, max(0.0, until - time.monotonic()) / 60, given
            ):
                break
    except NextOmniError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()

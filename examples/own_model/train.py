"""A model of your own, whole: `python examples/own_model/train.py --out build/own`.

It learns eight colours from text to picture and back, in seconds on two cores. Its parts are a
config, a tokenizer, a codec that turns pictures into codes, and the flow over those codes.
stages.json holds the figures of the flow's training.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import click
import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from torch import Tensor, nn

from nextomni_edge.config import ModelConfig
from nextomni_edge.models import native
from nextomni_edge.models.omni import OmniModel
from nextomni_edge.tokens.chat import Part, Turn, conversation, part_segments, text_response
from nextomni_edge.tokens.sequence import Segment, Sequence
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.tokens.train import train_tokenizer
from nextomni_edge.train.loop import ON_CPU, Metrics, Trainer
from nextomni_edge.train.objective import Draw, Objective
from nextomni_edge.train.reconstruction import image_reconstruction
from nextomni_edge.train.stages import recipe_stages

HERE = Path(__file__).parent
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 70),
    "blue": (40, 80, 220),
    "yellow": (240, 210, 50),
    "purple": (140, 60, 180),
    "orange": (240, 140, 40),
    "white": (245, 245, 245),
    "black": (20, 20, 20),
}
QUESTION = "what is this?"


def pictures(names: list[str], size: int) -> NDArray[np.float32]:
    """One plain picture for each name, (n, 3, size, size) in [-1, 1]."""
    colours = np.array([COLOURS[name] for name in names], np.float32) / 127.5 - 1
    return np.broadcast_to(colours[:, :, None, None], (len(names), 3, size, size)).copy()


def tokenizer_and_config(out: Path) -> tuple[TextTokenizer, ModelConfig]:
    """A byte-level BPE tokenizer of the prompts, and the config with its vocabulary."""
    said = [f"draw {name}" for name in COLOURS] + [QUESTION, "user\n", "assistant\n"]
    train_tokenizer(said * 4, 320, out)
    tokenizer = TextTokenizer(out)
    config = ModelConfig.load(HERE / "config.json")
    text = dataclasses.replace(config.text, vocabulary_size=tokenizer.vocabulary_size)
    return tokenizer, dataclasses.replace(config, text=text)


def train_codec(model: OmniModel, steps: int) -> None:
    """Teach encoder, codebook and decoder to reconstruct pictures, then freeze their codebook as
    the metric table of the flow's path."""
    pixels = torch.from_numpy(pictures(list(COLOURS), model.config.image.size))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(steps):
        loss, _, _ = image_reconstruction(model, pixels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for part in (model.image_encoder, model.image_decoder):
        part.requires_grad_(False)
    model.metric_tables.image.copy_(model.embed_image.codebook.unit().detach())


def task(tokenizer: TextTokenizer, config: ModelConfig, draws: bool) -> Draw:
    """One batch: every colour drawn to order, or every picture named."""
    names = list(COLOURS)
    media = pictures(names, config.image.size)

    def sequence(name: str, codes: NDArray[np.int64]) -> Sequence:
        image = Part("image", codes)
        if draws:
            asked, answer = (Part("text", f"draw {name}"),), part_segments(tokenizer, image, False)
        else:
            ids = text_response(tokenizer, name, config.text.block_size)
            asked, answer = (image, Part("text", QUESTION)), (Segment("text", ids, False),)
        return Sequence((*conversation(tokenizer, [Turn("user", asked)]), *answer))

    def build(images: NDArray[np.int64], audio: NDArray[np.int64]) -> tuple[list[Sequence], ...]:
        return ([sequence(name, codes) for name, codes in zip(names, images, strict=True)],)

    return Draw("draw" if draws else "name", build, pixels=media)


def train_flow(
    model: OmniModel, tokenizer: TextTokenizer, out: Path, steps: int | None, minutes: float
) -> bool:
    """Teach the backbone and its heads to predict x_1 from x_t, half of the batches in each
    direction. The model takes the running average of its weights where this is finished."""
    stage, processes = recipe_stages(HERE)["flow"], PartialState(cpu=ON_CPU).num_processes
    objective = Objective(model, tokenizer.special, stage.condition_dropout)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    options = stage.options(processes, steps=steps or stage.steps, minutes=minutes)
    trainer = Trainer(objective, [{"params": weights, "lr": stage.rate}], options, out)
    trainer.resume()

    def loss_of(module: nn.Module, batch: int, rng: np.random.Generator) -> tuple[Tensor, Metrics]:
        draws = stage.source(batch)[0].name == "draw"
        found: tuple[Tensor, Metrics] = module(task(tokenizer, model.config, draws), rng, False)
        return found

    def report(step: int, metrics: Metrics) -> None:
        if step % 50 == 0:
            click.echo(f"step {step}: {metrics}", err=True)

    trainer.run(loss_of, report)
    with torch.no_grad():
        for name, parameter in objective.named_parameters():
            parameter.copy_(trainer.average[name])
    return trainer.step >= options.steps


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the model.")
@click.option(
    "--init",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Model directory whose backbone training begins from.",
)
@click.option("--codec-steps", default=300, show_default=True)
@click.option("--flow-steps", type=int, help="In place of those in stages.json.")
@click.option("--minutes", default=math.inf, help="Stop after this long; the next run goes on.")
def main(
    out: Path, init: Path | None, codec_steps: int, flow_steps: int | None, minutes: float
) -> None:
    """Train the model and write the model directory --out/model."""
    torch.manual_seed(0)
    processes = PartialState(cpu=ON_CPU)
    out.mkdir(parents=True, exist_ok=True)
    words = out / "tokenizer.json"
    with processes.main_process_first():
        tokenizer, config = tokenizer_and_config(words)
    model = OmniModel(config)
    if init is not None:
        model.backbone.load_state_dict(native.load(init).backbone.state_dict())
    train_codec(model, codec_steps)  # the same on every process
    finished = train_flow(model, tokenizer, out / "flow", flow_steps, minutes)
    if not finished:
        click.echo("the time is over; the same command goes on", err=True)
    elif processes.is_main_process:
        native.save(model.eval(), words, out / "model")
        words.unlink()
    processes.wait_for_everyone()


if __name__ == "__main__":
    main()

"""The judges: two small CNNs that name a picture or a spoken word, trained apart from the omni
model on the same training split.

    python examples/emoji/judges.py --data DIR [--judge image|audio]

They score what the omni model draws and says. A judge never sees the omni model's output in
training; blur, noise and wrong patches stand in for it, so that a good picture with a flaw is still
named. Their own accuracy on drawings and voices that they never saw is kept beside the weights.
"""

from __future__ import annotations

import argparse
import copy
import functools
import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from catalog import HERE, DataError, load_concepts, read_json
from dataset import Augmentation, Emoji
from poses import Floats, Ints
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from nextomni_edge.config import AudioConfig
from nextomni_edge.errors import InputError
from nextomni_edge.files import atomic_write
from nextomni_edge.tokens.audio import log_mel
from nextomni_edge.train.reconstruction import at_side

JUDGES, KINDS = HERE / "judges", ("image", "audio")
SIDE = 32  # of the pictures that the judge was trained on
AUDIO = AudioConfig(max_seconds=1.28)
PICTURES = Augmentation(rotation=15, brightness=0.2, colour=0.2, scale=(0.75, 1.15), shift=3)
POSES = Augmentation(rotation=180, brightness=0.2, colour=0.2, scale=(0.4, 1.1), shift=10)
SPEECH = Augmentation(gain=(0.2, 1.0), delay=0.04, pace=(0.8, 1.25), noise=0.01)
STEPS, BATCH, RATE, VARIANTS = {"image": 1400, "audio": 700}, 64, 3e-3, 3


class Judge(nn.Module):
    """Convolutions, mean and maximum over what is left, one linear layer: (B,channels,height,width)
    → logits (B,concepts)."""

    def __init__(
        self, channels: int, layers: tuple[tuple[int, int, int], ...], concepts: int
    ) -> None:
        """`layers`: (width, kernel, stride) each."""
        super().__init__()
        blocks: list[nn.Module] = []
        for width, kernel, stride in layers:
            blocks += [
                nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.name = nn.Linear(2 * channels, concepts)

    def forward(self, x: Tensor) -> Tensor:
        features = self.blocks(x.contiguous(memory_format=torch.channels_last))
        pooled = torch.cat([features.mean((2, 3)), features.amax((2, 3))], dim=1)
        logits: Tensor = self.name(F.dropout(pooled, 0.3, self.training))
        return logits


def build(kind: str, concepts: int = 64) -> Judge:
    """The judge of 'image' (pixels in [-1,1]) or 'audio' (log-mel as one channel, time by mel)."""
    if kind == "image":
        return Judge(3, ((24, 3, 1), (48, 3, 2), (72, 3, 2), (112, 3, 2), (144, 3, 1)), concepts)
    return Judge(1, ((16, 5, 2), (32, 3, 2), (56, 3, 2), (96, 3, 2), (128, 3, 1)), concepts)


class Panel:
    """Both judges out of `judges/`, each read when it is first asked: probabilities of each
    concept."""

    def __init__(self, folder: Path = JUDGES) -> None:
        self.folder, self.concepts = folder, [concept.name for concept in load_concepts()]
        report, weights = folder / "judges.json", sorted(folder.glob("*.safetensors"))
        self.report: dict[str, Any] = read_json(report) if report.exists() else {}
        self.digest = hashlib.sha256(b"".join(path.read_bytes() for path in weights)).hexdigest()
        self.judge = functools.cache(self._read)

    def _read(self, kind: str) -> Judge:
        """InputError: the judge is missing or is none of this build."""
        path, judge = self.folder / f"{kind}.safetensors", build(kind, len(self.concepts))
        try:
            weights = load_file(path)
            judge.load_state_dict(
                {name: t.float() if t.is_floating_point() else t for name, t in weights.items()}
            )
        except (OSError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{path}: not a judge of this example ({reason}); train it with judges.py"
            ) from error
        return judge.eval()

    @torch.no_grad()
    def pictures(self, pixels: Floats) -> Floats:
        """Pixels (B,3,S,S) in [-1,1], finer ones reduced to the 32 pixels of training →
        probabilities (B,concepts)."""
        shown = at_side(torch.from_numpy(pixels), SIDE)
        return self.judge("image")(shown).softmax(1).numpy()

    @torch.no_grad()
    def speech(self, waveforms: Floats) -> Floats:
        """Waveforms (B,samples) at 16 kHz → probabilities (B,concepts)."""
        return self.judge("audio")(torch.from_numpy(spectrograms(waveforms))).softmax(1).numpy()


def spectrograms(waveforms: Floats) -> Floats:
    """Whisper's log-mel as one channel (B,1,time,mels); its maximum is 0, so that loudness tells
    nothing."""
    mels = np.stack([log_mel(waveform, AUDIO).reshape(-1, AUDIO.mels) for waveform in waveforms])
    return (mels - mels.max(axis=(1, 2), keepdims=True))[:, None]


def blurred(x: Tensor, rng: np.random.Generator) -> Tensor:
    """A Gaussian blur of up to one pixel, another for each call."""
    sigma = rng.uniform(0.3, 1.0)
    taps = torch.exp(-0.5 * (torch.arange(-2.0, 3.0) / sigma) ** 2)
    taps = taps / taps.sum()
    channels = x.shape[1]
    across = taps.view(1, 1, 1, 5).expand(channels, 1, 1, 5)
    x = F.conv2d(F.pad(x, (2, 2, 0, 0), mode="replicate"), across, groups=channels)
    return F.conv2d(
        F.pad(x, (0, 0, 2, 2), mode="replicate"), across.transpose(2, 3), groups=channels
    )


def flawed(x: Tensor, rng: np.random.Generator, patch: tuple[int, int], noise: float) -> Tensor:
    """Blur for half the batch, noise for all, and for a third one patch of another sample: what a
    generator gets wrong."""
    count = len(x)
    half = torch.from_numpy(rng.permutation(count)[: count // 2])
    x[half] = blurred(x[half], rng)
    spread = torch.from_numpy(rng.uniform(0, noise, (count, 1, 1, 1)).astype(np.float32))
    x = x + torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32)) * spread
    height, width = x.shape[2] // patch[0], x.shape[3] // patch[1]
    for row in rng.permutation(count)[: count // 3]:
        top, left = int(rng.integers(height)) * patch[0], int(rng.integers(width)) * patch[1]
        area = (slice(None), slice(top, top + patch[0]), slice(left, left + patch[1]))
        x[row][area] = x[int(rng.integers(count))][area].clone()
    return x


def image_batch(emoji: Emoji, rows: Ints, rng: np.random.Generator) -> Tensor:
    """Augmented drawings (B,3,32,32); a quarter of them in the poses of films."""
    posed = len(rows) // 4
    pictures = np.concatenate(
        [
            emoji.pictures(rows[:posed], rng, knobs=POSES),
            emoji.pictures(rows[posed:], rng, knobs=PICTURES),
        ]
    )
    return flawed(torch.from_numpy(pictures * np.float32(2) - np.float32(1)), rng, (8, 8), 0.15)


def heard(emoji: Emoji, rows: Ints, rng: np.random.Generator) -> Floats:
    """VARIANTS augmented spectrograms of each clip (VARIANTS,N,1,time,mels): a spectrogram costs
    more than a step of training."""
    return np.stack(
        [spectrograms(emoji.clips(rows, rng, SPEECH)).astype(np.float16) for _ in range(VARIANTS)]
    )


def audio_batch(spectrogram: Floats, rng: np.random.Generator) -> Tensor:
    """Spectrograms (B,1,time,mels), moved in pitch by up to four mels and tilted: a stand-in for
    other speakers."""
    x, rows = torch.from_numpy(spectrogram.astype(np.float32)), range(len(spectrogram))
    moves = rng.integers(-4, 5, len(rows))
    x = torch.stack([clip.roll(int(move), dims=2) for clip, move in zip(x, moves, strict=True)])
    tilt = torch.from_numpy(rng.normal(0, 0.15, (len(rows), 1, 1, 1)).astype(np.float32))
    return flawed(x + tilt * torch.linspace(-1, 1, AUDIO.mels), rng, (8, AUDIO.mels), 0.15)


def still_batch(emoji: Emoji, kind: str, rows: Ints) -> Tensor:
    """Samples as they are."""
    if kind == "image":
        return torch.from_numpy(emoji.pictures(rows) * np.float32(2) - np.float32(1))
    return torch.from_numpy(spectrograms(emoji.clips(rows)))


@torch.no_grad()
def accuracy(judge: Judge, emoji: Emoji, kind: str, rows: Ints) -> dict[str, float]:
    """How often the judge names untouched samples rightly."""
    concepts = emoji.drawing_concept if kind == "image" else emoji.clip_concept
    right = [
        (judge(still_batch(emoji, kind, part)).argmax(1).numpy() == concepts[part])
        for part in np.array_split(rows, max(1, len(rows) // 64))
    ]
    return {"value": round(float(np.concatenate(right).mean()), 4), "n": len(rows)}


def train(emoji: Emoji, kind: str, steps: int, observe: Callable[[int, float], None]) -> Judge:
    """A judge trained on the training split alone; what is returned is the average of its weights
    over the last steps."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    concepts = emoji.drawing_concept if kind == "image" else emoji.clip_concept
    rows = emoji.drawings() if kind == "image" else emoji.clips_of()
    by_concept = [
        np.flatnonzero(concepts[rows] == concept) for concept in range(len(emoji.concepts))
    ]
    variants = heard(emoji, rows, rng) if kind == "audio" else None
    judge = build(kind, len(emoji.concepts)).to(memory_format=torch.channels_last)
    average = copy.deepcopy(judge).eval()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=steps, pct_start=0.15
    )
    for step in range(steps):
        chosen = np.asarray(
            [rng.choice(by_concept[c]) for c in rng.permutation(len(by_concept))[:BATCH]]
        )
        if variants is None:
            batch = image_batch(emoji, rows[chosen], rng)
        else:
            batch = audio_batch(variants[rng.integers(VARIANTS, size=len(chosen)), chosen], rng)
        loss = F.cross_entropy(
            judge(batch), torch.from_numpy(concepts[rows[chosen]]), label_smoothing=0.1
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        decay = min(0.995, step / (step + 10))
        with torch.no_grad():
            for mean, now in zip(
                average.state_dict().values(), judge.state_dict().values(), strict=True
            ):
                mean.copy_(mean.lerp(now, 1 - decay) if mean.is_floating_point() else now)
        observe(step + 1, float(loss.detach()))
    return average


def report(judge: Judge, emoji: Emoji, kind: str, seconds: float) -> dict[str, Any]:
    """What stands beside the weights."""
    rows = {False: emoji.drawings(), True: emoji.drawings(heldout=True)}
    if kind == "audio":
        rows = {False: emoji.clips_of(), True: emoji.clips_of(heldout=True)}
    unseen = "heldout_artist" if kind == "image" else "heldout_voice"
    found = {
        "train": accuracy(judge, emoji, kind, rows[False]),
        unseen: accuracy(judge, emoji, kind, rows[True]),
    }
    return found | {
        "parameters": sum(p.numel() for p in judge.parameters()),
        "seconds": round(seconds),
    }


def write(judge: Judge, kind: str, found: dict[str, Any], out: Path) -> None:
    """Weights as float16, the report of both judges as JSON."""
    out.mkdir(parents=True, exist_ok=True)
    weights = {
        name: t.half().contiguous() if t.is_floating_point() else t
        for name, t in judge.state_dict().items()
    }
    with atomic_write(out / f"{kind}.safetensors") as file:
        file.write(save(weights))
    path = out / "judges.json"
    reports = read_json(path) if path.exists() else {}
    with atomic_write(path, "w") as file:
        file.write(json.dumps({**reports, kind: found}, indent=2, sort_keys=True) + "\n")


def main() -> int:
    """Command line; 3 with one line on stderr when the data is not there."""
    parser = argparse.ArgumentParser(description="Train the judges of the emoji demo.")
    parser.add_argument("--data", type=Path, required=True, help="folder made by prepare.py")
    parser.add_argument("--judge", choices=[*KINDS, "both"], default="both")
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--out", type=Path, default=JUDGES)
    options = parser.parse_args()
    try:
        emoji = Emoji.load(options.data)
    except (DataError, OSError) as error:
        print(f"judges: {error}", file=sys.stderr)
        return 3
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns) as progress:
        for kind in KINDS if options.judge == "both" else (options.judge,):
            steps = options.steps or STEPS[kind]
            bar = progress.add_task(f"{kind} judge", total=steps, text="")
            began = time.monotonic()

            def show(step: int, loss: float, bar: TaskID = bar) -> None:
                progress.update(bar, completed=step, text=f"loss {loss:.3f}")

            judge = train(emoji, kind, steps, show)
            found = report(judge, emoji, kind, time.monotonic() - began)
            write(judge, kind, found, options.out)
            progress.console.print(kind, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())

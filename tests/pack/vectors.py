"""What the Swift code must reproduce, computed by the Python: `python -m tests.pack.vectors` writes
the files of its tests."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import UsageError
from nextomni_edge.flow.metric import MetricPath
from nextomni_edge.flow.noise import Noise, Use
from nextomni_edge.flow.sampling import sample_x_1
from nextomni_edge.flow.schedule import RISES, MetricSchedule
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.steps import StepRecord
from nextomni_edge.pack.ios import options_json, rows
from nextomni_edge.tokens.chat import Kind, Part, Turn, conversation, respond
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.tokens.train import train_tokenizer
from tests.flow.tables import STEPS, start
from tests.pack import masked_vectors, media_vectors
from tests.pack.integers import integer_model
from tests.tiny import CORPUS, tiny_config

FOLDER = Path(__file__).parents[2] / "nextomni_edge/pack/swift/Tests/NextOmniFlowTests/Vectors"
CONFIG = tiny_config()
TEXTS = [
    "draw a red rocket",
    " two  blanks,\nand a line!",
    "naïve café ☕️ 日本語",
    "<|eos|> is plain text",
    "",
    "x=1+2; #tag",
]
RUNS: tuple[tuple[str, Kind, int | None, dict[str, Any]], ...] = (
    ("text", "text", 2, {"steps": 6, "temperature": 0.0}),
    ("image", "image", None, {"steps": 8, "temperature": 1.0, "guidance": 2.0}),
    (
        "image, corrected",
        "image",
        None,
        {"steps": 5, "stepper": "corrected", "temperature": 0.7, "top_k": 5},
    ),
    ("audio", "audio", 3, {"steps": 7, "temperature": 1.0, "top_p": 0.8}),
    ("video", "video", 2, {"steps": 4, "temperature": 0.3, "guidance": 1.0}),
    ("image, prefix", "image", None, {"steps": 8, "temperature": 0.5, "guidance": 2.0}),
    ("text, prefix", "text", 3, {"steps": 6, "temperature": 1.0}),
)


# one setting each, which every loop knows
SINGLE: tuple[dict[str, Any], ...] = (
    {},
    {"steps": 1, "temperature": 0.0},
    {"steps": 0},
    {"steps": -1},
    {"temperature": math.nan},
    {"temperature": math.inf},
    {"temperature": -0.5},
    {"top_k": -3},
    {"top_p": 0.0},
    {"top_p": 1.5},
    {"top_p": math.nan},
    {"guidance": -1.0},
    {"guidance": math.nan},
    {"guidance": math.inf},
)
OPTIONS: tuple[dict[str, Any], ...] = (
    *SINGLE,
    {"temperature": 0.0, "top_k": 4},
    {"temperature": 0.0, "top_p": 0.5},
    {"steps": -7, "temperature": math.nan, "top_k": -1, "top_p": math.inf, "guidance": -math.inf},
)
# lengths and grids that only Swift knows
LENGTHS: tuple[tuple[str, Kind, int | None, dict[str, Any]], ...] = (
    ("text, uneven grid", "text", 2, {"steps": 4, "grid": (0.0, 0.1, 0.5, 0.9, 1.0)}),
    ("image, guided at first", "image", None, {"steps": 8, "guidance": 2.0, "guidance_until": 0.5}),
    ("text, grown first", "text", 1, {"steps": 6, "max_blocks": 3, "eos_threshold": 0.01}),
    (
        "text, grown between steps",
        "text",
        1,
        {"steps": 6, "max_blocks": 3, "extend": "interleaved", "eos_threshold": 0.01},
    ),
    ("text, in two parts", "text", 2, {"steps": 5, "lead_tokens": 3}),
    (
        "text, in two parts that grow",
        "text",
        1,
        {"steps": 5, "lead_tokens": 6, "max_blocks": 3, "eos_threshold": 0.01},
    ),
    ("text, of which one part is all", "text", 1, {"steps": 5, "lead_tokens": 9}),
)
# of all that Swift knows
SETTINGS: tuple[dict[str, Any], ...] = (
    *SINGLE,
    {"guidance_image": -0.25},
    {"guidance_until": 1.5, "guidance": 1.0},
    {"guidance_until": 0.5},
    {"temperature": 0.0, "top_k": 4},
    {"temperature": 0.0, "top_p": 0.5},
    {"block": -1},
    {"threshold": 1.5},
    {"threshold": math.nan, "draw_temperature": math.inf},
    {"lead_tokens": -1},
    {"max_blocks": 0},
    {"max_blocks": -(2**40)},
    {"eos_threshold": 0.0},
    {"eos_threshold": math.nan, "extend_until": -0.5},
    {"steps": 2, "grid": [0.0, 1.0]},
    {"steps": 2, "grid": [0.0, 0.5, 0.9]},
    {"steps": 3, "grid": [0.0, 0.5, 0.5, 1.0]},
    {"steps": 2, "grid": [0.0, 0.25, 1.0]},
    {"steps": -7, "temperature": math.nan, "top_k": -1, "top_p": math.inf, "guidance": -math.inf},
)
# of a text or a picture of the tiny model: options that are in range and do not fit
UNFIT: tuple[tuple[Kind, dict[str, Any]], ...] = (
    ("text", {}),
    ("image", {"stepper": "commit"}),
    ("text", {"block": 4}),
    ("text", {"threshold": 0.5}),
    ("text", {"draw_temperature": 0.5}),
    ("image", {"max_blocks": 2}),
    ("image", {"block": 2}),
    ("text", {"extend": "interleaved"}),
    ("text", {"max_blocks": 9}),
    ("image", {"lead_tokens": 2}),
    ("text", {"lead_tokens": 2, "guidance": 1.0}),
    ("text", {"lead_tokens": 12, "max_blocks": 3}),
    ("text", {"lead_tokens": 2**62, "max_blocks": 3}),
)


def with_attention(config: ModelConfig, attention: Any) -> ModelConfig:
    """The same model with another rule of what a prompt sees."""
    return dataclasses.replace(
        config, backbone=dataclasses.replace(config.backbone, attention=attention)
    )


def table(count: int, width: int, seed: int) -> np.ndarray:
    """A metric table of short numbers, a row of it zero."""
    found = np.random.default_rng(seed).integers(-99, 100, (count, width)).astype(np.float32) / 64
    found[count // 2] = 0
    return found


def noise() -> list[dict[str, Any]]:
    places = [
        (0, 0, 0, Use.START, 6, 1), (7, 2, 3, Use.X_1, 5, 3), (2**64 - 1, 1, 31, Use.JUMP, 9, 2),
        (123456789, 4, 2, Use.TARGET, 1, 8),
    ]  # fmt: skip
    return [
        {
            "seed": str(seed), "segment": segment, "step": step, "use": int(use),
            "positions": positions, "codes": codes,
            "uniform": Noise(seed).uniform(segment, step, use, positions, codes).tolist(),
            "start": start(Noise(seed), segment, positions, codes, 1000).tolist(),
        }
        for seed, segment, step, use, positions, codes in places
    ]  # fmt: skip


def schedule() -> list[dict[str, Any]]:
    found = []
    for c, a, t in itertools.product((1.0, 3.0), (0.9, 1.5), (0.0, 0.125, 0.5, 0.9, 1.0 - 2**-10)):
        own = MetricSchedule(c, a)
        rises = {name: rise(own, t, 2**-11) for name, rise in RISES.items()}
        found.append(
            {
                "c": c,
                "a": a,
                "t": t,
                "h": 2**-11,
                "beta": own(t)[0],
                "derivative": own(t)[1],
                **rises,
            }
        )
    return found


def steps() -> dict[str, Any]:
    """Single steps of 40 rows at several times, by both rules, and the distances from one
    symbol."""
    metric, generator = table(24, 6, seed=1), np.random.default_rng(2)
    path, found = MetricPath(metric, MetricSchedule()), []
    for stepper, t in itertools.product(STEPS, (0.0, 0.25, 0.6, 0.9)):
        x_t, x_1 = generator.integers(0, 24, (2, 40))
        jump, target = np.round(generator.uniform(size=(2, 40)), 6)
        x_next = STEPS[stepper](x_t, x_1, t, 0.1, path, jump, target)
        found.append({
            "stepper": stepper, "t": t, "h": 0.1, "from": x_t.tolist(), "toward": x_1.tolist(),
            "jump": jump.tolist(), "target": target.tolist(), "next": x_next.tolist(),
        })  # fmt: skip
    return {
        "table": metric.tolist(),
        "distance": path.metric.distance(np.array([3]))[0].tolist(),
        "steps": found,
    }


def sampling() -> list[dict[str, Any]]:
    generator, found = np.random.default_rng(3), []
    for temperature, top_k, top_p in (
        (0.0, 0, 1.0),
        (1.0, 0, 1.0),
        (0.5, 4, 1.0),
        (1.3, 0, 0.7),
        (0.8, 6, 0.5),
    ):
        logits = generator.integers(-24, 24, (20, 12)).astype(np.float32) / 8
        uniform = np.round(generator.uniform(size=20), 6)
        x_1 = sample_x_1(logits, uniform, temperature, top_k, top_p)
        found.append({
            "temperature": temperature, "topK": top_k, "topP": top_p, "logits": logits.tolist(),
            "uniform": uniform.tolist(), "x1": x_1.tolist(),
        })  # fmt: skip
    return found


def options() -> list[dict[str, Any]]:
    """Options with the sentence that refuses them, or none. Numbers are texts: JSON has no NaN."""
    found = []
    for settings in OPTIONS:
        refused = None
        try:
            GenerationOptions(**settings)
        except UsageError as error:
            refused = str(error)
        numbers = {"steps": 32, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "guidance": 0.0}
        found.append(
            {name: str(value) for name, value in (numbers | settings).items()}
            | {"refused": refused}
        )
    return found


def option_settings() -> list[dict[str, Any]]:
    """Options with the sentence that refuses them, or none. Numbers are texts: JSON has no NaN."""
    found = []
    for kind, settings in (*(("", each) for each in SETTINGS), *UNFIT):
        refused = None
        try:
            own = GenerationOptions(**settings)
            if kind:
                own.check(CONFIG, kind)
        except UsageError as error:
            refused = str(error)
        texts = {
            name: [str(item) for item in value] if isinstance(value, list) else [str(value)]
            for name, value in settings.items()
        }
        found.append({"modality": kind, "settings": texts, "refused": refused})
    return found


def tokenizer_texts(tokenizer: TextTokenizer) -> list[dict[str, Any]]:
    found = []
    for text in TEXTS:
        ids = tokenizer.encode(text)
        answer = [tokenizer.special.pad, *ids.tolist(), tokenizer.special.eos, *ids.tolist()]
        found.append(
            {
                "text": text,
                "ids": ids.tolist(),
                "answer": answer,
                "decoded": tokenizer.decode(np.array(answer)),
            }
        )
    return found


def loop(
    tokenizer_path: Path, asked: tuple[tuple[str, Kind, int | None, dict[str, Any]], ...]
) -> dict[str, Any]:
    """Whole runs over the model of whole numbers."""
    sizes = {"image": CONFIG.image.codebook, "audio": CONFIG.audio.codebook}
    tables = {"text": table(CONFIG.text.vocabulary_size, 4, 4)} | {
        name: np.stack([table(book.entries, 4, 5 + k) for k in range(book.codebooks)])
        for name, book in sizes.items()
    }
    models = {
        attention: integer_model(with_attention(CONFIG, attention), tokenizer_path, tables)
        for attention in ("full", "prefix")
    }
    runs = []
    for seed, (name, kind, count, settings) in enumerate(asked):
        attention = "prefix" if "prefix" in name else "full"
        model = models[attention]
        segments = conversation(
            model.tokenizer, [Turn("user", (Part("text", "draw a red rocket"),))], kind
        )
        options = GenerationOptions(seed=seed + 2**63, **settings)
        records: list[StepRecord] = []
        finished = generate(
            model, respond(segments, kind, CONFIG, model.tokenizer, count), options, records.append
        )
        runs.append({
            "name": name, "attention": attention, "kind": kind,
            "count": count or 1, **options_json(options),
            "prompt": [token for segment in segments for token in segment.tokens.tolist()],
            "steps": [step_json(record) for record in records],
            "tokens": [rows([finished.segments[index].tokens]) for index in finished.generated()],
        })  # fmt: skip
    return {
        "tables": {
            name: values.reshape(-1, *values.shape[-2:]).tolist() for name, values in tables.items()
        },
        "runs": runs,
    }


def step_json(record: StepRecord) -> dict[str, Any]:
    return {
        "step": record.step,
        "xt": rows(list(record.x_t)),
        "x1": None if record.x_1 is None else rows(list(record.x_1)),
    }


def vectors() -> dict[str, Any]:
    """Every file by its name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        train_tokenizer(CORPUS, CONFIG.text.vocabulary_size, path)
        tokenizer = TextTokenizer(path)

        return {
            "noise.json": noise(), "schedule.json": schedule(), "steps.json": steps(),
            "sampling.json": sampling(), "options.json": options(),
            "settings.json": option_settings(),
            "texts.json": tokenizer_texts(tokenizer),
            "loop.json": loop(path, RUNS), "lengths.json": loop(path, LENGTHS),
            "config.json": CONFIG.to_json(),
            "tokenizer.json": json.loads(path.read_text()),
            **masked_vectors.vectors(),
            **media_vectors.vectors(),
        }  # fmt: skip


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, data in vectors().items():
        (FOLDER / name).write_text(
            json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")) + "\n"
        )


if __name__ == "__main__":
    main()

"""The Swift loop's own time next to Python's, on one large vocabulary: `python -m
benchmarks.swift_loop`. It needs Swift 6.

Both loops run with the same logits, table and noise, and no model computes between them. The tokens
must be equal.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from nextomni_edge.config import ModelConfig
from nextomni_edge.formats.tensor_file import write_tensors
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.graphs import graph_specs
from nextomni_edge.pack.ios import SOURCES
from nextomni_edge.runtimes.base import Array, Session
from nextomni_edge.spec import GraphSpec, Wire
from nextomni_edge.tokens.sequence import Segment, Sequence
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.tokens.train import train_tokenizer
from tests.tiny import CORPUS, tiny_config

BUILD: Final = Path(__file__).parents[1] / "build"
ROWS, VOCABULARY, DIMENSIONS = 64, 152_064, 64
RUNS: Final[tuple[dict[str, Any], ...]] = (
    {"name": "greedy", "steps": 8, "temperature": 0.0, "topK": 0, "topP": 1.0},
    {"name": "drawn", "steps": 8, "temperature": 1.0, "topK": 0, "topP": 1.0},
    {"name": "top-k 50", "steps": 8, "temperature": 1.0, "topK": 50, "topP": 1.0},
    {"name": "top-p 0.9", "steps": 8, "temperature": 1.0, "topK": 0, "topP": 0.9},
)


class FixedSession(Session):
    """A component that computes nothing: the head always gives the same logits."""

    def __init__(self, spec: GraphSpec, logits: Array) -> None:
        super().__init__(spec, "fixed")
        self.logits = logits

    def _run(self, inputs: Mapping[str, Array], outputs: list[str]) -> dict[str, Array]:
        if self.spec.name == "text_head":
            return {Wire.LOGITS: self.logits}
        if self.spec.name == "backbone":
            return {Wire.HIDDEN: inputs[Wire.EMBEDDINGS]}
        width = self.spec.outputs[0].dims[2]
        shape = (*inputs[Wire.TOKENS].shape, width)
        return {Wire.EMBEDDINGS: np.ones(shape, np.float32)}


def bench_config() -> ModelConfig:
    config = tiny_config()
    text = dataclasses.replace(config.text, vocabulary_size=VOCABULARY, block_size=ROWS)
    return dataclasses.replace(config, text=dataclasses.replace(text, metric_dim=DIMENSIONS))


def written(folder: Path) -> tuple[EdgeModel, ModelConfig]:
    """The folder that nextomni-bench reads, and the same model for Python."""
    folder.mkdir(parents=True, exist_ok=True)
    generator, config = np.random.default_rng(0), bench_config()
    logits = generator.normal(0, 3, (ROWS, VOCABULARY)).astype(np.float32)
    table = generator.normal(size=(VOCABULARY, DIMENSIONS)).astype(np.float32)
    codes = {"image": np.ones((3, 16, 4), np.float32), "audio": np.ones((2, 16, 4), np.float32)}
    tables = {"text": table} | codes
    for name, tensors in (("logits", {"logits": logits}), ("metric_tables", tables)):
        with (folder / f"{name}.safetensors").open("wb") as file:
            write_tensors(file, tensors)
    (folder / "config.json").write_text(json.dumps(config.to_json()))
    (folder / "runs.json").write_text(json.dumps(RUNS))
    train_tokenizer(CORPUS, 320, folder / "tokenizer.json")
    sessions = {
        name: FixedSession(spec, logits[None]) for name, spec in graph_specs(config).items()
    }
    tokenizer = TextTokenizer(folder / "tokenizer.json")
    return EdgeModel(config, tokenizer, sessions.__getitem__, lambda _: table), config


def in_python(model: EdgeModel) -> list[dict[str, Any]]:
    found = []
    given = Segment("text", np.array([1, 2, 3])), Segment("text", np.zeros(ROWS, np.int64), False)
    for run in RUNS:
        options = GenerationOptions(
            steps=run["steps"], temperature=run["temperature"], top_k=run["topK"],
            top_p=run["topP"], seed=7,
        )  # fmt: skip
        start = time.perf_counter()
        tokens = generate(model, Sequence(given), options).segments[1].tokens
        found.append({"name": run["name"], "seconds": time.perf_counter() - start,
                      "tokens": tokens.tolist()})  # fmt: skip
    word = "drawaredrocket" * 300
    start = time.perf_counter()
    ids = model.tokenizer.encode(word)
    found.append({"name": f"one word of {len(word)} letters",
                  "seconds": time.perf_counter() - start, "tokens": ids.tolist()})  # fmt: skip
    return found


def in_swift(command: list[str], folder: Path) -> list[dict[str, Any]]:
    out = subprocess.run([*command, str(folder)], check=True, capture_output=True, text=True)
    return [json.loads(line) for line in out.stdout.splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=BUILD / "swift_bench")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--built", default="", help="a command that runs a built nextomni-bench")
    parser.add_argument("--before", default="", help="a command that runs an older one, too")
    asked = parser.parse_args()
    run = ["swift", "run", "-c", "release", "--package-path", str(SOURCES)]
    run += ["--scratch-path", str(BUILD / "swift"), "nextomni-bench"]
    command = asked.built.split() or run
    commands = [command, *([asked.before.split()] if asked.before else [])]
    model, _ = written(asked.folder)
    spent: dict[str, list[list[float]]] = {}
    for _ in range(asked.rounds):  # one after the other, so that all meet the same machine
        found = [in_python(model), *(in_swift(each, asked.folder) for each in commands)]
        for own, *others in zip(*found, strict=True):
            for other in others:
                assert own["tokens"] == other["tokens"], (
                    f"{own['name']}: other tokens than Python's"
                )
            steps = next((run["steps"] for run in RUNS if run["name"] == own["name"]), 1)
            times = spent.setdefault(own["name"], [[] for _ in found])
            for each, run in zip(times, (own, *others), strict=True):
                each.append(1000 * run["seconds"] / steps)
    print(f"V = {VOCABULARY}, {ROWS} rows, {DIMENSIONS} dimensions; milliseconds a step, median")
    print(f"{'':28}{'Python':>10}{'Swift':>10}{'before' if asked.before else '':>10}")
    for name, times in spent.items():
        print(f"{name:28}" + "".join(f"{statistics.median(each):10.1f}" for each in times))


if __name__ == "__main__":
    main()

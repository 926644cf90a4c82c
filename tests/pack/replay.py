"""The golden trace through the loop in Swift or Kotlin, whose components a Python runtime answers
over a pipe: `python -m tests.pack.replay BUNDLE...`, which `make test-swift` and, with `--language
kotlin`, `make test-android` run. `--masked` adds the small published masked models, which are
exported for it.

The messages are those of nextomni_edge/pack/swift/Sources/Replay/main.swift and
tests/pack/kotlin/Replay.kt. A difference in any token of any step ends it with exit code 1.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import PIL.Image

from nextomni_edge import Image, load
from nextomni_edge.bundle import Bundle
from nextomni_edge.config import ModelConfig
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.steps import StepRecord
from nextomni_edge.pack.ios import SOURCES, options_json, rows, trace_json
from nextomni_edge.tasks import plans_of
from tests.pack import jvm
from tests.pack.vectors import with_attention

ROOT = Path(__file__).parents[2]
TYPES = {"f": "float32", "i": "int32", "b": "int32"}  # on the wire, by numpy's kind
BUILD = ROOT / "build" / "replay"
SWIFT = (
    "swift", "run", "--package-path", str(SOURCES), "--scratch-path", str(ROOT / "build" / "swift"),
)  # fmt: skip
# By language: what replays the folder of this name.
PROGRAMS: dict[str, Callable[[str], list[str]]] = {
    "swift": lambda folder: [*SWIFT, "--skip-build", "nextomni-replay", folder],
    "kotlin": lambda folder: jvm.command("Replay", "replay", folder),
}


# other lengths of a text: found before or between the steps, in two parts, on another grid
LENGTHS: dict[str, dict[str, Any]] = {
    "grown first": {"max_blocks": 3, "eos_threshold": 0.9},
    "grown between steps": {"max_blocks": 3, "extend": "interleaved", "eos_threshold": 0.9},
    "two parts": {"lead_tokens": 5},
    "two parts that grow": {"lead_tokens": 5, "max_blocks": 2},
    "an uneven grid": {"steps": 4, "grid": (0.0, 0.2, 0.7, 0.9, 1.0)},
    "top-k and top-p": {"temperature": 0.8, "top_k": 40, "top_p": 0.9},
}


def computed(
    model: EdgeModel, settings: Mapping[str, Any] | None = None, modality: str = ""
) -> dict[str, Any]:
    """The trace of all tasks, or those of a modality, as this model computes them now with these
    settings, in the form of pack/ios.py."""
    tasks = []
    for task in (plan.task(model) for plan in plans_of(model.config)):
        if modality not in ("", task.modality):
            continue
        task = dataclasses.replace(task, options=task.options.changed(**(settings or {})))
        records: list[StepRecord] = []
        finished = generate(model, task.sequence, task.options, records.append)
        tasks.append(
            {
                "name": task.name,
                **options_json(task.options),
                "segments": [
                    {
                        "modality": segment.modality,
                        "frozen": segment.frozen,
                        "tokens": rows([segment.tokens]),
                    }
                    for segment in task.sequence.segments
                ],
                "steps": [
                    {
                        "xt": rows(list(record.x_t)),
                        "x1": None if record.x_1 is None else rows(list(record.x_1)),
                        "margin": record.margin if np.isfinite(record.margin) else None,
                    }
                    for record in records
                ],
                "tokens": [
                    rows([finished.segments[index].tokens]) for index in finished.generated()
                ],
            }
        )
    return {"tie": 0.0, "tasks": tasks}


def replayed(
    language: str, tokenizer: Path, tables: Path, trace: dict[str, Any], model: EdgeModel
) -> int:
    """Run a trace in a language of PROGRAMS and compare every token of every step. `tables`: a
    safetensors file. The number of draws compared. AssertionError: a difference."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        folder = _folder(model.config, tokenizer, tables, Path(name))
        (folder / "golden.json").write_text(json.dumps(trace, allow_nan=False))
        found = answered(PROGRAMS[language](name), model)
    return _compared(found, trace["tasks"])


def _folder(config: ModelConfig, tokenizer: Path, tables: Path, folder: Path) -> Path:
    """What a pack's folder holds of a model next to its components."""
    (folder / "config.json").write_text(json.dumps(config.to_json()))
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    shutil.copyfile(tables, folder / "metric_tables.safetensors")
    return folder


def answered(command: list[str], model: EdgeModel) -> list[dict[str, Any]]:
    """Run a program and answer for its components. What it tells of its tasks. AssertionError: the
    program fails."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        found = list(_served(process.stdout, process.stdin, model))
    assert process.returncode == 0, f"{command[0]} ended with {process.returncode}"
    return found


def _served(requests: IO[bytes], answers: IO[bytes], model: EdgeModel) -> Iterator[dict[str, Any]]:
    """Answer every request; what the other side tells of its tasks."""
    while length := requests.read(4):
        header = json.loads(requests.read(int.from_bytes(length, "little")))
        if "task" in header:
            yield header
            continue
        inputs = {
            tensor["name"]: np.frombuffer(
                requests.read(4 * int(np.prod(tensor["shape"]))), f"<{tensor['type'][0]}4"
            ).reshape(tensor["shape"])
            for tensor in header["tensors"]
        }
        session = model.session(header["component"])
        dtypes = {tensor.name: tensor.dtype for tensor in session.spec.inputs}
        given = {name: array.astype(dtypes[name]) for name, array in inputs.items()}
        found = session.run(given, set(header["outputs"]))
        types = {name: TYPES[found[name].dtype.kind] for name in header["outputs"]}
        listed = [
            {"name": name, "type": type_, "shape": found[name].shape}
            for name, type_ in types.items()
        ]
        text = json.dumps({"tensors": listed}).encode()
        answers.write(len(text).to_bytes(4, "little") + text)
        for name, type_ in types.items():
            answers.write(np.ascontiguousarray(found[name], f"<{type_[0]}4").tobytes())
        answers.flush()


def _compared(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> int:
    assert [task["task"] for task in found] == [task["name"] for task in expected]
    draws = 0
    for own, task in zip(found, expected, strict=True):
        assert len(own["steps"]) == len(task["steps"]), f"{task['name']}: number of steps"
        for step, python in zip(own["steps"], task["steps"], strict=True):
            for kind in ("xt", "x1"):
                place = f"{task['name']}: {kind} at step {step['step']}"
                assert step.get(kind) == python[kind], f"{place} is not Python's"
            draws += sum(map(len, python["x1"] or ()))
        assert own["tokens"] == task["tokens"], f"{task['name']}: tokens"
    return draws


def sampled(path: Path) -> None:
    """The sample program with this bundle: a picture of words, and words of that picture, as Python
    answers them. AssertionError: they differ."""
    bundle, own = Bundle.open(path), load(path)
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        tables = bundle.path / bundle.manifest.metric_tables
        folder = _folder(bundle.config, bundle.tokenizer_path, tables, Path(name))
        words = "draw rocket, noto style"
        drawn = own.generate(words, to="image", seed=5, steps=8).image
        found = folder / "drawn.ppm"
        asked = ["--text", words, "--to", "image", "--steps", "8", "--seed", "5", "-o", str(found)]
        _sample(folder, asked, EdgeModel.from_bundle(bundle))
        with PIL.Image.open(found) as picture:
            assert np.array_equal(np.asarray(picture), np.asarray(drawn)), "the picture is another"
        said = _sample(folder, ["--image", str(found)], EdgeModel.from_bundle(bundle))
        assert said == own.generate(Image(found)).text, "the text is another"
    print(f"{path.name}: nextomni-sample draws and names the same picture: {said!r}")


def _sample(folder: Path, asked: list[str], model: EdgeModel) -> str:
    """Run nextomni-sample, and answer for its components over two named pipes. Its text."""
    requests, answers = folder / "requests", folder / "answers"
    for pipe in (requests, answers):
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
    command = [*SWIFT, "--skip-build", "nextomni-sample", str(folder), *asked]
    command += ["--pipe", str(answers), str(requests)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        with requests.open("rb") as reading, answers.open("wb") as writing:
            for _ in _served(reading, writing, model):
                raise AssertionError("the sample tells of no tasks")
        assert process.stdout
        text = process.stdout.read()
    assert process.returncode == 0, f"nextomni-sample ended with {process.returncode}"
    return text.removesuffix("\n")


def masked_bundles(folder: Path) -> list[Path]:
    """The published masked models of tests/published, exported with their golden traces."""
    from nextomni_edge.export.bundle import export_bundle
    from tests.pack.masked_vectors import FAMILIES
    from tests.published.models import imported

    for family in FAMILIES:
        export_bundle(imported(family), folder / family)
    return [folder / family for family in FAMILIES]


def replay(path: Path, language: str) -> None:
    """Replay a bundle's golden trace, and native weights with prefix attention too."""
    bundle = Bundle.open(path)
    model = EdgeModel.from_bundle(bundle)
    cases = [("golden trace", trace_json(bundle), model)]
    if bundle.config.network == "native" and bundle.config.backbone.attention == "full":
        # the same weights; the graphs do not depend on what a prompt sees
        config = with_attention(bundle.config, "prefix")
        other = EdgeModel(config, model.tokenizer, model.session, bundle.metric_table)
        cases.append(("prefix attention", computed(other), other))
        for name, settings in LENGTHS.items() if language == "swift" else ():
            cases.append((name, computed(model, settings, "text"), model))
    for name, trace, own in cases:
        tables = bundle.path / bundle.manifest.metric_tables
        draws = replayed(language, bundle.tokenizer_path, tables, trace, own)
        count = len(trace["tasks"])
        print(f"{path.name}: {name}: {count} tasks, {draws} draws, all the same in {language}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", nargs="*", type=Path, metavar="BUNDLE")
    parser.add_argument("--masked", action="store_true", help="the small published models too")
    parser.add_argument("--language", choices=PROGRAMS, default="swift")
    asked = parser.parse_args()
    for path in asked.bundles:
        replay(path, asked.language)
        if asked.language == "swift":
            sampled(path)
    if asked.masked:
        with tempfile.TemporaryDirectory() as folder:
            for path in masked_bundles(Path(folder)):
                replay(path, asked.language)


if __name__ == "__main__":
    main()

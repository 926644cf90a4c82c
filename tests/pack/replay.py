"""The golden trace through the loop in Swift or Kotlin, whose components a Python runtime answers
over a pipe: `python -m tests.pack.replay BUNDLE...`, which `make test-swift` and, with `--language
kotlin`, `make test-android` run. `--masked` adds the small published masked models, which are
exported for it.

The messages are those of nextomni_edge/pack/swift/Sources/Replay/main.swift and
tests/pack/kotlin/Replay.kt. A difference in any token of any step ends it with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from nextomni_edge.bundle import Bundle
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


def computed(model: EdgeModel) -> dict[str, Any]:
    """The trace of all tasks as this model computes them now, in the form of pack/ios.py."""
    tasks = []
    for task in (plan.task(model) for plan in plans_of(model.config)):
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
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps(model.config.to_json()))
        (folder / "golden.json").write_text(json.dumps(trace, allow_nan=False))
        shutil.copyfile(tokenizer, folder / "tokenizer.json")
        shutil.copyfile(tables, folder / "metric_tables.safetensors")
        found = answered(PROGRAMS[language](name), model)
    return _compared(found, trace["tasks"])


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
    if asked.masked:
        with tempfile.TemporaryDirectory() as folder:
            for path in masked_bundles(Path(folder)):
                replay(path, asked.language)


if __name__ == "__main__":
    sys.exit(main())

"""Make the emoji data: drawings of seven artists and speech of the names, from package registries
alone.

    python examples/emoji/prepare.py --out DIR

Writes DIR/drawings.safetensors and DIR/speech.safetensors. What is done already is kept: an
interrupted run goes on where it was. Needs node with npm, the programs espeak-ng and flite, and the
Python packages of requirements.txt beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from catalog import (
    ARTISTS,
    HERE,
    Concept,
    DataError,
    Split,
    fingerprint,
    load_concepts,
    load_split,
    read_json,
)
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from safetensors import safe_open
from safetensors.numpy import save
from speech import SAMPLES, VOICES, Voice, speak

SIZE = 64


def write_atomic(path: Path, content: bytes) -> None:
    """Replace a file in one step: readers see the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def up_to_date(path: Path, source: str) -> bool:
    """Whether a finished data file was made from these very inputs."""
    if not path.exists():
        return False
    with safe_open(str(path), framework="np") as file:
        return bool((file.metadata() or {}).get("source") == source)


def install_packages(npm: Path) -> None:
    """Install the pinned npm packages into DIR/npm, unless those versions are there already."""
    wanted = (HERE / "package.json").read_text(encoding="utf-8")
    done = npm / "installed.json"
    if done.exists() and done.read_text(encoding="utf-8") == wanted:
        return
    if shutil.which("npm") is None:
        raise DataError("npm is not installed (it comes with Node.js)")
    npm.mkdir(parents=True, exist_ok=True)
    write_atomic(npm / "package.json", wanted.encode())
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    run = subprocess.run(command, cwd=npm, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise DataError(
            "npm install failed:"
            f" {run.stderr.strip().splitlines()[-1] if run.stderr.strip() else run.returncode}"
        )
    write_atomic(done, wanted.encode())


def check_names(npm: Path, concepts: list[Concept]) -> None:
    """Refuse a name whose words emojibase-data does not give for its code point: names must mean
    what is drawn."""
    rows = {
        row["hexcode"].split("-")[0]: row
        for row in read_json(npm / "node_modules" / "emojibase-data" / "en" / "data.json")
    }
    for concept in concepts:
        row = rows.get(concept.codepoint, {"label": ""})
        words = set(
            " ".join([row["label"], *row.get("tags", [])]).lower().replace("-", " ").split()
        )
        if not set(concept.name.split()) <= words:
            raise DataError(
                f"concepts.json: '{concept.name}' is no name of U+{concept.codepoint} in"
                " emojibase-data"
            )


def wanted_drawings(concepts: list[Concept]) -> list[tuple[int, int, str]]:
    """(concept, artist, icon) of every drawing, in the order of the rows of the data file."""
    skip = read_json(HERE / "skip.json")
    return [
        (c, a, concept.icons[artist])
        for c, concept in enumerate(concepts)
        for a, artist in enumerate(ARTISTS)
        if artist in concept.icons and concept.icons[artist] not in skip.get(artist, [])
    ]


def render(out: Path, concepts: list[Concept], progress: Progress, task: TaskID) -> list[Path]:
    """Render all drawings in node; returns one raw RGBA file per wanted drawing."""
    items = [
        {"key": f"{concepts[c].codepoint}_{ARTISTS[a]}_{icon}", "artist": ARTISTS[a], "icon": icon}
        for c, a, icon in wanted_drawings(concepts)
    ]
    return render_job(
        out, items, lambda done, total: progress.update(task, completed=done, total=total)
    )


def render_job(
    out: Path, items: list[dict[str, str]], observe: Callable[[int, int], None]
) -> list[Path]:
    """Render `items` (key, artist, icon) in node under `out`; one raw RGBA file each, in their
    order. DataError: the renderer's reason."""
    folder = out / "parts" / f"rgba-{fingerprint(read_json(HERE / 'package.json'), SIZE)}"
    job = {
        "npm": str((out / "npm").resolve()),
        "out": str(folder.resolve()),
        "size": SIZE,
        "items": items,
    }
    write_atomic(out / "parts" / "render.json", json.dumps(job).encode())
    command = ["node", str(HERE / "render.mjs"), str(out / "parts" / "render.json")]
    failed: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        if process.stdout is None or process.stderr is None:
            raise DataError("the renderer has no output")
        for line in process.stdout:
            message = json.loads(line)
            failed += message.get("failed", [])
            if "done" in message:
                observe(message["done"], message["total"])
        trouble = process.stderr.read().strip()
    if process.returncode != 0:
        raise DataError(
            f"rendering failed: {trouble.splitlines()[-1] if trouble else process.returncode}"
        )
    if failed:
        raise DataError(f"the renderer aborts on {', '.join(failed)}: add them to skip.json")
    return [folder / f"{item['key']}.rgba" for item in items]


def pack_drawings(out: Path, concepts: list[Concept], split: Split, progress: Progress) -> None:
    """Write drawings.safetensors: rgba uint8 (N,64,64,4), concept, artist int64 (N,), heldout uint8
    (N,)."""
    task = progress.add_task("drawings", total=None)
    rows = wanted_drawings(concepts)
    target = out / "drawings.safetensors"
    source = fingerprint(read_json(HERE / "package.json"), rows, sorted(split.artists.items()))
    if up_to_date(target, source):
        progress.update(task, completed=len(rows), total=len(rows))
        return
    install_packages(out / "npm")
    check_names(out / "npm", concepts)
    files = render(out, concepts, progress, task)
    rgba = np.stack([np.fromfile(file, np.uint8).reshape(SIZE, SIZE, 4) for file in files])
    held = [ARTISTS[a] in split.artists[concepts[c].codepoint] for c, a, _ in rows]
    tensors: dict[str, npt.NDArray[Any]] = {
        "rgba": rgba,
        "concept": np.array([c for c, _, _ in rows], np.int64),
        "artist": np.array([a for _, a, _ in rows], np.int64),
        "heldout": np.array(held, np.uint8),
    }
    names = json.dumps([concept.name for concept in concepts])
    write_atomic(
        target, save(tensors, {"artists": json.dumps(ARTISTS), "concepts": names, "source": source})
    )
    progress.update(task, completed=len(rows), total=len(rows))


def say_name(out: Path, concept: Concept, voice: Voice) -> npt.NDArray[np.int16]:
    """All clips of one name by one voice, int16 (paces, 20480), kept in a part file."""
    part = (
        out
        / "parts"
        / "speech"
        / f"{concept.codepoint}-{fingerprint(concept.name, vars(voice))}.raw"
    )
    if not part.exists():
        clips = np.stack([speak(voice, pace, concept.name) for pace in voice.paces])
        write_atomic(part, clips.tobytes())
    return np.fromfile(part, np.int16).reshape(len(voice.paces), SAMPLES)


def pack_speech(out: Path, concepts: list[Concept], split: Split, progress: Progress) -> None:
    """Write speech.safetensors: waveform int16 (M,20480), concept, voice int64 (M,), heldout uint8
    (M,)."""
    task = progress.add_task("speech", total=len(concepts) * len(VOICES))
    names = [concept.name for concept in concepts]
    if split.voice not in [voice.name for voice in VOICES]:
        raise DataError(f"split.json holds out the voice {split.voice}, which does not exist")
    target = out / "speech.safetensors"
    source = fingerprint(names, [vars(voice) for voice in VOICES], split.voice)
    if up_to_date(target, source):
        progress.update(task, completed=len(concepts) * len(VOICES))
        return
    waves, labels = [], []
    for c, concept in enumerate(concepts):
        for v, voice in enumerate(VOICES):
            clips = say_name(out, concept, voice)
            waves.append(clips)
            labels += [(c, v, voice.name == split.voice)] * len(clips)
            progress.advance(task)
    tensors: dict[str, npt.NDArray[Any]] = {
        "waveform": np.concatenate(waves),
        "concept": np.array([c for c, _, _ in labels], np.int64),
        "voice": np.array([v for _, v, _ in labels], np.int64),
        "heldout": np.array([held for _, _, held in labels], np.uint8),
    }
    voices = json.dumps([voice.name for voice in VOICES])
    write_atomic(
        target, save(tensors, {"voices": voices, "concepts": json.dumps(names), "source": source})
    )


def main() -> int:
    """Command line; 0 when both files are there, 3 with one line on stderr when the data cannot be
    made."""
    parser = argparse.ArgumentParser(
        description="Make the emoji drawings and speech for the demo model."
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the data (about 100 MB)"
    )
    out: Path = parser.parse_args().out
    bar = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    try:
        concepts = load_concepts()
        split = load_split(concepts)
        with Progress(*bar, console=Console(stderr=True)) as progress:
            pack_drawings(out, concepts, split, progress)
            pack_speech(out, concepts, split, progress)
    except (DataError, OSError) as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 3
    print(f"{out / 'drawings.safetensors'}\n{out / 'speech.safetensors'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

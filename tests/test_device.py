"""A device: the wheel and the libraries that it requires with the extra `cpu`, and nothing else,
run every task of a bundle."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ABSENT = [
    "torch",
    "onnx",
    "onnxscript",
    "onnx_ir",
    "transformers",
    "accelerate",
    "scipy",
    "hypothesis",
]


def required(metadata: str) -> set[str]:
    """Names of the wheel's requirements for a device, and of theirs."""
    lines = [
        line.removeprefix("Requires-Dist: ")
        for line in metadata.splitlines()
        if line.startswith("Requires-Dist: ")
    ]
    pending = [
        line for line in lines if "extra ==" not in line or re.search(r"extra == .cpu.", line)
    ]
    found = set[str]()
    while pending:
        name = re.split(r"[^A-Za-z0-9._-]", pending.pop())[0].lower()
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # a requirement of another platform
        if name not in found:
            found.add(name)
            pending += [line for line in distribution.requires or [] if "extra ==" not in line]
    return found


@pytest.fixture(scope="module")
def device(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to import from: the unpacked wheel, and links to what it requires in this
    environment."""
    site = tmp_path_factory.mktemp("device")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        (metadata,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        text = archive.read(metadata).decode()
    for name in required(text):
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or [] if file.parts[0] != ".."}:
            source = Path(str(distribution.locate_file(top)))
            if source.exists() and not (site / top).exists():
                (site / top).symlink_to(source)
    return site


def python(device: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Python without this environment's packages (-S), whose only other place to import from is the
    device's folder."""
    variables = {"PYTHONPATH": str(device), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        env=variables,
        cwd=device,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_device_has_no_torch(device: Path) -> None:
    script = (
        f"import importlib.util as u; print([name for name in {ABSENT!r} if u.find_spec(name)])"
    )
    ended = python(device, "-c", script)
    assert (ended.stdout.strip(), ended.stderr) == ("[]", "")


@pytest.mark.parametrize("kind", ["text", "image", "audio", "video"])
def test_every_modality_is_generated_there(
    device: Path, tiny_bundle: Path, tmp_path: Path, kind: str
) -> None:
    output = (
        tmp_path
        / {"text": "out.txt", "image": "out.png", "audio": "out.wav", "video": "out.gif"}[kind]
    )
    ended = python(
        device,
        "-m",
        "nextomni_edge",
        "run",
        tiny_bundle,
        "--text",
        "a red rocket",
        "--to",
        kind,
        "-o",
        output,
        "--json",
    )
    assert ended.returncode == 0, ended.stderr
    assert isinstance(json.loads(ended.stdout), dict) and output.is_file()


def test_pictures_are_understood_and_turned_to_sound_there(
    device: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    picture, sound = tmp_path / "in.png", tmp_path / "out.wav"
    Image.fromarray(np.arange(3 * 20 * 20, dtype=np.uint8).reshape(20, 20, 3)).save(picture)
    for arguments in (["--to", "text"], ["--to", "audio", "-o", sound]):
        ended = python(
            device, "-m", "nextomni_edge", "run", tiny_bundle, "--image", picture, *arguments
        )
        assert ended.returncode == 0, ended.stderr
    ended = python(
        device,
        "-m",
        "nextomni_edge",
        "run",
        tiny_bundle,
        "--audio",
        sound,
        "--to",
        "image",
        "-o",
        tmp_path / "out.png",
    )
    assert ended.returncode == 0, ended.stderr

"""What many tests share: one tiny random model, and its bundle. Treat both as read-only; copy to
change."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.tiny import tiny_model

if TYPE_CHECKING:
    from nextomni_edge.calibration.data.samples import CalibrationSet

PACKAGE = Path(__file__).parents[1] / "nextomni_edge"


def sources() -> str:
    """Digest of all that decides what the shared files hold: our sources, and the libraries that
    trace and run a model."""
    found = hashlib.sha256(Path(__file__).with_name("tiny.py").read_bytes())
    for folder, _, names in sorted(os.walk(PACKAGE, followlinks=True)):
        for name in sorted(names):
            if name.endswith(".py") and Path(folder).name not in (
                "api",
                "calibration",
                "cli",
                "media",
                "train",
            ):
                found.update(f"{folder}/{name}\0".encode() + (Path(folder) / name).read_bytes())
    for library in ("torch", "onnx", "onnxscript", "onnx-ir", "onnxruntime", "numpy", "tokenizers"):
        found.update(f"{library} {importlib.metadata.version(library)}\0".encode())
    return found.hexdigest()[:16]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def made_once() -> Callable[[str, Callable[[Path], object]], Path]:
    """Make a directory of this name unless an earlier session made it from the same sources:
    tracing takes a minute."""
    root = Path(tempfile.gettempdir()) / f"nextomni-edge-tests-{os.getuid()}" / sources()

    def path_of(name: str, make: Callable[[Path], object]) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (root / f"{name}.made").exists():
                make(root / name)
                (root / f"{name}.made").touch()
        return root / name

    return path_of


@pytest.fixture(scope="session")
def tiny_checkpoint(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A model directory with random weights."""
    return made_once("model", tiny_model)


@pytest.fixture(scope="session")
def tiny_bundle(
    tiny_checkpoint: Path, made_once: Callable[[str, Callable[[Path], object]], Path]
) -> Path:
    """The model's verified ONNX bundle."""
    from nextomni_edge.export import export_bundle

    return made_once(
        "bundle", lambda out: export_bundle(tiny_checkpoint, out, overwrite=out.exists())
    )


@pytest.fixture(scope="session")
def tiny_coreml_bundle(
    tiny_checkpoint: Path, made_once: Callable[[str, Callable[[Path], object]], Path]
) -> Path:
    """The model's verified bundle of Core ML packages."""
    pytest.importorskip("coremltools", reason="Core ML packages are made by coremltools")
    from nextomni_edge.export import export_bundle

    return made_once(
        "coreml",
        lambda out: export_bundle(tiny_checkpoint, out, overwrite=out.exists(), target="coreml"),
    )


@pytest.fixture(scope="session")
def tiny_gguf_bundle(
    tiny_checkpoint: Path, made_once: Callable[[str, Callable[[Path], object]], Path]
) -> Path:
    """The model's verified bundle with a GGUF backbone among ONNX graphs."""
    for library in ("gguf", "llama_cpp"):
        pytest.importorskip(
            library,
            reason="gguf writes and llama.cpp runs the backbone; `make test-slow` installs both",
        )
    from nextomni_edge.export import export_bundle

    return made_once(
        "gguf",
        lambda out: export_bundle(tiny_checkpoint, out, overwrite=out.exists(), target="gguf"),
    )


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system of as many KiB as the test's mark `small_disk` says."""
    size = request.node.get_closest_marker("small_disk").args[0]
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(tmp_path)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip(
            "mounting a tmpfs is not permitted here; tests with a limit on a file's size stand in"
        )
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.fixture(scope="session")
def numbers(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> CalibrationSet:
    """A calibration set of random numbers of the tiny bundle."""
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.calibration.data.collect import Random, collect
    from nextomni_edge.generate.model import EdgeModel

    bundle = Bundle.open(tiny_bundle)
    made_of = Random(EdgeModel.from_bundle(bundle), bundle.manifest.components, 1)
    return collect(bundle, made_of, tmp_path_factory.mktemp("sets") / "set", 4)


@pytest.fixture(scope="session")
def fp8_bundle(
    tiny_bundle: Path, numbers: CalibrationSet, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The tiny bundle in FP8, its codecs as they are."""
    from nextomni_edge.calibration import quantize
    from nextomni_edge.calibration.recipes.config import Fp8

    codecs = ("image_encoder", "image_decoder", "audio_encoder", "audio_decoder")
    out = tmp_path_factory.mktemp("fp8") / "bundle"
    quantize(tiny_bundle, out, Fp8(skip=codecs), calibration=numbers.path)
    return out


def fill(disk: Path) -> Path:
    """A file that takes all the room there is but a page."""
    ballast, room = disk / "ballast", os.statvfs(disk)
    ballast.write_bytes(b"\0" * (room.f_bavail * room.f_frsize - 4096))
    return ballast


@pytest.fixture
def variant(
    tiny_bundle: Path, made_once: Callable[[str, Callable[[Path], object]], Path]
) -> Callable[[str], Path]:
    """The quantised bundle of a config of test_quantize.py, by its name."""
    from nextomni_edge.calibration import quantize
    from tests.calibration.test_quantize import CONFIGS

    def path_of(name: str) -> Path:
        return made_once(
            f"quantised-{name}",
            lambda out: quantize(tiny_bundle, out, CONFIGS[name], overwrite=out.exists()),
        )

    return path_of

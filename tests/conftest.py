"""What many tests share: one tiny random model, and its bundle. Treat both as read-only; copy to
change."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.bounded import bounded
from tests.calls import Invoke
from tests.sources import PACKAGE, ROOT

if TYPE_CHECKING:
    from click.testing import Result

    from nextomni_edge.calibration.data.samples import CalibrationSet


def sources() -> str:
    """Digest of all that decides what the shared files hold: our sources, and the libraries that
    trace and run a model."""
    found = hashlib.sha256(Path(__file__).with_name("tiny.py").read_bytes())
    for folder, _, names in sorted(os.walk(ROOT / PACKAGE, followlinks=True)):
        for name in sorted(names):
            if name.endswith(".py") and Path(folder).name not in (
                "api",
                "calibration",
                "cli",
                "media",
                "pack",
                "routes",
                "serve",
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


@pytest.fixture
def within_bounds() -> Iterator[None]:
    """A stranger's input may cost 1.5 GB and ten seconds of the processor."""
    with bounded():
        yield


@pytest.fixture(scope="session")
def made_once() -> Callable[[str, Callable[[Path], object]], Path]:
    """Make a directory of this name unless an earlier session made it from the same sources:
    tracing takes a minute."""
    import fcntl  # POSIX only, as is what makes bundles

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
    from tests.tiny import tiny_model

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


@pytest.fixture
def variant(
    tiny_bundle: Path, made_once: Callable[[str, Callable[[Path], object]], Path]
) -> Callable[[str], Path]:
    """The quantised bundle of a config of calibration/configs.py, by its name."""
    from nextomni_edge.calibration import quantize
    from tests.calibration.configs import CONFIGS

    def path_of(name: str) -> Path:
        return made_once(
            f"quantised-{name}",
            lambda out: quantize(tiny_bundle, out, CONFIGS[name], overwrite=out.exists()),
        )

    return path_of


@pytest.fixture(scope="session")
def package_sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packaged: a build writes next to its sources."""
    copy = tmp_path_factory.mktemp("sources")
    command = ["git", "ls-files", "-co", "--exclude-standard", "--"]
    command += [PACKAGE, "calibration", "export", "optimum", "runtimes", "pyproject.toml"]
    command += ["README.md", "LICENSE", "NOTICE"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        path, target = ROOT / name, copy / name
        if path.is_symlink() or path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target, follow_symlinks=False)
    return copy


@pytest.fixture(scope="session")
def wheel(package_sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network: setuptools is in the environment."""
    out = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", out]
    command = [sys.executable, "-m", "pip", "wheel", *options, package_sources]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture
def invoke() -> Invoke:
    """Run a command line in this process; `stdin` is what is piped in."""
    from click.testing import CliRunner

    from nextomni_edge.cli import root

    def call(*arguments: object, stdin: str | None = None) -> Result:
        return CliRunner().invoke(
            root, [str(argument) for argument in arguments], input=stdin, prog_name="nextomni-edge"
        )

    return call

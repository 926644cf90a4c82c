"""`pack --for jetson --wheels`: what is asked of uv and pip, and an installation without a network
from what they bring."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.pack import pack, wheels
from nextomni_edge.pack.wheel import package_wheel
from tests.calls import Invoke, refused

PINS = "numpy==2.2.6\nclick==8.5.1\nnextomni-edge @ file:///x.whl\n"


def test_versions_are_found_for_the_device_and_its_wheels_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("uv", reason="uv finds the versions (extra: pack)")
    ran: list[tuple[list[str], str]] = []

    def run(command: list[str], failure: str, given: str = "") -> str:
        listed = Path(command[-1])
        ran.append((command, listed.read_text() if listed.is_file() else given))
        return PINS

    monkeypatch.setattr(wheels, "_run", run)
    wheels.download(tmp_path / "nextomni_edge-1-py3-none-any.whl", "3.10", tmp_path)
    (found, asked), (downloaded, pins) = ran
    assert asked.startswith("nextomni-edge[quantize,serve] @ file://")
    assert found[-3:] == ["3.10", "--python-platform", "aarch64-manylinux_2_35"]
    assert pins == "numpy==2.2.6\nclick==8.5.1\n" and list(tmp_path.iterdir()) == []
    tags = {tag for tag in downloaded if "manylinux" in tag}
    assert {"manylinux_2_17_aarch64", "manylinux_2_35_aarch64", "manylinux2014_aarch64"} <= tags
    assert not any("2_36" in tag or "x86" in tag for tag in tags)


def test_a_failure_is_one_line_with_the_tools_own(tmp_path: Path) -> None:
    script = "import sys; print('looking', file=sys.stderr); sys.exit('no  wheel of av')"
    with pytest.raises(InputError, match=r"^no set of wheels \(no wheel of av\)$"):
        wheels._run([sys.executable, "-c", script], "no set of wheels")


def test_wheels_are_for_a_device_with_python(
    tiny_bundle: Path, tmp_path: Path, invoke: Invoke
) -> None:
    with pytest.raises(UsageError, match=r"^--wheels: of --for jetson only, not of ios"):
        pack(Bundle.open(tiny_bundle), tmp_path / "out", "ios", wheels="3.10")
    command = ("pack", tiny_bundle, "--for", "jetson", "-o", tmp_path / "a.tar", "--wheels")
    refused(invoke(*command, "--python", "2.7"), 2, "'2.7' is not one of '3.10', '3.12'")


def interpreter(version: str) -> str | None:
    """A Python of this version, where pyenv keeps its own or on PATH."""
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    return str(kept[-1]) if kept else shutil.which(f"python{version}")


@pytest.mark.slow
@pytest.mark.parametrize("version", wheels.PYTHONS)
def test_the_package_installs_from_its_wheels_without_a_network(
    tiny_bundle: Path, tmp_path: Path, version: str
) -> None:
    """With this machine's processor in the place of the Jetson's: the script ends where TensorRT
    is needed, or else at the GPU. Needs a package registry."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} is installed")
    pytest.importorskip("uv", reason="uv finds the versions (extra: pack)")
    alone = ["unshare", "--net", "--map-root-user"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets no process leave the network (unshare --net)")
    machine = os.uname().machine
    name, content = package_wheel()
    pack(Bundle.open(tiny_bundle), tmp_path / "edge.tar", "jetson")
    shutil.unpack_archive(tmp_path / "edge.tar", tmp_path, filter="data")
    folder = tmp_path / "edge"
    (folder / "wheels").mkdir()
    (tmp_path / name).write_bytes(content)
    wheels.download(tmp_path / name, version, folder / "wheels", machine)
    # JetPack's bindings are the system's; an empty module of a version stands for them
    base = tmp_path / "base"
    subprocess.run([python, "-m", "venv", base], check=True)
    stand_in = next((base / "lib").glob("python*/site-packages")) / "tensorrt.py"
    stand_in.write_text("__version__ = '10.3.0'\n\nclass LayerType: ...\n", encoding="utf-8")
    ended = subprocess.run(
        [*alone, folder / "install.sh"], capture_output=True, text=True, check=False,
        env=environment(PYTHON=str(base / "bin" / "python"), PYTHONPATH=str(stand_in.parent)),
    )  # fmt: skip
    assert "ok    tensorrt           tensorrt 10.3.0: `compile`" in ended.stdout, ended.stderr
    assert "all is well" in ended.stdout and "+ " in ended.stdout
    assert ended.returncode == 5 and "no NVIDIA driver here" in ended.stderr
    ran = subprocess.run(
        [*alone, folder / "environment/bin/nextomni-edge", "verify", folder / "bundle"],
        capture_output=True, text=True, check=False, env=environment(),
    )  # fmt: skip
    assert ran.returncode == 0 and "the same as the golden trace on onnx" in ran.stdout, ran.stderr


def environment(**more: str) -> dict[str, Any]:
    """Without this checkout, and without what tells pip of other places."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    kept.pop("PYTHONPATH", None)
    return kept | {"PIP_CONFIG_FILE": os.devnull, "OMP_NUM_THREADS": "1"} | more

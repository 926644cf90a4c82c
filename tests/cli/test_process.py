"""Real processes: a device without PyTorch, interrupts at work, a reader that goes away, and help
that is instant."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.process import PROGRAM, ended, heed_interrupts, start
from tests.sources import ROOT

WITHOUT_TORCH = """
import sys
blocked = ["torch", "onnx", "onnxscript", "transformers", "accelerate", "scipy"]
sys.modules.update(dict.fromkeys(blocked))  # importing one raises
from nextomni_edge.cli import main
main()
"""


HELP = [["--help"], ["run", "--help"], ["search", "index", "--help"], ["doctor", "--help"]]


@pytest.mark.parametrize("arguments", HELP)
def test_help_imports_no_library_that_takes_long(arguments: list[str]) -> None:
    code, out, errors = ended(
        "-X", "importtime", "-m", "nextomni_edge", *arguments, program=[sys.executable]
    )
    assert code == 0 and out.startswith("Usage: nextomni-edge")
    imported = {line.rsplit("|", 1)[1].strip() for line in errors.splitlines() if "|" in line}
    assert not imported & {
        "numpy",
        "torch",
        "onnxruntime",
        "PIL",
        "av",
        "soundfile",
        "tokenizers",
        "rich",
        "safetensors",
    }


def test_help_is_instant() -> None:
    def seconds(*arguments: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert ended(*arguments, program=[sys.executable])[0] == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Against the interpreter with click, not in seconds: another machine may be slower. The least
    # of several turns is what the work costs when nothing else runs.
    for arguments in HELP:
        turns = [
            (seconds("-c", "import click"), seconds("-m", "nextomni_edge", *arguments))
            for _ in range(5)
        ]
        click, ours = (min(column) for column in zip(*turns, strict=True))
        assert ours < 5 * click, f"{arguments}: {ours:.2f} s, {ours / click:.1f} times click's"


def test_the_installed_command_starts() -> None:
    code, out, _ = ended(
        "--version", program=[str(Path(sys.executable).with_name("nextomni-edge"))]
    )
    assert code == 0 and out.startswith("nextomni-edge 0.")


def test_a_device_without_torch_does_everything(
    tiny_bundle: Path, media: Path, tmp_path: Path
) -> None:
    device = [sys.executable, "-c", WITHOUT_TORCH]
    for arguments in (
        ["run", tiny_bundle, "--text", "a cat", "--to", "image", "-o", tmp_path / "a.png"],
        [
            "run",
            tiny_bundle,
            "--image",
            tmp_path / "a.png",
            "--audio",
            media / "tone.wav",
            "--to",
            "audio",
            "-o",
            tmp_path / "a.wav",
        ],
        ["run", tiny_bundle, "--video", media / "blink.gif", "--text", "what is this?"],
        ["embed", tiny_bundle, media / "red.png"],
        ["search", "index", tmp_path, "--bundle", tiny_bundle],
        ["search", tmp_path, "a cat", "--bundle", tiny_bundle],
        ["inspect", tiny_bundle],
        ["doctor", tiny_bundle],
    ):
        code, out, errors = ended(*arguments, program=device)
        assert code == 0 and out and errors == "", (arguments, out, errors)
    code, _, errors = ended("export", media, "-o", tmp_path / "b", program=device)
    assert code == 5 and errors.startswith(
        "error: torch is not installed; install with: pip install 'nextomni-edge[export]'"
    )


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_nothing_half_written(
    tiny_bundle: Path, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    process = start(
        "run", tiny_bundle, "--text", "a", "--to", "image", "--steps", 65_536, "-o",
        tmp_path / "a.png", "--progress", "json", "--save-trace", tmp_path / "trace.safetensors",
    )  # fmt: skip
    assert process.stderr is not None
    assert json.loads(process.stderr.readline())["event"] == "progress"
    process.send_signal(sent)
    try:
        out, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code and out == "" and "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_goes_away_is_no_traceback(tiny_bundle: Path) -> None:
    process = start("inspect", tiny_bundle, "--json")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    assert process.wait(60) != 0


RECIPE = """
import json, pathlib, sys, time
arguments = sys.argv[1:]
out = pathlib.Path(arguments[arguments.index("--out") + 1])
out.mkdir(exist_ok=True)
(out / "state.safetensors").write_bytes(b"state")
try:
    print("recipe", json.dumps(arguments), flush=True)
    time.sleep(60 if "--wait" in arguments else 0)
except KeyboardInterrupt:
    (out / "saved").touch()
    sys.exit(130)
sys.exit(3 if "--fail" in arguments else 0)
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "train.py").write_text(RECIPE, encoding="utf-8")
    return tmp_path / "recipe"


def test_train_runs_the_recipe_with_its_own_options(recipe: Path, tmp_path: Path) -> None:
    code, out, errors = ended(
        "train", recipe, "--data", "here", "--out", tmp_path / "run", "--minutes", "2", "--json"
    )
    assert code == 0 and json.loads(out) == {"out": str(tmp_path / "run")}
    assert json.loads(errors.removeprefix("recipe ")) == [
        "--out",
        str(tmp_path / "run"),
        "--minutes",
        "2.0",
        "--data",
        "here",
    ]
    code, _, errors = ended("train", recipe, "--out", tmp_path / "run")
    assert code == 2 and "holds an earlier run; pass --resume to go on with it" in errors
    assert ended("train", recipe, "--out", tmp_path / "run", "--resume")[0] == 0
    assert ended("train", recipe, "--out", tmp_path / "run", "--resume", "--fail")[0] == 3


def test_train_refuses_what_is_no_recipe_and_nothing_to_resume(
    recipe: Path, tmp_path: Path
) -> None:
    assert "no train.py in it" in ended("train", tmp_path, "--out", tmp_path / "run")[2]
    assert (
        "holds no run to resume" in ended("train", recipe, "--out", tmp_path / "run", "--resume")[2]
    )


def test_an_interrupted_recipe_saves_its_state_first(recipe: Path, tmp_path: Path) -> None:
    command = [*PROGRAM, "train", str(recipe), "--out", str(tmp_path / "run"), "--wait"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )
    assert process.stderr is not None and process.stderr.readline().startswith("recipe")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    process.communicate(timeout=60)
    assert process.returncode == 130 and (tmp_path / "run" / "saved").exists()


def test_a_watch_tells_each_change_and_ends_by_an_interrupt(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("a cat", encoding="utf-8")
    process = start("search", "watch", tmp_path, "--bundle", tiny_bundle, "--json")
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["embedded"] == 1
        (tmp_path / "b.txt").write_text("a dog", encoding="utf-8")
        assert json.loads(process.stdout.readline())["embedded"] == 1
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and "Traceback" not in errors

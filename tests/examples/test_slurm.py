"""examples/train.slurm with stand-ins for SLURM's programs: the command that it runs, and a
training whose two nodes are two processes of this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "train.slurm"
# starts the command once for each node, as srun does, and hands TERM on to every one
SRUN = """#!{python}
import json, os, pathlib, signal, subprocess, sys
place = pathlib.Path(__file__)
place.with_name("srun.json").write_text(json.dumps(sys.argv[1:]))
if os.environ.get("ONLY_RECORD"):
    sys.exit()
signal.signal(signal.SIGTERM, lambda *_: [node.terminate() for node in nodes])
nodes = [subprocess.Popen(sys.argv[2:]) for _ in range(int(os.environ["SLURM_NNODES"]))]
place.with_name("pid").write_text(str(os.getpid()))
sys.exit(max(abs(node.wait()) for node in nodes))
"""
SCONTROL = '#!/bin/sh\ntest "$*" = "show hostnames node[1-2]" && printf "localhost\\nnode2\\n"\n'


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    folder = tmp_path / "programs"
    folder.mkdir()
    for name, text in (("srun", SRUN.format(python=sys.executable)), ("scontrol", SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def job(programs: Path, *arguments: object, **variables: str) -> subprocess.Popen[str]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    slurm = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_NNODES": "2", "SLURM_JOB_ID": "7"}
    return subprocess.Popen(
        ["bash", str(SCRIPT), *map(str, arguments)],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=os.environ | {"PATH": path, "MASTER_PORT": port} | slurm | variables,
    )  # fmt: skip


def test_the_command_that_two_nodes_run(programs: Path) -> None:
    started = job(programs, "RECIPE", "--out", "a folder", ONLY_RECORD="1", SLURM_GPUS_ON_NODE="8",
                  MASTER_PORT="29500")  # fmt: skip
    said, _ = started.communicate()
    assert started.returncode == 0, said
    assert json.loads((programs / "srun.json").read_text()) == [
        "--kill-on-bad-exit", "python", "-m", "torch.distributed.run", "--nnodes=2",
        "--nproc-per-node=8", "--rdzv-id=7", "--rdzv-backend=c10d",
        "--rdzv-endpoint=localhost:29500", "--shutdown-timeout=150", "RECIPE/train.py", "--out",
        "a folder",
    ]  # fmt: skip


def test_a_recipe_must_be_named(programs: Path) -> None:
    said, _ = job(programs).communicate()
    assert "name a recipe, a folder with a train.py" in said


def test_the_script_is_shell_without_a_fault() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    checker = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    if checker is None:
        pytest.skip("not installed: shellcheck; only bash itself read the script")
    subprocess.run([checker, SCRIPT], check=True)


@pytest.mark.slow
def test_two_nodes_train_stop_at_term_and_go_on_in_the_next_job(
    programs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    call = ("examples/own_model", "--out", out, "--codec-steps", 20, "--flow-steps", 60)
    first = job(programs, *call)
    assert first.stdout is not None
    for line in first.stdout:
        if line.startswith("step 0"):
            break
    os.kill(int((programs / "pid").read_text()), signal.SIGTERM)
    said = first.stdout.read()
    assert first.wait() != 0 and not (out / "model").exists(), said
    with safe_open(out / "flow" / "state.safetensors", "np") as state:
        stopped = int(state.metadata()["step"])
    assert 0 < stopped < 60
    second = job(programs, *call)
    said, _ = second.communicate()
    assert second.returncode == 0, said
    with safe_open(out / "flow" / "state.safetensors", "np") as state:
        assert int(state.metadata()["step"]) == 60
    assert "step 0" not in said
    assert (out / "model" / "config.json").is_file()

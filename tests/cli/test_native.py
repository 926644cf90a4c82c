"""One line on stderr: what libraries write to file descriptor 2 is shown with -v, and after a
crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nextomni_edge.cli.native import KEPT
from tests.cli.process import PROGRAM
from tests.sources import ROOT

# A command whose libraries talk: natively, through Python's sys.stderr, warnings and logging.
SCRIPT = """
import importlib, logging, os, signal, sys, threading, warnings
root = importlib.import_module("nextomni_edge.cli.root")
from nextomni_edge.cli.console import Console
def work(prog_name):
    {work}
    sys.exit(3)
root.root.main = work
root.main()
"""
LIBRARIES = """
    os.write(2, b"libfoo: broken \\x1b[2J frame\\n")
    os.system("echo a program that was started >&2")
    print("printed", file=sys.stderr)
    warnings.warn("old")
    logging.getLogger("vendor").warning("logged")
    Console().note("our own line")
"""
FOREIGN = (
    "libfoo: broken \\x1b[2J frame", "a program that was started", "printed",
    "<string>:9: UserWarning: old", "logged",
)  # fmt: skip


def ended(work: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(work=work.strip()), *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_only_our_own_lines_are_shown() -> None:
    found = ended(LIBRARIES)
    assert (found.returncode, found.stderr) == (3, "our own line\n")


def test_verbose_shows_libraries_behind_the_tools_name() -> None:
    lines = ended(LIBRARIES, "-v").stderr.splitlines()
    assert "our own line" in lines
    for line in FOREIGN:
        assert f"nextomni-edge: {line}" in lines


@pytest.mark.parametrize("sent", [signal.SIGABRT, signal.SIGSEGV, signal.SIGFPE, signal.SIGKILL])
def test_what_a_crash_said_is_kept(sent: signal.Signals) -> None:
    found = ended(f"os.write(2, b'terminate called\\n'); os.kill(os.getpid(), {int(sent)})")
    assert found.returncode == -sent
    assert found.stderr == "nextomni-edge: terminate called\n"


def test_a_library_that_never_stops_talking_takes_no_memory_and_keeps_its_last_lines() -> None:
    work = "[os.write(2, b'%09d' % n + b'x' * 1014 + b'\\n') for n in range(20_000)]; os.abort()"
    lines = ended(work).stderr.splitlines()
    assert lines[-1].startswith("nextomni-edge: 000019999x")
    assert 10 < len(lines) <= KEPT // 1024 + 1


def test_an_endless_line_is_cut() -> None:
    found = ended("os.write(2, b'x' * 60_000); os.abort()")
    assert found.stderr.startswith("nextomni-edge: " + "x" * 200 + "... (")
    assert len(found.stderr) < 300


def test_our_lines_are_whole_while_threads_write_natively() -> None:
    work = """
    def noise():
        for _ in range(2000): os.write(2, b"noise " * 20)
    crowd = [threading.Thread(target=noise) for _ in range(4)]
    [each.start() for each in crowd]
    for number in range(500): Console().note(f"line {number}")
    [each.join() for each in crowd]
    """
    assert ended(work).stderr.splitlines() == [f"line {number}" for number in range(500)]


def test_a_fault_that_nothing_caught_is_shown() -> None:
    found = ended("raise RuntimeError('ours')")
    assert found.returncode == 1 and "RuntimeError: ours" in found.stderr


def test_a_reader_of_results_does_not_wait_for_the_watcher() -> None:
    work = "os.close(1); Console().note('closed'); import time; time.sleep(5)"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(work=work)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.read() == "" and process.poll() is None
    process.kill()
    process.communicate(timeout=30)


def test_a_damaged_film_and_a_damaged_sound_are_one_line_each(
    tiny_bundle: Path, media: Path, tmp_path: Path
) -> None:
    for name, option in (("blink.gif", "--video"), ("tone.wav", "--audio"), ("red.png", "--image")):
        data = (media / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        found = subprocess.run(
            [*PROGRAM, "run", str(tiny_bundle), option, str(tmp_path / name), "--steps", "2"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert found.returncode in (0, 3)
        assert found.stderr.count("\n") == (found.returncode == 3), found.stderr


EMBEDDING = """
import os, sys, threading
before = os.fstat(2), sys.stderr, os.environ.copy()
import nextomni_edge
model = nextomni_edge.load(sys.argv[1])
model.generate("cat", steps=2)
os.write(2, b"native\\n")
after = os.fstat(2), sys.stderr
assert (before[0].st_dev, before[0].st_ino) == (after[0].st_dev, after[0].st_ino)
assert before[1] is after[1]
"""


def test_the_front_door_leaves_its_programs_stderr_as_it_is(tiny_bundle: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", EMBEDDING, str(tiny_bundle)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (found.returncode, found.stderr) == (0, "native\n")


def test_a_command_in_this_process_leaves_it_too(capfd: pytest.CaptureFixture[str]) -> None:
    from click.testing import CliRunner

    from nextomni_edge.cli import root

    CliRunner().invoke(root, ["inspect", "nowhere"])
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"

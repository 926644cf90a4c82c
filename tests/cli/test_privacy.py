"""No telemetry: no command writes a file that it was not asked for, looks up an address or opens a
connection. Each is run with an empty home folder, and under strace where that is installed."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from nextomni_edge import privacy
from nextomni_edge.cli.root import VERBS

ROOT = Path(__file__).parents[2]
COMMANDS: dict[str, str] = {
    "doctor": "doctor B --json",
    "run": "run B --text cat --to text --steps 2",
    "run-openvino": "run B --runtime openvino --text cat --to text --steps 2",
    "run-image": "run B --text cat --to image -o T/a.png --steps 2",
    "run-video": "run B --image M/red.png --to video -o T/a.gif --steps 2 --frames 2",
    "run-audio": "run B --audio M/tone.wav --to audio -o T/a.wav --steps 2",
    "embed": "embed B M/cat.txt M/red.png -o T/e.safetensors",
    "search": "search index M --bundle B --index T/index",
    "inspect": "inspect B",
    "verify": "verify B",
    "calibrate": "calibrate B -o T/set --bins 2 --random 1",
    "quantize": "quantize B -o T/int8 --recipe int8-dynamic",
    "report": "report B V -o T/report --no-record --rounds 1 --bins 2",
    "bench": "bench B --task image-to-text --steps 2 --repeats 1 --warm-up 0",
    "chat": "chat B --steps 2",
    "pack": "pack B --for jetson -o T/edge.tar",
    "compile": "compile B --capability sm89 --cache T/engines --components text_head",
    "import": "import C -o T/model --layout native",
    "export": "export C -o T/bundle --verify none --components text_head",
    "export-coreml": "export C -o T/coreml --target coreml --components text_head --verify none",
    "train": "train R --out T/run",
    "serve": "serve B --check",
    "sign": "sign S --key K/private.pem",
}
SLOW = ("quantize", "report", "bench", "calibrate", "verify", "export", "export-coreml", "compile")
NEEDS = {"run-openvino": "openvino", "compile": "tensorrt_rtx", "export-coreml": "coremltools"}
RECIPE = """
import argparse
import huggingface_hub, torch, accelerate  # what a recipe imports
parser = argparse.ArgumentParser()
parser.add_argument("--out")
parser.parse_args()
"""
CALL = re.compile(r"^\d+ +(\w+)\((.*)\) = (\d+|-1)")
CREATING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT")
CALLS = "openat,open,creat,mkdir,mkdirat,connect,sendto,rename,renameat2,symlinkat,linkat"


def command(name: str, bundle: Path, checkpoint: Path, media: Path, folder: Path) -> list[str]:
    recipe = folder / "recipe"
    recipe.mkdir()
    (recipe / "train.py").write_text(RECIPE)
    places = {"B": bundle, "C": checkpoint, "M": media, "T": folder / "out", "R": recipe}
    places["T"].mkdir()
    if name == "report":
        places["V"] = shutil.copytree(bundle, folder / "variant")
    if name == "sign":
        places |= {"S": shutil.copytree(bundle, folder / "signed"), "K": key(folder)}

    def located(word: str) -> str:
        head, slash, tail = word.partition("/")
        return f"{places[head]}{slash}{tail}" if head in places else word

    words = [located(word) for word in COMMANDS[name].split()]
    return [sys.executable, "-m", "nextomni_edge", *words]


def key(folder: Path) -> Path:
    """A folder with a private key."""
    private = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    (folder / "private.pem").write_bytes(private)
    return folder


def environment(home: Path, scratch: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
    own = {"HOME": str(home), "TMPDIR": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"}
    return kept | own | {"XDG_CACHE_HOME": str(home / ".cache")}


def told(trace: str, allowed: tuple[str, ...]) -> list[str]:
    """The lines of a trace that made or opened a file to write outside the allowed folders, or
    reached for the network."""
    found = []
    for line in trace.splitlines():
        if (call := CALL.match(line)) is None:
            continue
        name, arguments, result = call.groups()
        if name in ("connect", "sendto"):
            if "AF_INET" in arguments or 'sun_path="/run/systemd/resolve' in arguments:
                found.append(line)
            continue
        paths = re.findall(r'"([^"]*)"', arguments)
        opens = name in ("open", "openat") and not CREATING.search(arguments)
        absolute = [path for path in paths if path.startswith("/")]
        if result != "-1" and not opens and any(not p.startswith(allowed) for p in absolute):
            found.append(line)
    return found


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in COMMANDS],
)
def test_no_command_writes_elsewhere_or_reaches_for_the_network(
    name: str, tiny_bundle: Path, tiny_checkpoint: Path, media: Path, tmp_path: Path
) -> None:
    library = NEEDS.get(name)
    if library is not None and importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed; the extra of that name brings it")
    home, scratch, trace = tmp_path / "home", tmp_path / "scratch", tmp_path / "trace"
    home.mkdir()
    scratch.mkdir()
    words = command(name, tiny_bundle, tiny_checkpoint, media, tmp_path)
    if shutil.which("strace"):
        words = ["strace", "-f", "-q", "-e", f"trace={CALLS}", "-o", str(trace), *words]
    ended = subprocess.run(
        words,
        cwd=ROOT,
        env=environment(home, scratch),
        input="draw a cat\n/quit\n" if name == "chat" else "",
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert [*home.rglob("*")] == []
    # an empty folder that PyTorch makes at its import
    left = [path.name for path in scratch.rglob("*") if "torchinductor" not in path.name]
    assert left == []
    if not trace.exists():
        pytest.skip("strace is not installed: files were looked at, look-ups were not")
    assert told(trace.read_text(errors="replace"), (f"{tmp_path}/", "/dev/", "/proc/")) == []


def test_the_commands_are_all_the_verbs() -> None:
    reaches_out = {"push"}  # to the hub, which it is for
    assert {name.split("-")[0] for name in COMMANDS} == VERBS.keys() - reaches_out


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ('7 openat(AT_FDCWD, "/root/.cache/x", O_RDWR|O_CREAT, 0644) = 3', True),
        ('7 mkdir("/home/me/intel", 0777) = 0', True),
        ("7 connect(6, {sa_family=AF_INET, sin_port=htons(53)}, 16) = 0", True),
        ("7 connect(6, {sa_family=AF_INET6, sin6_port=htons(443)}, 28) = -1 ENETUNREACH", True),
        ('7 openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 3', False),
        ('7 openat(AT_FDCWD, "/ours/a.png", O_WRONLY|O_CREAT, 0644) = 3', False),
        ('7 openat(AT_FDCWD, "/root/x", O_WRONLY|O_CREAT, 0644) = -1 EACCES (denied)', False),
        ('7 connect(6, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1', False),
    ],
)
def test_the_trace_is_read_as_it_is_written(line: str, seen: bool) -> None:
    assert bool(told(line, ("/ours/",))) is seen


@pytest.mark.parametrize("library", ["onnxruntime", "openvino", "huggingface_hub"])
def test_a_library_that_records_is_silent_behind_this_package(library: str, tmp_path: Path) -> None:
    """And not without it: the switch is what keeps it silent, where this release records at all."""
    pytest.importorskip(library, reason=f"{library} is an extra's")
    script = f"import nextomni_edge, {library}; print(sorted(nextomni_edge.privacy.VARIABLES))"
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment(tmp_path, tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert [*tmp_path.rglob("*")] == []
    assert eval(ended.stdout) == sorted(privacy.VARIABLES)


def test_a_user_s_own_choice_does_not_switch_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in privacy.VARIABLES:
        monkeypatch.setenv(name, "0")
    privacy.switch_off()
    assert {name: os.environ[name] for name in privacy.VARIABLES} == privacy.VARIABLES
    assert all(sys.modules[name] is None for name in privacy.MODULES)

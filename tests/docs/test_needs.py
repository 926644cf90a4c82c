"""Blocks of README and docs that need something first, each run in the way that ways.py tells."""

from __future__ import annotations

import contextlib
import importlib.util
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, Block, Run, blocks
from tests.docs.ways import WAYS, Way, picture

# the server's page: its first block is the server that the others ask
SERVER = "Needs a terminal of its own: it runs until Ctrl-C"
PORT = "8000"
PAGES_BY_NAME = {page.stem: page for page in PAGES}
RUNTIME_MISSING = 5


def needy(page: str | None = None) -> dict[tuple[str, str], Block]:
    """Page and title of each block that needs something, of one page or of all."""
    found = [block for each in PAGES if page in (None, each.stem) for block in blocks(each)]
    needing = [block for block in found if block.needs]
    keyed = {(block.page.stem, block.needs): block for block in needing}
    assert len(keyed) == len(needing), "two blocks of a page have one title"
    return keyed


def asking() -> dict[tuple[str, str], Block]:
    """The blocks that ask the server of the page."""
    found = needy("serve").items()
    return {key: block for key, block in found if "the server of the first block" in key[1]}


def test_every_block_that_needs_something_has_a_way_to_run() -> None:
    assert set(needy()) == {*WAYS, *asking(), ("serve", SERVER)}


def replaced(text: str, instead: dict[str, str]) -> str:
    for said, run in instead.items():
        assert said in text, f"no {said} in the block"
        text = text.replace(said, run)
    return text


def skip_unless_installed(way: Way) -> None:
    missing = [name for name in way.programs if shutil.which(name) is None]
    missing += [name for name in way.modules if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; this block was not run")


@pytest.mark.parametrize(
    ("page", "title"),
    [
        pytest.param(*key, marks=[pytest.mark.slow] * way.slow, id="-".join(key))
        for key, way in WAYS.items()
    ],
)
@pytest.mark.timeout(7200)
def test_a_block_that_needs_something_runs(
    page: str, title: str, workspace: Path, environment: dict[str, str]
) -> None:
    way, block = WAYS[page, title], needy(page)[page, title]
    skip_unless_installed(way)
    text = replaced(block.text, dict(way.instead))
    if block.language == "python":
        text = f"python - <<'PROGRAM'\n{text}\nPROGRAM\n"
    script = f"set -eo pipefail\n{way.before}{text}\n{way.after}"
    with way.during(workspace) as variables:
        done = subprocess.run(
            ["bash", "-c", script], cwd=way.prepare(workspace), env=environment | variables,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if way.refused and done.returncode:
        assert done.returncode == RUNTIME_MISSING and way.refused in done.stderr, done.stderr
    else:
        assert done.returncode == 0, f"{script}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"


@contextlib.contextmanager
def served(block: Block, port: str, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """The server of a block; Ctrl-C must end it with 0."""
    command = shlex.split(replaced(block.text, {PORT: port}))
    with subprocess.Popen(command, cwd=folder, env=environment) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            code = process.wait(timeout=60)
    assert code == 0


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "the server ended"
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return
        time.sleep(0.1)
    pytest.fail("the server does not answer")


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def llm_settings(folder: Path, port: str) -> str:
    """Lines of the shell by which `llm` knows the server, as the page tells."""
    (text,) = (block.text for block in blocks(PAGES_BY_NAME["serve"]) if "api_base" in block.text)
    (folder / "llm").mkdir()
    (folder / "llm" / "extra-openai-models.yaml").write_text(text.replace(PORT, port))
    shutil.copyfile(folder / "demo" / "rocket.png", folder / "rocket.png")
    scripts = Path(sys.executable).parent
    return f'export LLM_USER_PATH="$PWD/llm" OPENAI_API_KEY=any PATH="$PATH:{scripts}"\n'


def test_the_server_of_the_page_answers_the_blocks_that_ask_it(
    workspace: Path, environment: dict[str, str], run: Run
) -> None:
    port = free_port()
    picture(workspace)
    known = llm_settings(workspace, port)
    with served(needy("serve")["serve", SERVER], port, workspace, environment):
        for (_, title), block in asking().items():
            if block.language == "python":
                printed = run(workspace, ["python", "-c", replaced(block.text, {PORT: port})])
                assert "data:image/png;base64," in printed, title
            elif "llm" in title:
                assert run(workspace, ["bash", "-c", f"set -e\n{known}{block.text}"]).strip()
            else:
                printed = run(workspace, ["bash", "-c", replaced(block.text, {PORT: port})])
                assert "event: answer" in printed, title

"""The OpenAPI document against the server: no request that fits it, or nearly, is a fault of
ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serve.running import Running, get


def test_the_document_says_how_each_address_fails(running: Running) -> None:
    document = json.loads(get(running, "/openapi.json"))
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert {"400", "401", "429", "503"} <= operation["responses"].keys(), (path, method)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_schemathesis_finds_no_fault(running: Running, tmp_path: Path) -> None:
    """Its own requests, most of them wrong in some way: whatever is asked, no status is 5xx."""
    script = "from schemathesis.cli import schemathesis; schemathesis()"
    command = [sys.executable, "-c", script, "run", f"{running.address}/openapi.json"]
    command += ["--checks", "not_a_server_error", "--max-examples", "40", "--no-color"]
    command += ["--request-timeout", "120", "--seed", "1", "--phases", "examples,fuzzing"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
    assert running.process.poll() is None

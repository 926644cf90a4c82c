"""One running server for all tests that only ask, and the model that it serves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import nextomni_edge as ne
from tests.serve.running import Running, server


@pytest.fixture(scope="session")
def model(tiny_bundle: Path) -> ne.Model:
    """The bundle that the server serves, loaded here."""
    return ne.load(tiny_bundle)


@pytest.fixture(scope="session")
def running(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server on loopback, without a key. Its model is called tiny."""
    log = tmp_path_factory.mktemp("serve") / "log"
    with server(log, f"tiny={tiny_bundle}") as started:
        yield started

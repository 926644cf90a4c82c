"""`pack` as a person calls it."""

from __future__ import annotations

from pathlib import Path

from tests.calls import Invoke, answered, refused


def test_the_command_says_what_to_do_next(
    invoke: Invoke, tiny_bundle: Path, tmp_path: Path
) -> None:
    found = answered(
        invoke("pack", tiny_bundle, "--for", "jetson", "-o", tmp_path / "edge.tar", "--json")
    )
    assert (
        found["next"] == "on the Jetson: tar xf edge.tar && edge/install.sh" and found["files"] > 10
    )


def test_what_cannot_be_meant_is_refused(invoke: Invoke, tiny_bundle: Path, tmp_path: Path) -> None:
    refused(
        invoke("pack", tiny_bundle, "--for", "toaster", "-o", tmp_path / "t"), 2, "'toaster' is not"
    )
    refused(
        invoke("pack", tiny_bundle, "--for", "jetson", "-o", tmp_path / "edge.zip"),
        2,
        "expected a name that ends in .tar",
    )

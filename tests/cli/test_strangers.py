"""Commands over a bundle whose hashes are true and whose content harms: one line, never our fault.

The bundles of `tests/bundle/hostile_*.py` are refused when they are opened. What is wrong with
these shows only in the work.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.bounded import bounded
from tests.calls import Invoke, refused
from tests.verify.tamper import tensor

WEIGHTS = {
    "text_head": "weight",
    "image_head": "blocks.0.out.weight",
    "audio_head": "blocks.0.out.weight",
    "embed_image": "projector.2.weight",
}
VALUES = {"NaN": np.nan, "infinity": np.inf, "minus infinity": -np.inf, "3e38": 3e38}


@pytest.fixture(scope="module", params=VALUES)
def spoiled(
    request: pytest.FixtureRequest, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("spoiled") / "b"
    shutil.copytree(tiny_bundle, path)
    for component, name in WEIGHTS.items():
        tensor(path, component, name, lambda values: values.fill(VALUES[request.param]))
    return path


@pytest.mark.parametrize(
    ("to", "name"),
    [("text", "a.txt"), ("image", "a.png"), ("video", "a.gif"), ("audio", "a.wav")],
)
def test_logits_that_are_not_finite_are_one_line(
    invoke: Invoke, spoiled: Path, tmp_path: Path, to: str, name: str
) -> None:
    """What was drawn until then is kept, and its line comes first."""
    with bounded():
        result = invoke("run", spoiled, "--text", "a cat", "--to", to, "-o", tmp_path / name)
    assert result.exit_code == 4 and result.stdout == ""
    *kept, error = result.stderr.splitlines()
    assert re.match(r"error: (step \d+ of \d+: )?\w+: output \w+ is -?(nan|inf) at", error)
    assert all(line.startswith("what there was until then: ") for line in kept) and len(kept) <= 1


@pytest.mark.parametrize("command", ["embed", "quantize", "verify", "doctor"])
def test_other_commands_name_what_is_not_finite(
    invoke: Invoke, spoiled: Path, media: Path, tmp_path: Path, command: str
) -> None:
    more = {
        "embed": (media / "red.png",),
        "quantize": ("-o", tmp_path / "q", "--recipe", "int8-dynamic"),
    }
    with bounded():
        result = invoke(command, spoiled, *more.get(command, ()))
    assert result.exit_code in (3, 4), result.output
    assert "Traceback" not in result.output and "fault of the program" not in result.output
    if command in ("embed", "quantize"):
        refused(result, result.exit_code)

"""Calibration over the share of masks, recipes that look at inputs, and the report of the
variants, as a person makes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.calls import Invoke
from tests.published.models import MakeOnce, bundled

ANSWERS = {
    "llada": {"text"}, "dream": {"text"},
    "mmada": {"text", "image"}, "lumina_dimoo": {"text", "image"},
}  # fmt: skip


def prompts(folder: Path, answers: set[str]) -> Path:
    """Two texts for each kind of answer; where pictures are drawn, also a question about one that
    is not square."""
    asked = [
        {"task": f"text to {answer}", "answer": answer,
         "turns": [{"role": "user", "parts": [{"kind": "text", "value": words}]}]}
        for answer in sorted(answers) for words in ("a red house", "the green sea")
    ]  # fmt: skip
    if "image" in answers:
        pixels = np.random.default_rng(0).integers(0, 256, (48, 96, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "a.png")
        parts = [{"kind": "image", "value": "a.png"}, {"kind": "text", "value": "what is this"}]
        turns = [{"role": "user", "parts": parts}]
        asked.append({"task": "image to text", "answer": "text", "turns": turns})
    path = folder / "prompts.jsonl"
    path.write_text("".join(f"{json.dumps(each)}\n" for each in asked), encoding="utf-8")
    return path


@pytest.mark.slow  # a minute or more each
@pytest.mark.parametrize("family", ANSWERS)
def test_a_report_of_calibrated_variants(
    family: str, invoke: Invoke, made_once: MakeOnce, tmp_path: Path
) -> None:
    parent, asked = bundled(family, made_once), prompts(tmp_path, ANSWERS[family])
    data, four, eight, out = (tmp_path / name for name in ("set", "int4", "int8", "report"))
    for command in (
        ("calibrate", parent, "-o", data, "--bins", 4, "--prompts", asked),
        ("quantize", parent, "-o", four, "--recipe", "int4-gptq", "--calibration", data),
        ("quantize", parent, "-o", eight, "--recipe", "int8-static", "--calibration", data),
        ("report", parent, eight, four, "-o", out, "--bins", 4, "--prompts", asked),
    ):
        result = invoke(*command)
        assert result.exit_code == 0, result.output
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    _, int8, int4 = report["bundles"]
    assert int8["agreement"].keys() == int4["agreement"].keys() == {"all"} | ANSWERS[family]
    for each in (int8, int4):
        for part in each["agreement"].values():
            assert len(part["by_t"]) == 4
    kl = [each["agreement"]["all"]["kl"]["mean"] for each in (int8, int4)]
    assert 0 < kl[0] < kl[1]

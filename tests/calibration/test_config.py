"""Recipes and configs: every one reads back, and what cannot be meant is refused with the nearest
name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nextomni_edge.calibration.recipes.config import (
    RECIPES,
    Int4,
    Int8Dynamic,
    Mixed,
    read_config,
    recipe,
    to_json,
)
from nextomni_edge.errors import InputError, NextOmniError, UsageError


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "mixed"])
def test_a_recipe_reads_back_from_its_json(name: str, tmp_path: Path) -> None:
    config = recipe(name)
    (tmp_path / "config.json").write_text(json.dumps(to_json(config)))
    assert read_config(tmp_path / "config.json") == config


def test_a_mixed_recipe_holds_the_two_that_it_chooses_from(tmp_path: Path) -> None:
    config = Mixed(max_kl=0.1, int8=Int8Dynamic("tensor"), int4=Int4(block_size=64))
    (tmp_path / "config.json").write_text(json.dumps(to_json(config)))
    assert read_config(tmp_path / "config.json") == config


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown kind": ({"kind": "int4s"}, "did you mean 'int4'?"),
    "no kind": ({"block_size": 32}, "the key 'kind'"),
    "an unknown key": (
        {"kind": "int4", "blocksize": 32},
        "unknown key 'blocksize' (did you mean 'block_size'?)",
    ),
    "a block size that no operator has": (
        {"kind": "int4", "block_size": 48},
        "expected one of 32, 64, 128",
    ),
    "an unknown method": (
        {"kind": "int4", "method": "gtpq"},
        "expected one of 'rtn', 'gptq', 'awq'",
    ),
    "an unknown range": (
        {"kind": "int8-static", "range": "max"},
        "expected one of 'minmax', 'percentile', 'mse'",
    ),
    "a range that goes by equal steps": (
        {"kind": "fp8", "range": "mse"},
        "expected one of 'minmax', 'percentile'",
    ),
    "more smoothing than all": (
        {"kind": "int8-static", "smoothing": 1.5},
        "expected 0 (none) to 1",
    ),
    "a frontier that counts less": (
        {"kind": "int4", "method": "gptq", "frontier": 0.5},
        "frontier 0.5, expected 1 (even) to 1000",
    ),
    "a frontier without inputs": (
        {"kind": "int4", "method": "rtn", "frontier": 2.0},
        "frontier needs gptq or awq",
    ),
    "mixed without a bound": (
        {"kind": "mixed"},
        "a budget in bytes, or a largest divergence or share of flips",
    ),
    "mixed with both bounds": ({"kind": "mixed", "budget_bytes": 1, "max_kl": 1.0}, "not both"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_refused(name: str, tmp_path: Path) -> None:
    data, message = REFUSED[name]
    (tmp_path / "config.json").write_text(json.dumps(data))
    with pytest.raises(NextOmniError) as caught:
        read_config(tmp_path / "config.json")
    assert message in str(caught.value) and isinstance(caught.value, InputError | UsageError)


def test_the_nearest_recipe_is_offered() -> None:
    with pytest.raises(UsageError, match="recipe 'int4-gtpq': did you mean 'int4-gptq'"):
        recipe("int4-gtpq")

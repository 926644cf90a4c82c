"""Options that cannot be meant are refused together, in plain sentences."""

from __future__ import annotations

from typing import Any

import pytest

from nextomni_edge.errors import UsageError
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.shortcuts import CacheOptions, Shortcuts
from tests.tiny import tiny_config


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"steps": 0}, "steps is 0, expected at least 1"),
        ({"stepper": "heun"}, "stepper is 'heun', expected one of euler, corrected, jump, commit"),
        ({"temperature": float("nan")}, "temperature is nan, expected a finite number from 0"),
        ({"temperature": -1.0}, "temperature is -1.0, expected a finite number from 0"),
        ({"top_k": -1}, "top_k is -1, expected at least 0"),
        ({"top_p": 0.0}, "top_p is 0.0, expected over 0 and at most 1"),
        ({"guidance": float("inf")}, "guidance is inf, expected a finite number from 0"),
        ({"seed": 2**64}, "seed is 18446744073709551616, expected 0 to 2**64 - 1"),
        ({"max_blocks": 0}, "max_blocks is 0, expected at least 1"),
        ({"eos_threshold": 1.0}, "eos_threshold is 1.0, expected between 0 and 1"),
        ({"extend": "later"}, "extend is 'later', expected one of first, interleaved"),
        ({"extend_until": 1.5}, "extend_until is 1.5, expected 0 to 1"),
        (
            {"kv_cache": "all"},
            (
                "kv_cache is 'all', expected one of none, prefix, adaptive, revised, blocks, dual,"
                " logits"
            ),
        ),
        ({"kv_cache": "prefix", "refresh_prompt": -1}, "refresh_prompt is -1, expected at least 0"),
        ({"kv_cache": "prefix", "refresh": -1}, "refresh is -1, expected at least 0"),
        ({"refresh": 2}, "refresh means nothing where nothing is kept: name a kv_cache"),
        (
            {"refresh_prompt": 2},
            "refresh_prompt means nothing where nothing is kept: name a kv_cache",
        ),
        ({"cache_threshold": 1.1}, "cache_threshold is 1.1, expected -1 to 1, a cosine"),
        ({"cache_threshold": float("nan")}, "cache_threshold is nan, expected -1 to 1, a cosine"),
        ({"kv_cache": "adaptive", "cache_share": 1.5}, "cache_share is 1.5, expected 0 to 1"),
        (
            {"kv_cache": "revised", "cache_drift": -1.0},
            "cache_drift is -1.0, expected a finite number from 0",
        ),
        ({"cache_drift": 0.5}, "cache_drift means nothing where nothing is kept: name a kv_cache"),
        (
            {"cache_share": 0.5},
            "cache_share is for kv_cache 'adaptive': name it, or leave cache_share out",
        ),
        ({"padding": 1.0}, "padding is 1.0, expected at least 0 and under 1"),
        (
            {"temperature": 0.0, "top_k": 5},
            "top_k means nothing at temperature 0: raise the temperature or leave top_k out",
        ),
        (
            {"temperature": 0.0, "top_p": 0.5},
            "top_p means nothing at temperature 0: raise the temperature or leave top_p out",
        ),
    ],
)
def test_a_value_out_of_range_is_named(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        GenerationOptions.of(**given)
    assert str(error.value) == sentence


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(UsageError) as error:
        GenerationOptions(steps=-1, guidance=-2.0)
    assert (
        str(error.value)
        == "steps is -1, expected at least 1; guidance is -2.0, expected a finite number from 0"
    )


def test_blocks_are_for_text_and_within_the_model() -> None:
    options = GenerationOptions(max_blocks=4)
    with pytest.raises(
        UsageError,
        match=(
            r"^max_blocks is for text, but image is generated; max_blocks is 4, the model takes at"
            r" most 3$"
        ),
    ):
        options.check(tiny_config(), "image")
    GenerationOptions(max_blocks=3).check(tiny_config(), "text")
    with pytest.raises(
        UsageError, match=r"^extend means nothing at a fixed length: give max_blocks$"
    ):
        GenerationOptions(extend="interleaved").check(tiny_config(), "text")


def test_defaults_are_the_modality_s_own() -> None:
    image = GenerationOptions.defaults(tiny_config(), "video", steps=None, seed=4)
    assert (image.steps, image.temperature, image.guidance, image.seed) == (8, 1.0, 2.0, 4)
    text = GenerationOptions.defaults(tiny_config(), "text", temperature=0.5)
    assert (text.steps, text.temperature, text.guidance) == (6, 0.5, 0.0)


def test_settings_are_flat_in_records_and_nested_in_code() -> None:
    given = GenerationOptions.of(steps=4, kv_cache="revised", cache_drift=1.5, reuse_logits=False)
    assert given.cache == CacheOptions(policy="revised", drift=1.5)
    assert given.shortcuts == Shortcuts(reuse_logits=False)
    assert GenerationOptions.of(**given.settings()) == given
    names = list(given.to_json())
    assert names[12:15] == ["lead_tokens", "kv_cache", "refresh_prompt"]
    assert names[-1] == "batch_guidance"
    assert given.changed(kv_cache="none", cache_drift=0.0, reuse_logits=True, steps=32) == (
        GenerationOptions()
    )
    with pytest.raises(TypeError, match="lookahead"):
        GenerationOptions.of(lookahead=3)


def test_a_record_leaves_out_what_most_runs_do_not_use() -> None:
    assert "cache_warmup" not in GenerationOptions().to_json()
    assert GenerationOptions().settings().keys() - GenerationOptions().to_json() == {
        "guidance_image", "guidance_until", "block", "threshold", "cache_warmup", "repeat_penalty",
        "position_penalty", "draw_temperature", "shift", "codebook_penalty",
    }  # fmt: skip
    warm = GenerationOptions.of(kv_cache="logits", cache_warmup=0.5)
    assert GenerationOptions.of(**warm.to_json()) == warm

"""Kept keys and values: the policies by hand, the arithmetic against the network itself, and what
is exact of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nextomni_edge.generate.batch import Batch
from nextomni_edge.generate.cache import CacheView, cache_policy
from nextomni_edge.generate.loop import generate, generate_batch
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.shortcuts import CACHES
from nextomni_edge.generate.trunk import Trunk
from nextomni_edge.models import native
from nextomni_edge.tokens.chat import Kind
from tests.generate.requests import KINDS, ask, options, traced

KEEPING = CACHES[1:]


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> EdgeModel:
    return EdgeModel.from_checkpoint(tiny_checkpoint)


# --- the policies, on a view made by hand: 3 rows of prompt, 4 of response, one of padding ---


def view(**given: Any) -> CacheView:
    nothing = np.zeros((1, 8), np.bool_)
    attended, response = nothing.copy(), nothing.copy()
    attended[:, :7], response[:, 3:7] = True, True
    blank = CacheView(
        attended, response, response, np.zeros(1, np.bool_),
        nothing, nothing, nothing, np.ones((1, 8)), np.zeros(1),
        np.ones((1, 8), np.int64), np.ones(1, np.int64), np.ones(1, np.int64), False,
    )  # fmt: skip
    arrays = {name: np.asarray(value) for name, value in given.items()}
    return dataclasses.replace(blank, **arrays)


def rows(*chosen: int) -> np.ndarray:
    found = np.zeros((1, 8), np.bool_)
    found[0, list(chosen)] = True
    return found


def planned(given: CacheView, **settings: Any) -> list[int]:
    found = cache_policy(GenerationOptions.of(**settings)).plan(given) & given.attended
    return list(np.flatnonzero(found[0]))


def test_none_computes_everything() -> None:
    assert planned(view(), kv_cache="none") == [0, 1, 2, 3, 4, 5, 6]


def test_prefix_keeps_the_prompt_until_it_is_due() -> None:
    assert planned(view(prompt_age=[8]), kv_cache="prefix") == [3, 4, 5, 6]
    assert planned(view(prompt_age=[3]), kv_cache="prefix", refresh_prompt=4) == [3, 4, 5, 6]
    assert planned(view(prompt_age=[4]), kv_cache="prefix", refresh_prompt=4) == [
        0,
        1,
        2,
        3,
        4,
        5,
        6,
    ]


def test_adaptive_computes_rows_whose_features_moved_and_eos() -> None:
    similarity = [[1, 1, 1, 0.99, 0.8, 0.95, 1, 1.0]]
    assert planned(view(similarity=similarity), kv_cache="adaptive") == [4]
    assert planned(
        view(similarity=similarity, ends=rows(6)), kv_cache="adaptive", cache_threshold=0.97
    ) == [4, 5, 6]
    assert planned(
        view(similarity=similarity, response_age=[2]), kv_cache="adaptive", refresh=2
    ) == [3, 4, 5, 6]


def test_adaptive_takes_a_share_the_least_alike_first_then_the_oldest() -> None:
    similarity, age = [[0, 0, 0, 1, 0.9, 1, 1, 0.0]], [[9, 9, 9, 2, 1, 5, 3, 9]]
    given = view(similarity=similarity, age=age)
    assert planned(given, kv_cache="adaptive", cache_share=0.25) == [4]
    assert planned(given, kv_cache="adaptive", cache_share=0.5) == [4, 5]
    assert planned(given, kv_cache="adaptive", cache_share=0.51) == [4, 5, 6]


def test_revised_computes_what_changed_and_what_is_about_to_be_read() -> None:
    given = view(changed=rows(4), due=rows(2, 6))
    assert planned(given, kv_cache="revised") == [4, 6]
    assert planned(dataclasses.replace(given, last=True), kv_cache="revised") == [3, 4, 5, 6]
    assert planned(view(response_age=[5]), kv_cache="revised", refresh=5) == [3, 4, 5, 6]


def test_blocks_computes_the_block_and_what_stands_behind_it() -> None:
    given = view(active=rows(4, 5))
    assert planned(given, kv_cache="blocks") == [4, 5, 6]
    assert planned(view(active=rows(2, 3)), kv_cache="blocks") == [2, 3, 4, 5, 6]  # one before it


def test_dual_computes_only_the_block() -> None:
    given = view(active=rows(4, 5))
    assert planned(given, kv_cache="dual") == [4, 5]
    assert planned(dataclasses.replace(given, response_age=np.array([2])), kv_cache="dual",
                   refresh=2) == [3, 4, 5, 6]  # fmt: skip


@pytest.mark.parametrize("cache", ["blocks", "dual"])
def test_a_new_block_has_everything_computed(cache: str) -> None:
    given = view(active=rows(5, 6), begins=[True])
    assert planned(given, kv_cache=cache) == [0, 1, 2, 3, 4, 5, 6]


def test_all_is_computed_once_enough_of_the_response_has_changed() -> None:
    for cache in KEEPING:
        given = view(drift=[1.5])
        assert planned(given, kv_cache=cache, cache_drift=1.4) == [0, 1, 2, 3, 4, 5, 6]
        assert not set(planned(given, kv_cache=cache, cache_drift=1.5)) & {0, 1, 2}


# --- the arithmetic ---


@pytest.mark.parametrize("batch_guidance", [True, False])
@pytest.mark.parametrize("cache", KEEPING)
@pytest.mark.parametrize("kind", KINDS)
def test_all_refreshed_every_time_is_the_plain_run(
    model: EdgeModel, kind: Kind, cache: str, batch_guidance: bool
) -> None:
    given = options(model, kind, guidance=1.0, batch_guidance=batch_guidance)
    plain, _ = traced(model, ask(model, kind), given)
    fresh, meter = traced(
        model,
        ask(model, kind),
        given.changed(kv_cache=cache, refresh=1, refresh_prompt=1),
    )
    assert meter.rows_reused == 0
    for found, expected in zip(fresh, plain, strict=True):
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("cache", KEEPING)
@pytest.mark.parametrize("kind", KINDS)
def test_all_refreshed_at_any_drift_is_the_plain_run(
    model: EdgeModel, kind: Kind, cache: str
) -> None:
    given = options(model, kind, guidance=1.0)
    plain, _ = traced(model, ask(model, kind), given)
    fresh, meter = traced(model, ask(model, kind), given.changed(kv_cache=cache, cache_drift=1e-9))
    _, fewer = traced(model, ask(model, kind), given.changed(kv_cache=cache, cache_drift=2.0))
    for found, expected in zip(fresh, plain, strict=True):
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert meter.rows_reused == 0
    assert fewer.rows_reused > 0


@pytest.mark.parametrize("lengths", [("draw a red rocket",), ("a cat", "draw a red rocket")])
def test_a_part_is_computed_against_the_kept_keys_and_values(
    model: EdgeModel, tiny_checkpoint: Path, lengths: tuple[str, ...]
) -> None:
    """Two forwards of the trunk, and the same by the network itself: past gathered by hand, one
    request and branch at a time."""
    network = native.load(tiny_checkpoint)
    batch = Batch([ask(model, "image", prompt) for prompt in lengths], list(range(len(lengths))))
    given = options(model, "image", kv_cache="revised", guidance=2.0)
    trunk, rng = Trunk(model, batch, given, Meter()), np.random.default_rng(0)
    x_t = rng.integers(0, 16, (len(batch), 4, 3))
    trunk.refresh(x_t, None, False)
    before = trunk.embeddings.copy()
    x_t[:, 2] = (x_t[:, 2] + 1) % 16
    due = np.zeros((len(batch), 4), np.bool_)
    due[0, 0] = True
    computed = trunk.refresh(x_t, due, False)
    assert computed.tolist() == [
        [bool(row == 2 or (row == 0 and own == 0)) for row in range(4)] for own in range(len(batch))
    ]
    for branch in range(2):
        for own, sequence in enumerate(batch.sequences):
            again = batch.rows[own][computed[own]]
            kept = np.setdiff1d(np.arange(sequence.length), again)
            with torch.inference_mode():
                empty = network.backbone.empty_past(1)
                mask = torch.ones(1, sequence.length, dtype=torch.bool)
                first = torch.tensor(before[branch, own : own + 1, : sequence.length])
                _, keys, values = network.backbone(
                    first, torch.arange(sequence.length)[None], mask, empty, empty
                )
                second = torch.tensor(trunk.embeddings[branch][own : own + 1, again])
                past = keys[:, :, :, kept], values[:, :, :, kept]
                expected, _, _ = network.backbone(second, torch.tensor(again)[None], mask, *past)
            np.testing.assert_allclose(
                trunk.hidden[branch, own][computed[own]], expected[0].numpy(), atol=1e-5
            )


@pytest.mark.parametrize("cache", KEEPING)
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_different_lengths_is_its_requests_one_by_one(
    model: EdgeModel, kind: Kind, cache: str
) -> None:
    given = options(model, kind, kv_cache=cache, guidance=1.0, refresh_prompt=3, padding=0.9)
    asked = [
        ask(model, kind, prompt)
        for prompt in ("draw a red rocket", "a cat", "a small green tree spinning")
    ]
    together = generate_batch(model, asked, given, [1, 2, 3])
    for seed, (found, sequence) in enumerate(zip(together, asked, strict=True), 1):
        alone = generate(model, sequence, dataclasses.replace(given, seed=seed))
        for index in alone.generated():
            np.testing.assert_array_equal(
                found.segments[index].tokens, alone.segments[index].tokens
            )


@pytest.mark.parametrize("kind", KINDS)
def test_each_policy_computes_fewer_rows_and_says_how_many(model: EdgeModel, kind: Kind) -> None:
    sequence = ask(model, kind)
    response = sequence.length - sequence.prompt_length
    meters = {
        cache: traced(model, sequence, options(model, kind, kv_cache=cache))[1] for cache in CACHES
    }
    assert meters["none"].rows_reused == meters["none"].peak_state_bytes == 0
    assert meters["prefix"].rows == sequence.length + (meters["prefix"].forwards - 1) * response
    for cache in ("adaptive", "revised"):
        # three tokens of sound all change in every step
        assert meters[cache].rows <= meters["prefix"].rows
        assert kind == "audio" or meters[cache].rows < meters["prefix"].rows
    for cache in KEEPING:
        assert meters[cache].rows_reused > 0 and meters[cache].peak_state_bytes > 0


def test_a_shifted_model_reads_the_row_before(tmp_path: Path) -> None:
    from tests.tiny import tiny_config, tiny_model

    shifted = EdgeModel.from_checkpoint(tiny_model(tmp_path / "model", tiny_config(logit_shift=1)))
    given = options(shifted, "image", kv_cache="revised", refresh=1, refresh_prompt=1)
    plain, _ = traced(
        shifted,
        ask(shifted, "image"),
        given.changed(kv_cache="none", refresh=0, refresh_prompt=0),
    )
    fresh, _ = traced(shifted, ask(shifted, "image"), given)
    for found, expected in zip(fresh, plain, strict=True):
        np.testing.assert_array_equal(found[0], expected[0])

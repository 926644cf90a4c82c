"""The commit kernel alone, given recorded logits and draws: every state of every recorded run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from nextomni_edge.decoding import CommitConfig
from nextomni_edge.flow.commit import (
    chosen,
    gumbel,
    jump_share,
    noised,
    propose,
    score_temperature,
    step_count,
    truncated,
    turns,
)
from tests.published.goldens import SETTINGS, Array, arrays, close, mask_id, read

TEXT_RUNS = [
    *(("llada", f"traj_{name}", settings) for name, settings in SETTINGS["llada"].items()),
    *(("mmada", name, settings) for name, settings in SETTINGS["mmada_text"].items()),
    *(("lumina_dimoo", name, settings) for name, settings in SETTINGS["lumina_text"].items()),
]
LUMINA_RUNS = list(SETTINGS["lumina_image"].items())
IMAGE_RULE = CommitConfig("cosine", "log_probability", score_noise="constant", early=True)


def text_rule(family: str, settings: dict[str, object]) -> CommitConfig:
    """The rule of a recorded run of LLaDA's loop. Its second flag reaches <eos> at temperature 0
    only."""
    dims, greedy = read(family, "dims.json"), settings["temperature"] == 0.0
    last: tuple[int, ...] = ()
    if settings.get("confidence_eos_eot_inf"):
        last = (dims["eot_id"][0], *((dims["eos_pad"][0],) if greedy else ()))
    return CommitConfig(
        "even",
        "random" if settings.get("remasking") == "random" else "probability",
        block=int(str(settings["block_length"])),
        never=(dims["eos_pad"][0],) if settings.get("logits_eos_inf") else (),
        last=last,
    )


@pytest.mark.parametrize(
    ("family", "run", "settings"), TEXT_RUNS, ids=lambda value: str(value)[:20]
)
def test_text_is_committed_as_recorded(family: str, run: str, settings: dict[str, object]) -> None:
    golden = {name.removeprefix(f"{run}."): array for name, array in arrays(family).items()
              if name.startswith(f"{run}.")}  # fmt: skip
    rule, mask, x = text_rule(family, settings), mask_id(family), golden["x"]
    rows = int(str(settings.get("gen_length", settings.get("max_new_tokens"))))
    start, temperature = first_row(family, settings, x, rows), float(str(settings["temperature"]))
    plan, totals = turns(rule, rows, int(str(settings["steps"]))), np.zeros(x.shape[1], np.int64)
    assert len(plan) == len(x) - 1
    for step, turn in enumerate(plan):
        for row in range(x.shape[1]):
            now = x[step, row, start : start + rows]
            masked = now == mask
            eligible = masked & (np.arange(rows) < turn.stop)
            if turn.step == 0:
                totals[row] = masked[turn.start : turn.stop].sum()
            noise = gumbel(golden["uniform"][step, row]) if "uniform" in golden else None
            logits = golden["logits"][step, row]
            found = propose(logits, rule, temperature, None if noise is None else noise.__getitem__)
            np.testing.assert_array_equal(found.x_1, golden["x0"][step, row])
            draw = golden.get("rand", golden["x"])[step, row, start : start + rows]
            score = noised(found.score, rule, 0.0, draw)
            close(
                np.where(eligible, score, -np.inf),
                golden["confidence"][step, row, start : start + rows],
            )
            count = step_count(rule, int(totals[row]), int(masked.sum()), turn.step, turn.steps)
            assert count == golden["num_transfer"][step, row]
            written = chosen(score, eligible, count)
            np.testing.assert_array_equal(
                np.where(written, found.x_1, now), x[step + 1, row, start : start + rows]
            )


def first_row(family: str, settings: dict[str, object], x: Array, rows: int) -> int:
    """Where the answer begins; Lumina-DiMOO's stands before </answer>."""
    if family != "lumina_dimoo":
        return int(x.shape[2]) - rows
    return int(arrays(family)[f"{settings['start']}.code_start"][0])


@pytest.mark.parametrize("run", ["t2i", "t2i_part"])
def test_mmada_images_are_committed_as_recorded(run: str) -> None:
    golden, settings, mask = arrays("mmada"), SETTINGS["mmada_t2i"][run], mask_id("mmada")
    rule = CommitConfig(
        settings["schedule"], "log_probability", score_noise="compounding", total="all"
    )
    x, steps = golden[f"{run}.x"], settings["steps"]
    offset, total = read("mmada", "dims.json")["tokenizer_len_and_codebook_offset"][0], 16
    for step in range(steps):
        temperature = score_temperature(rule, settings["temperature"], step, steps)
        # theirs is the value that the step before left behind, times 1 − r
        assert temperature == pytest.approx(golden[f"{run}.temperature"][step], abs=1e-12)
        for row in range(x.shape[1]):
            now = x[step, row, -total - 1 : -1]
            masked = now == mask
            probabilities = golden[f"{run}.probs"][step, row]
            noise = -np.log(golden[f"{run}.exponential"][step, row].astype(np.float64))
            found = propose(np.log(probabilities), rule, 1.0, noise.__getitem__)
            np.testing.assert_array_equal(found.x_1, golden[f"{run}.sampled"][step, row])
            selected = golden[f"{run}.selected_probs"][step, row][masked]
            close(np.exp(found.score)[masked], selected)
            count = step_count(rule, total, int(masked.sum()), step, steps)
            if step == steps - 1:
                codes = np.where(masked, found.x_1, now - offset)
                np.testing.assert_array_equal(codes, golden[f"{run}.codes"][row])
                assert count == masked.sum()
                continue
            assert masked.sum() - count == golden[f"{run}.mask_len"][step, row]
            score = noised(found.score, rule, temperature, golden[f"{run}.uniform"][step, row])
            written = chosen(score, masked, count)
            np.testing.assert_array_equal(masked & ~written, golden[f"{run}.masking"][step, row])
            np.testing.assert_array_equal(
                np.where(written, found.x_1 + offset, now), x[step + 1, row, -total - 1 : -1]
            )


@pytest.mark.parametrize(("run", "settings"), LUMINA_RUNS)
def test_lumina_images_are_committed_as_recorded(run: str, settings: dict[str, object]) -> None:
    golden = {name.removeprefix(f"{run}."): array for name, array in arrays("lumina_dimoo").items()
              if name.startswith(f"{run}.")}  # fmt: skip
    x, mask = golden["x"], mask_id("lumina_dimoo")
    offset = read("lumina_dimoo", "dims.json")["image_token_offset"][0]
    steps, temperature = int(str(settings["steps"])), float(str(settings["temperature"]))
    total = int((x[0] == mask).sum())
    for step in range(len(x) - 1):
        places = np.flatnonzero(x[step] == mask)
        some = slice(0, len(places))
        noise = gumbel(golden["uniform_sample"][step, some]) if "uniform_sample" in golden else None
        found = propose(
            golden["logits"][step, some], IMAGE_RULE, temperature,
            None if noise is None else noise.__getitem__,
        )  # fmt: skip
        np.testing.assert_array_equal(found.x_1, golden["sampled"][step, some])
        close(np.exp(found.score), golden["conf"][step, some])
        score = noised(found.score, IMAGE_RULE, temperature, golden["uniform_mask"][step, some])
        count = step_count(IMAGE_RULE, total, len(places), step, steps)
        written = chosen(score, np.ones(len(places), np.bool_), count)
        np.testing.assert_array_equal(~written, golden["stay_masked"][step, some])
        x_next = x[step].copy()
        x_next[places[written]] = found.x_1[written] + offset
        np.testing.assert_array_equal(x_next, x[step + 1])


DREAM = {"entropy": "entropy", "maskgit_plus": "probability", "topk_margin": "margin"}


@pytest.mark.parametrize("run", list(read("dream", "traj.json")["trajectories"]))
def test_dream_commits_as_recorded(run: str) -> None:
    """Logits of two steps are recorded; what the others decide is in test_published_runs.py."""
    golden = {name.removeprefix(f"traj.{run}."): array for name, array in arrays("dream").items()
              if name.startswith(f"traj.{run}.")}  # fmt: skip
    settings, states, mask = read("dream", "traj.json")["trajectories"][run], golden["states"], 322
    rule = CommitConfig(
        "time", DREAM.get(settings["alg"], "probability"), tempered=True,
        block=settings.get("block_size", 0), top_k=50, top_p=settings["top_p"],
    )  # fmt: skip
    rows = settings["max_new_tokens"]
    plan = turns(rule, rows, settings["steps"])
    assert len(plan) == settings["steps_run"]
    for index, step in enumerate(golden["logits_steps"]):
        now, turn, x_1 = states[step], plan[step], golden["x0"][step]
        masked = now == mask
        eligible = masked & (np.arange(rows) < turn.stop)
        logits, temperature = golden["logits"][index], settings["temperature"]
        found = propose(logits, rule, temperature, winning(np.maximum(x_1, 0), logits.shape[1]))
        if settings["alg"] == "origin":
            assert jump_share(int(step), settings["steps"]) == golden["p_transfer"][step]
            written = masked & (golden["uniform"][step] < golden["p_transfer"][step])
        else:
            np.testing.assert_array_equal(found.x_1[eligible], x_1[eligible])
            close(found.score[eligible], golden["confidence"][step][eligible])
            count = step_count(rule, 0, int(eligible.sum()), turn.step, turn.steps)
            assert count == golden["n_transfer"][step]
            written = chosen(found.score, eligible, count)
            if settings["alg_temp"]:  # the rows were drawn, and the draws are not recorded
                written = masked & (states[step + 1] != mask)
                assert written.sum() == count
        np.testing.assert_array_equal(np.where(written, found.x_1, now), states[step + 1])


def winning(x_1: Array, vocabulary: int) -> Callable[[slice], Array]:
    """Noise with which the recorded symbols are drawn."""

    def noise(part: slice) -> Array:
        found = np.zeros((part.stop - part.start, vocabulary))
        found[np.arange(len(found)), x_1[part]] = 1e6
        return found

    return noise


@pytest.mark.parametrize("name", list(read("dream", "traj.json")["sampler_variants"]))
def test_dream_scores_and_draws(name: str) -> None:
    golden, variant = arrays("dream"), read("dream", "traj.json")["sampler_variants"][name]
    score = "entropy" if variant.get("neg_entropy") else "probability"
    score = "margin" if variant.get("margin_confidence") else score
    rule = CommitConfig(
        "time", score, tempered=True, top_k=variant.get("top_k", 0), top_p=variant.get("top_p", 1.0)
    )
    x_1, temperature = golden[f"smp.{name}.x0"], variant.get("temperature", 0.0)
    logits = golden["smp.logits"]
    found = propose(logits, rule, temperature, winning(x_1, logits.shape[1]))
    np.testing.assert_array_equal(found.x_1, x_1)
    close(found.score, golden[f"smp.{name}.confidence"])


def test_dream_truncates_as_recorded() -> None:
    golden = arrays("dream")
    logits = golden["smp.logits"].astype(np.float64)
    for kept, name in (
        (truncated(logits, 50, 1.0), "topk50"),
        (truncated(logits, 0, 0.9), "topp90"),
    ):
        removed = golden[f"smp.{name}"] < -1e30
        np.testing.assert_array_equal(np.isinf(kept), removed)
        close(kept[~removed], logits[~removed])

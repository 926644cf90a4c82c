"""Recorded runs as requests to a model of ours: sequence, options, rule and draws."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from nextomni_edge.decoding import CommitConfig
from nextomni_edge.flow.commit import gumbel
from nextomni_edge.generate.batch import Batch
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.steps import StepRecord
from nextomni_edge.generate.unmask import Unmasking
from nextomni_edge.tokens.chat import Kind, Part, Turn, conversation, respond
from nextomni_edge.tokens.masked import painted
from nextomni_edge.tokens.sequence import Segment, Sequence
from tests.published.goldens import SETTINGS, Array, arrays, mask_id, read

DREAM = {"entropy": "entropy", "maskgit_plus": "probability", "topk_margin": "margin"}


@dataclass
class Recorded:
    """Draws of one request: Gumbel noise (steps, n, V), None where x_1 is the argmax, and uniforms
    (steps, n), for every row of the answer; or, with `masked` (steps, R), for the k-th masked one
    of each step."""

    gumbels: Array | None
    uniforms: Array | None
    masked: Array | None = None

    def symbols(self, step: int, row: int, vocabulary: int) -> Array:
        if self.gumbels is None:
            return np.zeros(vocabulary)
        place = row if self.masked is None else int(self.masked[step, :row].sum())
        return np.asarray(self.gumbels[step, place], np.float64)

    def scores(self, step: int, rows: int) -> Array:
        found = np.full(rows, 0.5)
        if self.uniforms is not None:
            places = np.arange(rows) if self.masked is None else np.flatnonzero(self.masked[step])
            found[places] = self.uniforms[step, : len(places)]
        return found


@dataclass
class RecordedRun:
    """One request, and what its answer holds before every step and at the end (steps + 1, R), in
    ids of the generated modality."""

    family: str
    name: str
    sequence: Sequence
    options: GenerationOptions
    rule: CommitConfig
    noise: Recorded
    states: Array
    final: Array

    @property
    def recorded(self) -> str:
        """The prefix of the run's arrays."""
        name = self.name.partition("[")[0]
        return f"traj.{name}" if self.family == "dream" else name

    @property
    def row(self) -> int:
        """Its row of the recorded batch."""
        return int(self.name.partition("[")[2].rstrip("]") or 0)

    def replay(self, model: EdgeModel) -> tuple[list[StepRecord], Array]:
        """Run it on a model: what happened in each step, and the answer."""
        batch = Batch([self.sequence], [0])
        other = with_rule(model, batch.modality, self.rule)
        run, seen = Unmasking(other, batch, self.options, Meter(), [self.noise]), []
        seen.extend(run.steps([0], margins=True))
        return seen, run.x_t[0, :, 0]

    def check(self, model: EdgeModel) -> None:
        """Every state as recorded."""
        seen, answer = self.replay(model)
        assert len(seen) == len(self.states) - 1
        for step, record in enumerate(seen):
            x_t = np.concatenate([part.reshape(-1) for part in record.x_t])
            np.testing.assert_array_equal(x_t, self.states[step], err_msg=f"step {step}")
        np.testing.assert_array_equal(answer, self.final)


def with_rule(model: EdgeModel, modality: str, rule: CommitConfig) -> EdgeModel:
    """The same sessions under another commit rule of a modality."""
    path = dataclasses.replace(model.config.flow.of(modality), commit=rule)
    flow = dataclasses.replace(model.config.flow, **{modality: path})
    config = dataclasses.replace(model.config, flow=flow)
    return EdgeModel(config, model.tokenizer, model.session, model._table)


def of_run(family: str, name: str) -> dict[str, Array]:
    return {
        key.removeprefix(f"{name}."): array for key, array in arrays(family).items()
        if key.startswith(f"{name}.")
    }  # fmt: skip


def text_rule(family: str, settings: dict[str, Any]) -> CommitConfig:
    """Of LLaDA's loop. Its second flag reaches <eos> at temperature 0 only."""
    dims, last = read(family, "dims.json"), tuple[int, ...]()
    if settings.get("confidence_eos_eot_inf"):
        greedy = settings["temperature"] == 0.0
        last = (dims["eot_id"][0], *((dims["eos_pad"][0],) if greedy else ()))
    score = "random" if settings.get("remasking") == "random" else "probability"
    never = (dims["eos_pad"][0],) if settings.get("logits_eos_inf") else ()
    return CommitConfig("even", score, block=settings["block_length"], never=never, last=last)  # type: ignore[arg-type]


def text_runs() -> Iterator[RecordedRun]:
    """LLaDA's, MMaDA's and Lumina-DiMOO's; the rows of a batch each on their own, unpadded."""
    groups = (("llada", "llada"), ("mmada", "mmada_text"), ("lumina_dimoo", "lumina_text"))
    for family, group in groups:
        for name, settings in SETTINGS[group].items():
            run = name if name.startswith("traj_") else f"traj_{name}"
            golden, rows = (
                of_run(family, run),
                settings.get("gen_length") or settings["max_new_tokens"],
            )
            x = golden["x"]
            start = x.shape[2] - rows
            if family == "lumina_dimoo":
                start = int(arrays(family)[f"{settings['start']}.code_start"][0])
            answer = slice(start, start + rows)
            real = np.ones(x.shape[1:], bool)
            if "attention_mask" in golden:
                given = golden["attention_mask"].astype(bool)
                real[:, : given.shape[1]] = given
            options = GenerationOptions.of(
                steps=settings["steps"], stepper="commit", temperature=settings["temperature"],
                guidance=settings.get("cfg_scale", 0.0),
            )  # fmt: skip
            for row in range(x.shape[1]):
                kept = x[0, row, :start][real[row, :start]].astype(np.int64)
                parts = (
                    Segment("text", kept),
                    Segment("text", x[0, row, answer], frozen=False),
                    Segment("text", x[0, row, start + rows :]),
                )
                noise = Recorded(
                    gumbel(golden["uniform"][:, row]) if "uniform" in golden else None,
                    golden["rand"][:, row, answer] if "rand" in golden else None,
                )
                states = x[:, row, answer]
                yield RecordedRun(
                    family, f"{run}[{row}]", Sequence(parts), options, text_rule(family, settings),
                    noise, states, states[-1],
                )  # fmt: skip


def mmada_image_runs() -> Iterator[RecordedRun]:
    golden, mask = arrays("mmada"), mask_id("mmada")
    offset, rows = read("mmada", "dims.json")["tokenizer_len_and_codebook_offset"][0], 16
    for name, settings in SETTINGS["mmada_t2i"].items():
        found, steps = of_run("mmada", name), settings["steps"]
        rule = CommitConfig(
            settings["schedule"], "log_probability", score_noise="compounding", total="all",
            draw_temperature=1.0,
        )  # fmt: skip
        options = GenerationOptions.of(
            steps=steps, stepper="commit", temperature=settings["temperature"],
            guidance=settings["guidance"],
        )  # fmt: skip
        for row in range(found["x"].shape[1]):
            ids = golden[f"{name}.ids"][row][golden[f"{name}.attention_mask"][row] == 1]
            text = len(ids) - rows - 3  # where <eos> stands, before <|soi|>, the codes and <|eoi|>
            states = found["x"][:, row, -rows - 1 : -1]
            states = np.where(states == mask, 64, states - offset)
            parts = (
                Segment("text", ids[:2]), Segment("text", ids[2:text]),
                Segment("text", ids[text : text + 2]),
                Segment("image", states[0][:, None].astype(np.int64), frozen=False),
                Segment("text", ids[-1:]),
            )  # fmt: skip
            noise = Recorded(
                -np.log(found["exponential"][:, row].astype(np.float64)), found["uniform"][:, row]
            )
            yield RecordedRun(
                "mmada", f"{name}[{row}]", Sequence(parts), options, rule, noise, states,
                golden[f"{name}.codes"][row],
            )  # fmt: skip


def lumina_image_runs(model: EdgeModel) -> Iterator[RecordedRun]:
    """Prompts are built by our templates; the one with the cache has Lumina-DiMOO's own."""
    golden, texts, mask = arrays("lumina_dimoo"), read("lumina_dimoo", "texts.json"), 316
    rule = CommitConfig("cosine", "log_probability", score_noise="constant", early=True)

    def asked(*parts: Part, size: tuple[int, int] | None) -> Sequence:
        kind: Kind = "image"
        said = conversation(model.tokenizer, [Turn("user", parts)], kind)
        return respond(said, kind, model.config, model.tokenizer, size=size)

    for name, settings in SETTINGS["lumina_image"].items():
        found = of_run("lumina_dimoo", name)
        x = found["x"]
        if name == "i2i":
            codes = golden["i2i.image_tokens"] - 336
            given = codes[(codes >= 0) & (codes < 64)].reshape(2, -1, 1)
            sequence = asked(Part("text", texts["edit"]), Part("image", given), size=None)
        else:
            sequence = asked(Part("text", texts["t2i"]), size=(texts["width"], texts["height"]))
        spans = sequence.spans()
        rows = np.concatenate([np.arange(*spans[at]) for at in sequence.generated()])
        states = np.where(x[:, rows] == mask, 64, x[:, rows] - 336)
        if name == "paint_run":
            sequence = painted(
                sequence, states[0].reshape(4, 6, 1), (states[0] == 64).reshape(4, 6)
            )
        options = GenerationOptions.of(
            steps=settings["steps"], stepper="commit", temperature=settings["temperature"],
            guidance=settings["cfg"], guidance_image=settings.get("cfg_img", 0.0),
            **cache_options(settings),
        )  # fmt: skip
        masked = x[:, rows] == mask
        noise = Recorded(
            gumbel(found["uniform_sample"]) if "uniform_sample" in found else None,
            found["uniform_mask"], masked,
        )  # fmt: skip
        yield RecordedRun("lumina_dimoo", name, sequence, options, rule, noise, states, states[-1])


def cache_options(settings: dict[str, Any]) -> dict[str, Any]:
    if not settings.get("use_cache"):
        return {}
    return {
        "kv_cache": "logits", "cache_share": 1.0 - settings["cache_ratio"],
        "refresh": settings["refresh_interval"], "cache_warmup": settings["warmup_ratio"],
    }  # fmt: skip


def dream_runs() -> Iterator[RecordedRun]:
    """Those that commit; drawn symbols, and rows drawn by alg_temp, are those recorded. (`origin`
    jumps: see test_origin.py.)"""
    for name, settings in read("dream", "traj.json")["trajectories"].items():
        if settings["alg"] == "origin":
            continue
        found = of_run("dream", f"traj.{name}")
        states, x0 = found["states"].astype(np.int64), found["x0"]
        rule = CommitConfig(
            "time", DREAM[settings["alg"]], tempered=True, block=settings.get("block_size", 0),
            top_k=50, top_p=settings["top_p"],
        )  # fmt: skip
        temperature, uniforms = settings["temperature"], None
        if settings["alg_temp"]:
            # theirs draws rows from softmax(score/alg_temp): the largest of score + alg_temp·Gumbel
            rule = dataclasses.replace(rule, score_noise="constant", draw_temperature=temperature)
            temperature = settings["alg_temp"]
            uniforms = np.where(states[1:] != states[:-1], np.nextafter(1.0, 0.0), 0.0)
        options = GenerationOptions.of(
            steps=settings["steps"], stepper="commit", temperature=temperature
        )
        gumbels = None
        if settings["temperature"]:
            gumbels = np.zeros((*x0.shape, 536))
            np.put_along_axis(gumbels, np.maximum(x0, 0)[..., None].astype(np.int64), 1e6, axis=2)
        parts = (
            Segment("text", found["prompt_ids"].astype(np.int64)),
            Segment("text", states[0], frozen=False),
        )
        yield RecordedRun(
            "dream", name, Sequence(parts), options, rule, Recorded(gumbels, uniforms), states,
            states[-1],
        )  # fmt: skip


def mmadas_early_end() -> Iterator[RecordedRun]:
    """`mmu_generate_fast` with an eot_token: traj_fast_full's run, which ends behind a block whose
    last token that is."""
    golden = arrays("mmada")
    whole = next(run for run in text_runs() if run.name == "traj_fast_full[0]")
    end, out = int(golden["fast_eot.token"][0]), golden["fast_eot.out"][0, -12:]
    steps = int(np.flatnonzero((whole.states == out).all(axis=1))[0])
    yield dataclasses.replace(
        whole, name="fast_eot[0]", rule=dataclasses.replace(whole.rule, ends=(end,)),
        states=whole.states[: steps + 1], final=out,
    )  # fmt: skip


@functools.cache
def all_runs() -> dict[str, RecordedRun]:
    """Every run by family and name, but Lumina-DiMOO's images, whose prompts need a tokenizer."""
    runs = [*text_runs(), *mmadas_early_end(), *mmada_image_runs(), *dream_runs()]
    return {f"{run.family}-{run.name}": run for run in runs}

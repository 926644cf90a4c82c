"""What the Swift code of masked models must compute: the commit step, and each template's prompts.
`python -m tests.pack.vectors` writes them with the others."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from nextomni_edge.checkpoints.directory import Checkpoint
from nextomni_edge.config import ModelConfig
from nextomni_edge.decoding import CommitConfig
from nextomni_edge.flow import commit
from nextomni_edge.generate.rows import Layout
from nextomni_edge.tokens import masked
from nextomni_edge.tokens.chat import Kind, Part, Turn, conversation, respond
from nextomni_edge.tokens.sequence import Sequence
from nextomni_edge.tokens.text import TextTokenizer
from tests.published.models import imported

ROWS, SYMBOLS = 6, 12
RULES = (
    CommitConfig(),
    CommitConfig("cosine", "log_probability", score_noise="compounding", total="all"),
    CommitConfig("cosine", "log_probability", score_noise="constant", early=True),
    CommitConfig("time", "entropy", tempered=True, top_p=0.8, top_k=5),
    CommitConfig("linear", "margin", never=(3, 7), last=(2,)),
    CommitConfig("pow2", "random", draw_temperature=0.0),
    CommitConfig("sigmoid", threshold=0.3),
    CommitConfig("even", "margin", block=4, total="all"),
)
SIZES = ((16, 15), (24, 12), (128, 32), (7, 3))
FAMILIES = ("llada", "mmada", "lumina_dimoo", "dream")
SAID = "draw a red rocket"


def rule_json(rule: CommitConfig) -> dict[str, Any]:
    """A rule as Swift's decoder reads it, without its defaults."""
    found = {}
    for each in dataclasses.fields(rule):
        first, *more = each.name.split("_")
        if (value := getattr(rule, each.name)) != each.default:
            found[first + "".join(word.capitalize() for word in more)] = value
    return found


def proposals() -> list[dict[str, Any]]:
    """x_1, scores and the rows that are written, of a few rows by every rule."""
    generator, found = np.random.default_rng(11), []
    for place, rule in enumerate(RULES):
        temperature = (0.0, 1.0, 0.7)[place % 3]
        logits = generator.integers(-24, 24, (ROWS, SYMBOLS)).astype(np.float32) / 8
        symbols, scores = np.round(generator.uniform(size=(ROWS, SYMBOLS + 1)), 6), None
        symbols, scores = symbols[:, 1:], symbols[:, 0]
        eligible = np.arange(ROWS) != place % ROWS
        proposal = commit.propose(
            logits, rule, temperature, lambda part, u=symbols: commit.gumbel(u[part])
        )
        heat = commit.score_temperature(rule, temperature, 1, 5)
        ranked = commit.noised(proposal.score, rule, heat, scores)
        found.append({
            "rule": rule_json(rule), "temperature": temperature, "logits": logits.tolist(),
            "symbols": symbols.tolist(), "uniform": scores.tolist(), "eligible": eligible.tolist(),
            "x1": proposal.x_1.tolist(), "score": proposal.score.tolist(), "heat": heat,
            "ranked": ranked.tolist(),
            "written": np.flatnonzero(
                commit.chosen(ranked, eligible, 2, rule.threshold)
            ).tolist(),
        })  # fmt: skip
    return found


def counts() -> list[dict[str, Any]]:
    """The steps of whole runs, and how many rows each writes."""
    found = []
    for rule in RULES:
        for rows, steps in SIZES:
            if rule.count == "even" and (rows % (rule.block or rows) or rule.block):
                continue
            plan = commit.turns(rule, rows, steps)
            left, written = rows, []
            for turn in plan:
                written.append(commit.step_count(rule, rows, left, turn.step, turn.steps))
                left -= written[-1]
            turns = [[turn.start, turn.stop, turn.step, turn.steps] for turn in plan]
            found.append(
                {"rule": rule_json(rule), "rows": rows, "steps": steps, "turns": turns}
                | {"written": written}
            )
    return found


def segments_json(sequence: Sequence) -> list[dict[str, Any]]:
    return [
        {
            "modality": segment.modality,
            "frozen": segment.frozen,
            "tokens": segment.tokens.reshape(len(segment), -1).tolist(),
        }
        for segment in sequence.segments
    ]


def prompts() -> list[dict[str, Any]]:
    """Each family's prompts, what is appended to them, and what guidance compares them with."""
    found = []
    for family in FAMILIES:
        checkpoint = Checkpoint.open(imported(family))
        config, path = checkpoint.config, checkpoint.tokenizer_path
        tokenizer = TextTokenizer(path, config.text)
        answers: list[Kind] = ["text", *(["image"] if "image" in config.modalities else [])]
        cases = [
            _prompt(tokenizer, config, answer, given)
            for answer in answers
            for given in ((), ("image",))
            if not given or (len(answers) > 1 and (answer == "text" or family == "lumina_dimoo"))
        ]
        found.append({
            "family": family, "config": config.to_json(), "cases": cases,
            "tokenizer": path.read_text(encoding="utf-8"),
        })  # fmt: skip
    return found


def _prompt(
    tokenizer: TextTokenizer, config: ModelConfig, answer: Kind, given: tuple[Kind, ...]
) -> dict[str, Any]:
    codes = []
    if given:
        side, entries = config.image.grid, config.image.codebook.entries
        codes = (np.arange(side * side) % entries).reshape(side, side, 1)
    parts = (*([Part("image", codes)] if given else []), Part("text", f" {SAID} "))
    segments = conversation(tokenizer, [Turn("user", parts)], answer, config=config)
    sequence = respond(segments, answer, config, tokenizer, 1)
    compared = masked.unconditional(
        sequence,
        Layout.of(sequence).modality,
        tokenizer,
        config.image.codebook.entries if "image" in config.modalities else 0,
    )
    return {
        "answer": answer, "image": np.asarray(codes).reshape(-1).tolist(),
        "sequence": segments_json(sequence), "compared": [*map(segments_json, compared)],
    }  # fmt: skip


def vectors() -> dict[str, Any]:
    """Every file by its name."""
    return {
        "commit.json": {"proposals": proposals(), "counts": counts()},
        "prompts.json": {"said": SAID, "families": prompts()},
    }

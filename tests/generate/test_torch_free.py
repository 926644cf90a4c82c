"""A whole generation of every modality where importing torch raises, with the reference's tokens at
every step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.steps import StepRecord
from nextomni_edge.tokens.chat import Kind, Part, Turn, conversation, respond
from tests.torch_free import without_torch

COUNTS: dict[Kind, int | None] = {"text": 2, "image": None, "audio": 3, "video": 2}
SCRIPT = """
import json
from pathlib import Path
from nextomni_edge.bundle import Bundle
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.tokens.chat import Part, Turn, conversation, respond
model = EdgeModel.from_bundle(Bundle.open(Path(sys.argv[1])))
traces = {}
for kind, count in json.loads(sys.argv[2]).items():
    turns = [Turn("user", (Part("text", "draw a red rocket"),))]
    prompt = conversation(model.tokenizer, turns)
    asked = respond(prompt, kind, model.config, model.tokenizer, count)
    steps = traces.setdefault(kind, [])
    generate(model, asked, GenerationOptions.defaults(model.config, kind, seed=11),
             lambda record: steps.append([tokens.tolist() for tokens in record.x_t]))
print(json.dumps(traces))
"""


def test_the_block_holds() -> None:
    """The reference, which does need torch, says so instead of running."""
    ended = without_torch("from nextomni_edge.runtimes.base import runtime; runtime('torch')")
    assert "MissingRuntimeError: runtime torch: torch was imported; install it with" in ended.stderr


@pytest.fixture(scope="module")
def traces(tiny_bundle: Path) -> dict[str, list[list[list[int]]]]:
    ended = without_torch(SCRIPT, str(tiny_bundle), json.dumps(COUNTS))
    assert ended.returncode == 0, ended.stderr
    found: dict[str, list[list[list[int]]]] = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize("kind", COUNTS)
def test_tokens_are_the_reference_s_at_every_step(
    traces: dict[str, list[list[list[int]]]], tiny_checkpoint: Path, kind: Kind
) -> None:
    model = EdgeModel.from_checkpoint(tiny_checkpoint)
    turns = [Turn("user", (Part("text", "draw a red rocket"),))]
    asked = respond(
        conversation(model.tokenizer, turns), kind, model.config, model.tokenizer, COUNTS[kind]
    )
    records: list[StepRecord] = []
    generate(model, asked, GenerationOptions.defaults(model.config, kind, seed=11), records.append)
    # no draw so near a tie that rounding may decide it
    assert min(record.margin for record in records) > 1e-5
    assert traces[kind] == [[tokens.tolist() for tokens in record.x_t] for record in records]

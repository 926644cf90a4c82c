"""A recipe's stages: read strictly, and the same batches for every number of processes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.train.stages import Source, Stage, read_stages, recipe_config

ONE = {
    "name": "one", "steps": 5, "sequences": 8, "batch": 2, "context": 64,
    "mixture": [{"name": "text", "weight": 1, "answer": "text"}],
}  # fmt: skip


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 200))
def test_a_batch_is_numbered_among_those_of_its_source(weights: list[int], batches: int) -> None:
    mixture = tuple(Source(str(place), weight, "text") for place, weight in enumerate(weights))
    stage = Stage("one", 1, 1, 1, mixture, context=8)
    seen: Counter[str] = Counter()
    for batch in range(batches):
        source, number = stage.source(batch)
        assert number == seen[source.name]
        seen[source.name] += 1
    rounds = batches // sum(weights)
    assert all(seen[source.name] >= rounds * source.weight for source in mixture)


def test_a_step_is_shared_out_evenly_or_not_at_all() -> None:
    stage = Stage("one", 5, 8, 2, (Source("text", 1, "text"),), context=8, rate=3e-4, shard=True)
    assert [stage.options(processes).accumulate for processes in (1, 2, 4)] == [4, 2, 1]
    options = stage.options(2, minutes=3.0)
    assert (options.steps, options.rate, options.shard, options.minutes) == (5, 3e-4, True, 3.0)
    with pytest.raises(UsageError, match="8 sequences are no whole number of batches of 2 on each"):
        stage.options(3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sequence": 1}, "did you mean 'sequences'"),
        ({"mixture": []}, "stage 'one': mixture is empty"),
        ({"sequences": 9}, "sequences must be a multiple of batch"),
        ({"steps": 0}, "must be 1 or more"),
        ({"accounts": ["lr"]}, r"accounts names \['lr'\], which are no fields"),
        ({"trains": "image"}, "a flow has a context, no warm-up has"),
        ({"slower": {"encoder": -1}}, "slower has a negative factor"),
        ({"rate": "fast"}, "found 'fast', expected float"),
        ({"mixture": [{"name": "a", "weight": 1, "answer": "smell"}]}, "expected one of 'text'"),
        (
            {"mixture": [{"name": "a", "weight": 1, "answer": "text", "given": ["text"]}]},
            "text is always given",
        ),
    ],
)
def test_what_cannot_be_is_one_line(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    path = tmp_path / "stages.json"
    path.write_text(json.dumps({"stages": [ONE]}))
    assert read_stages(path).stages[0].tokens == 5 * 8 * 64
    path.write_text(json.dumps({"stages": [ONE | changes]}))
    with pytest.raises(InputError, match=said):
        read_stages(path)


def test_names_of_stages_differ(tmp_path: Path) -> None:
    (tmp_path / "stages.json").write_text(json.dumps({"stages": [ONE, ONE]}))
    with pytest.raises(InputError, match=r"found \['one', 'one'\], expected different names"):
        read_stages(tmp_path / "stages.json")


def test_a_recipe_without_a_config_needs_a_models_name(tmp_path: Path) -> None:
    (tmp_path / "stages.json").write_text(json.dumps({"stages": [ONE]}))
    with pytest.raises(InputError, match=r"neither config\.json nor a model in stages\.json"):
        recipe_config(tmp_path)
    (tmp_path / "stages.json").write_text(json.dumps({"stages": [ONE], "model": "nextomni-7"}))
    with pytest.raises(UsageError, match="did you mean 'nextomni-7b'"):
        recipe_config(tmp_path)

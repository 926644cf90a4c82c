"""Grids of times: even, given, and found from where the jumps are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nextomni_edge.errors import UsageError
from nextomni_edge.flow.schedule import grid
from nextomni_edge.generate.grid import count_jumps, equal_jumps
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.steps import StepRecord
from tests.generate.fake import Fake


def options(fake: Fake, **given: object) -> GenerationOptions:
    return GenerationOptions.defaults(fake.config, "image", **given)


def test_even_jumps_give_the_even_grid() -> None:
    np.testing.assert_allclose(equal_jumps(np.ones(12), grid(12), 4), grid(4))


def test_steps_stand_where_the_jumps_are() -> None:
    jumps = np.array([0.0, 0.0, 6.0, 2.0])
    np.testing.assert_allclose(
        equal_jumps(jumps, grid(4), 4), [0.0, 0.5 + 1 / 12, 0.5 + 2 / 12, 0.75, 1.0]
    )


@pytest.mark.parametrize("steps", [1, 2, 7, 64])
def test_a_found_grid_rises_from_0_to_1(steps: int) -> None:
    jumps = np.random.default_rng(steps).poisson(0.7, 50).astype(float)
    found = equal_jumps(jumps, grid(50), steps)
    GenerationOptions(steps=steps, grid=found)  # which refuses any other


def test_a_grid_needs_jumps() -> None:
    with pytest.raises(UsageError, match="no token jumped"):
        equal_jumps(np.zeros(4), grid(4), 2)


def test_jumps_are_counted_where_tokens_changed(fake: Fake) -> None:
    given, seeds = options(fake, steps=9), [3, 4]
    asked = [fake.ask("image"), fake.ask("image", prompt="a cat")]
    expected = np.zeros(9)
    for sequence, seed in zip(asked, seeds, strict=True):
        records: list[StepRecord] = []
        found = generate(fake.model, sequence, options(fake, steps=9, seed=seed), records.append)
        tokens = [record.x_t[0] for record in records] + [
            found.segments[found.generated()[0]].tokens
        ]
        expected += [(a != b).sum() for a, b in itertools.pairwise(tokens)]
    np.testing.assert_array_equal(count_jumps(fake.model, asked, given, seeds), expected)
    assert expected.sum() > 0


@pytest.mark.parametrize("stepper", ["euler", "corrected"])
def test_the_even_grid_given_by_hand_is_the_default(fake: Fake, stepper: str) -> None:
    """8 steps: every time and every difference is exact in binary."""
    runs: list[list[bytes]] = []
    for times in ((), grid(8)):
        records: list[StepRecord] = []
        generate(
            fake.model,
            fake.ask("image"),
            options(fake, steps=8, stepper=stepper, grid=times),
            records.append,
        )
        runs.append([record.x_t[0].tobytes() for record in records])
    assert runs[0] == runs[1]


def test_an_uneven_grid_is_followed(fake: Fake) -> None:
    times = (0.0, 0.5, 0.9, 1.0)
    records: list[StepRecord] = []
    generate(fake.model, fake.ask("image"), options(fake, steps=3, grid=times), records.append)
    assert [record.t for record in records] == [0.0, 0.5, 0.9]
    early, late = ((a.x_t[0] != b.x_t[0]).sum() for a, b in itertools.pairwise(records))
    assert early == 0 < late  # nothing jumps at t = 0; a step of 0.4 moves many


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"steps": 2, "grid": (0.0, 1.0)}, "grid has 2 times, expected 3 for 2 steps"),
        ({"steps": 2, "grid": (0.1, 0.5, 1.0)}, "grid goes from 0.1 to 1.0, expected 0 to 1"),
        ({"steps": 2, "grid": (0.0, 0.5, 1.5)}, "grid goes from 0.0 to 1.5, expected 0 to 1"),
        (
            {"steps": 3, "grid": (0.0, 0.5, 0.5, 1.0)},
            "grid does not rise from each time to the next",
        ),
        (
            {"steps": 2, "grid": (0.0, float("nan"), 1.0)},
            "grid does not rise from each time to the next",
        ),
    ],
)
def test_what_is_no_grid_is_refused(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=f"^{sentence}$"):
        GenerationOptions.of(**given)  # type: ignore[arg-type]


def test_a_grid_comes_back_from_json_as_it_was() -> None:
    given = GenerationOptions(steps=2, grid=(0.0, 0.5, 1.0))
    assert GenerationOptions.of(**{**given.settings(), "grid": list(given.grid)}) == given

"""A golden trace that proves nothing is refused: whatever is left out of it, one sentence says."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import InputError
from nextomni_edge.verify import golden
from nextomni_edge.verify.golden_schema import check_data, check_trace

pytestmark = pytest.mark.usefixtures("within_bounds")

Edit = Callable[[golden.GoldenTrace], object]


def changed_case(edit: Callable[[dict[str, np.ndarray], dict[str, np.ndarray]], object]) -> Edit:
    def apply(trace: golden.GoldenTrace) -> None:
        edit(*next(iter(trace.cases["text_head"].values())))

    return apply


def changed_task(name: str, **arrays: Callable[[np.ndarray], np.ndarray]) -> Edit:
    def apply(trace: golden.GoldenTrace) -> None:
        task, found = trace.tasks[name]
        new = {key: tuple(map(edit, getattr(found, key))) for key, edit in arrays.items()}
        trace.tasks[name] = (task, dataclasses.replace(found, **new))

    return apply


def without(name: str, key: str) -> Edit:
    def apply(trace: golden.GoldenTrace) -> None:
        task, found = trace.tasks[name]
        trace.tasks[name] = (task, dataclasses.replace(found, **{key: ()}))

    return apply


def many_steps(trace: golden.GoldenTrace) -> None:
    task, found = trace.tasks["text-to-image"]
    options = dataclasses.replace(task.options, steps=2**30)
    trace.tasks["text-to-image"] = (dataclasses.replace(task, options=options), found)


CASE = "component text_head, case 'batch=1,rows=1': "
EDITS: list[tuple[Edit, str]] = [
    (lambda t: t.cases.clear(), "component audio_decoder is missing"),
    (lambda t: t.cases.pop("backbone"), "component backbone is missing"),
    (lambda t: t.cases.update(own=t.cases["backbone"]), "component 'own' is none of this bundle"),
    (lambda t: t.cases["backbone"].clear(), "component backbone has no case"),
    (changed_case(lambda i, o: i.clear()), CASE + "input hidden is missing"),
    (changed_case(lambda i, o: o.clear()), CASE + "output logits is missing"),
    (
        changed_case(lambda i, o: o.update(own=o["logits"])),
        CASE + "output 'own' is none of this bundle",
    ),
    (
        changed_case(lambda i, o: o.update(logits=o["logits"].astype(np.int64))),
        CASE + "output logits: dtype int64, expected float32",
    ),
    (
        changed_case(lambda i, o: o.update(logits=o["logits"][..., :1])),
        CASE + "output logits: axis 2 has size 1, expected",
    ),
    (
        changed_case(lambda i, o: o.update(logits=o["logits"] * np.float32(np.nan))),
        CASE + "output logits has values that are not finite",
    ),
    (lambda t: t.tasks.clear(), "task audio-to-image is missing"),
    (lambda t: t.tasks.pop("two-turn"), "task two-turn is missing"),
    (
        lambda t: t.tasks.update({"\x1b[2J": t.tasks["two-turn"]}),
        "task '\\x1b[2J' is none of this bundle",
    ),
    (without("image-to-text", "margins"), "task image-to-text has 0 arrays margins, expected 1"),
    (without("image-to-text", "x_t"), "task image-to-text has 0 arrays x_t, expected 1"),
    (without("text-to-image", "tokens"), "task text-to-image has 0 arrays tokens, expected 1"),
    (without("text-to-image", "decoded"), "task text-to-image has 0 arrays decoded, expected 1"),
    (
        changed_task("text-to-image", decoded=lambda a: a[:0]),
        "task text-to-image: its image was not decoded",
    ),
    (changed_task("text-to-image", x_1=lambda a: a[:, :0]), "task text-to-image: x_t ("),
    (
        changed_task(
            "text-to-image", x_t=lambda a: a[:0], x_1=lambda a: a[:0], margins=lambda a: a[:0]
        ),
        "task text-to-image: x_t of (0, ",
    ),
    (many_steps, "task text-to-image has 1073741824 steps, expected at most 64"),
]


@pytest.fixture(scope="module")
def whole(tiny_bundle: Path) -> tuple[Bundle, golden.GoldenTrace]:
    bundle = Bundle.open(tiny_bundle)
    return bundle, golden.read(bundle)


@pytest.mark.parametrize(("edit", "error"), EDITS)
def test_a_trace_that_lacks_something_is_refused(
    whole: tuple[Bundle, golden.GoldenTrace], edit: Edit, error: str
) -> None:
    bundle, trace = whole[0], copy.deepcopy(whole[1])
    edit(trace)
    with pytest.raises(InputError) as raised:
        check_trace(bundle, trace.cases, trace.tasks)
    assert str(raised.value).startswith(error)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"cases": [], "tasks": {}}, "cases and tasks must be objects"),
        ({"cases": {}}, "cases and tasks must be objects"),
        ({"cases": {"backbone": 7}, "tasks": {}}, "cases of 'backbone' are no list of names"),
        ({"cases": {"backbone": [1, 2]}, "tasks": {}}, "cases of 'backbone' are no list of names"),
        (
            {"cases": {"backbone": ["a", "a"]}, "tasks": {}},
            "cases of 'backbone' have a name twice",
        ),
    ],
)
def test_the_trace_s_json_has_a_schema(data: dict[str, object], error: str) -> None:
    with pytest.raises(InputError) as raised:
        check_data(data)
    assert str(raised.value) == error

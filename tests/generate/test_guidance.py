"""Guidance that ends before the flow does."""

from __future__ import annotations

from typing import Any

import pytest

from nextomni_edge.errors import UsageError
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.options import GenerationOptions
from tests.generate.fake import Fake


def test_guidance_that_ends_saves_the_second_branch_and_refuses_a_cache(fake: Fake) -> None:
    def options(**given: Any) -> GenerationOptions:
        return GenerationOptions.defaults(fake.config, "image", **given)

    def rows(**given: Any) -> int:
        widths: list[int] = []
        fake.sessions["backbone"].spoil = lambda _, output: widths.append(len(output))
        generate(fake.model, fake.ask("image"), options(steps=8, **given))
        return sum(widths)

    with_all, with_half, without = rows(), rows(guidance_until=0.5), rows(guidance=0.0)
    assert without < with_half < with_all
    with pytest.raises(UsageError, match="guidance_until means nothing for kv_cache 'adaptive'"):
        options(guidance_until=0.5, kv_cache="adaptive")
    with pytest.raises(UsageError, match="guidance_until is for guidance: give a scale"):
        options(guidance_until=0.5, guidance=0.0)

"""Help of a command with many options: each option stands under a heading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from nextomni_edge.cli.console import Command


class HeadedOption(click.Option):
    """An option that knows its heading."""

    def __init__(self, *arguments: Any, heading: str, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.heading = heading


def under(heading: str) -> Callable[..., Callable[[Command], Command]]:
    """`click.option` for options that stand under a heading."""

    def option(*names: str, **settings: Any) -> Callable[[Command], Command]:
        return click.option(*names, cls=HeadedOption, heading=heading, **settings)

    return option


class HeadedCommand(click.Command):
    """Lists options under their headings, in the order in which the headings come up, and those
    without one last."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        other: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                heading = param.heading if isinstance(param, HeadedOption) else None
                rows = sections.setdefault(heading, []) if heading else other
                rows.append(record)
        for heading, rows in [*sections.items(), ("Output and help", other)]:
            with formatter.section(heading):
                formatter.write_dl(rows)

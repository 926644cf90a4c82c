"""Our own layout, for a model directory whose weights are to be referred to and not copied."""

from __future__ import annotations

from nextomni_edge.checkpoints.source import Layout, Plan, Source
from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import InputError


def recognises(source: Source) -> bool:
    return "backbone" in source.config and "flow" in source.config


def plan(source: Source) -> Plan:
    """Every tensor under its own name. InputError: config.json is not a model's."""
    try:
        ModelConfig.from_json(source.config)
    except InputError as error:
        raise InputError(f"{source.path / 'config.json'}: {error}") from error
    return Plan(
        source.config, {name: (name,) for name in source.tensors}, tokenizer="tokenizer.json"
    )


NATIVE = Layout("native", recognises, plan)

"""A published YAML config: its tags, which would make objects, are read as the plain data behind
them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nextomni_edge.errors import InputError, reason_of
from nextomni_edge.extras import needs_extra
from nextomni_edge.formats.regular import read_regular

if TYPE_CHECKING:
    import yaml

MAX_YAML: Final = 2**18


@functools.cache
def _loader() -> type[yaml.SafeLoader]:
    """Safe types only; `!new:a.b` and other tags are left out."""
    with needs_extra("train", "yaml"):
        import yaml

    class Plain(yaml.SafeLoader):
        pass

    def untagged(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        assert isinstance(node, yaml.ScalarNode)  # there are three kinds
        return loader.construct_scalar(node)

    Plain.add_multi_constructor("!", untagged)
    return Plain


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML file. InputError: no such file, damaged, or with an alias."""
    loader = _loader()
    import yaml

    text = read_regular(path, MAX_YAML).decode("utf-8", errors="replace")
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, loader)):
            raise InputError(f"{path}: an alias (*name), which is not read; write it out")
        found = yaml.load(text, loader)  # a loader of safe types
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not YAML ({reason_of(error)})") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: found {type(found).__name__}, expected a mapping")
    return found


def section(path: Path, config: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """A nested mapping. InputError: it is missing."""
    found: Any = config
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        raise InputError(f"{path}: no section {'.'.join(keys)}")
    return found


def whole(path: Path, config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """A positive whole number. InputError: missing without a default, or no such number."""
    value = config.get(key, default)
    if type(value) is not int or not 1 <= value < 2**30:
        raise InputError(f"{path}: {key} is {str(value)[:40]!r}, expected a positive whole number")
    return value


def number(path: Path, config: Mapping[str, Any], key: str, default: float) -> float:
    """A number from 0 on. InputError: no such number."""
    value = config.get(key, default)
    if type(value) not in (int, float) or not 0.0 <= value < 1e30:
        raise InputError(f"{path}: {key} is {str(value)[:40]!r}, expected a number from 0 on")
    return float(value)


def wholes(path: Path, config: Mapping[str, Any], key: str, default: list[int]) -> list[int]:
    """A list of positive whole numbers. InputError: no such list."""
    value = config.get(key, default)
    if not isinstance(value, list) or not 0 < len(value) <= 32:
        raise InputError(f"{path}: {key} is {str(value)[:40]!r}, expected a list of whole numbers")
    return [whole(path, {key: each}, key) for each in value]

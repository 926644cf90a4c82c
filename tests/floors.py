"""What `make test-floors` installs: one end of the ranges of versions that pyproject.toml allows.

`python -m tests.floors END` prints the requirements of one environment, a line each, as pip reads
them. pyproject.toml stays the only list of versions.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement

PYPROJECT: Final = Path(__file__).parents[1] / "pyproject.toml"
# The extras that hold libraries of ours; `gpu` and `gguf` need a GPU and a compiler.
EXTRAS: Final = (
    "cpu",
    "train",
    "export",
    "quantize",
    "coreml",
    "openvino",
    "heif",
    "hub",
    "search",
    "serve",
    "sign",
)
TOOLS: Final = ("hypothesis", "openai", "pytest", "pytest-timeout", "setuptools")  # of `dev`


def lowest(requirement: Requirement) -> Requirement:
    """Pinned to its lower bound. One without a lower bound stays as it is: another one has it."""
    floors = [each.version for each in requirement.specifier if each.operator in (">=", "==")]
    pinned = f"=={floors[0]}" if floors else str(requirement.specifier)
    marker = f"; {requirement.marker}" if requirement.marker else ""
    return Requirement(f"{requirement.name}{pinned}{marker}")


def as_it_is(requirement: Requirement) -> Requirement:
    """Of an environment that takes the newest version that is allowed."""
    return requirement


# End → how our requirements are pinned, and what else is installed.
ENDS: Final[dict[str, tuple[Callable[[Requirement], Requirement], tuple[str, ...]]]] = {
    "lowest": (lowest, ()),
    "newest": (as_it_is, ()),
    "transformers4": (as_it_is, ("transformers>=4.57,<5",)),
    "transformers5": (as_it_is, ("transformers>=5,<6",)),
}


def requirements(project: dict[str, Any]) -> list[Requirement]:
    """What the package needs, with the extras, and the tools of its tests."""
    extras = project["optional-dependencies"]
    ours = [*project["dependencies"], *(line for name in EXTRAS for line in extras[name])]
    tools = [line for line in extras["dev"] if Requirement(line).name in TOOLS]
    return [Requirement(line) for line in [*ours, *tools]]


def lines(end: str) -> list[str]:
    """The requirements of one environment. KeyError: no such end."""
    pinned, more = ENDS[end]
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    return list(dict.fromkeys([*(str(pinned(each)) for each in requirements(project)), *more]))


if __name__ == "__main__":
    print(*lines(sys.argv[1]), sep="\n")

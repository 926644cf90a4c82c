"""Engine files of TensorRT: their names, their headers, and which one a machine may load. Needs no
vendor library.

A file holds a digest of everything after it, the length of a description, the description as JSON,
and the library's own plan. Only its owner may read it back: a plan is trusted like a program.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nextomni_edge.errors import InputError, MissingRuntimeError
from nextomni_edge.files import atomic_write
from nextomni_edge.formats.regular import read_regular
from nextomni_edge.runtimes.tensorrt.profile import Range
from nextomni_edge.spec import GraphSpec

ENDING: Final = ".engine"
_DIGEST, _LENGTH = 32, 8


@dataclass(frozen=True)
class Identity:
    """What an engine belongs to: a graph with its weights (`content`), a library and its version, a
    compute capability such as "sm89", and its arithmetic. It runs with nothing else."""

    content: str
    library: str
    version: str
    capability: str
    compute: str

    def file(self, component: str) -> str:
        """The engine's name, which holds everything that it belongs to."""
        made_for = f"{self.library}-{self.version}-{self.capability}-{self.compute}"
        return f"{component}-{self.content[:16]}-{made_for}{ENDING}"


@dataclass(frozen=True)
class Tensor:
    """An input or output of an engine. A free size is −1. Dtypes are the spec's."""

    name: str
    dtype: str
    dims: tuple[int, ...]
    input: bool


@dataclass(frozen=True)
class Description:
    """The builder's description of an engine: tensors, the profile's range of each input, layers by
    type, and the number of layers by written data type. Bytes of weights and of working memory are
    those at the profile's largest shapes (None: unknown). `products_reading` counts matrix products
    by the data type that they read."""

    component: str
    identity: Identity
    tensors: tuple[Tensor, ...]
    ranges: dict[str, Range]
    layers: dict[str, int] = field(default_factory=dict)
    outputs_by_dtype: dict[str, int] = field(default_factory=dict)
    weight_bytes: int | None = None
    activation_bytes: int | None = None
    products_by_dtype: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def engines_beside(bundle: Path) -> Path:
    """The default folder of a bundle's engines. It is outside the bundle, which only holds what its
    manifest lists."""
    return bundle.resolve().with_name(f"{bundle.resolve().name}.engines")


def content_key(digests: list[str]) -> str:
    """One digest for a graph and its weights' files."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def write_engine(folder: Path, description: Description, plan: bytes | memoryview) -> Path:
    """Write an engine under its name in `folder`. An older one of that name stays whole until
    then."""
    header = json.dumps(description.to_json()).encode()
    head = len(header).to_bytes(_LENGTH, "little") + header
    digest = hashlib.sha256(head)
    digest.update(plan)
    out = folder / description.identity.file(description.component)
    with atomic_write(out) as file:
        file.write(digest.digest() + head)
        file.write(plan)
    return out


def read_engine(path: Path) -> tuple[Description, memoryview]:
    """(description, plan). InputError: the file is damaged, or no engine."""
    content = memoryview(read_regular(path))
    if len(content) < _DIGEST + _LENGTH or hashlib.sha256(content[_DIGEST:]).digest() != bytes(
        content[:_DIGEST]
    ):
        raise InputError(f"{path}: not a whole engine file; remove it and compile again")
    start = _DIGEST + _LENGTH
    end = start + int.from_bytes(content[_DIGEST:start], "little")
    try:
        return parse_description(json.loads(bytes(content[start:end]))), content[end:]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: an engine file of another release; compile again") from error


def find_engine(folder: Path, component: str, identity: Identity) -> tuple[Description, memoryview]:
    """The engine that belongs to `identity`. MissingRuntimeError: there is none; the error names
    the command that builds it."""
    path = folder / identity.file(component)
    if path.is_file():
        description, plan = read_engine(path)
        if description.identity != identity or description.component != component:
            raise InputError(
                f"{path}: holds the engine of another {component}; remove it and compile again"
            )
        return description, plan
    others = sorted(other.name for other in folder.glob(f"{component}-*{ENDING}"))
    found = f"found {', '.join(others[:3])}" if others else "none of it is there"
    raise MissingRuntimeError(
        f"{component}: no engine for {identity.library} {identity.version} on {identity.capability}"
        f" in {identity.compute} of this graph in {folder} ({found}); build it: nextomni-edge"
        f" compile BUNDLE --cache {folder} --compute {identity.compute}"
    )


def check_interface(description: Description, spec: GraphSpec) -> None:
    """InputError: the engine's tensors are not those of the spec."""
    for kind, specs, given in (("inputs", spec.inputs, True), ("outputs", spec.outputs, False)):
        expected = sorted((tensor.name, tensor.dtype, _free(tensor.dims)) for tensor in specs)
        actual = sorted(
            (tensor.name, tensor.dtype, tensor.dims)
            for tensor in description.tensors
            if tensor.input == given
        )
        if actual != expected:
            raise InputError(
                f"{description.component}: the engine has {kind} {actual}, expected {expected}"
            )


def capability_number(capability: str) -> int:
    """89 of "sm89". InputError: no such form."""
    if not re.fullmatch(r"sm[0-9]{2,3}", capability):
        raise InputError(f"capability {capability!r}: expected sm and a number, such as sm89")
    return int(capability[2:])


def _free(dims: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(dim if isinstance(dim, int) else -1 for dim in dims)


def parse_description(data: Mapping[str, Any]) -> Description:
    """The inverse of `to_json`."""
    given = dict(data)
    given["identity"] = Identity(**given["identity"])
    given["tensors"] = tuple(
        Tensor(**{**tensor, "dims": tuple(tensor["dims"])}) for tensor in given["tensors"]
    )
    given["ranges"] = {
        name: Range(*(tuple(shapes[place]) for place in ("min", "opt", "max")))
        for name, shapes in given["ranges"].items()
    }
    return Description(**given)

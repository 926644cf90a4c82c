"""`inspect --diff`: what another bundle has otherwise, in sum and in every detail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from nextomni_edge.bundle.parity import parity_lines

if TYPE_CHECKING:
    from nextomni_edge.bundle import Bundle, Decision

Changes = list[tuple[str, object, object]]

MOST: Final = 5  # layers whose errors are named
# Keys of the manifest whose changes are counted, and shown one by one with -v; of others each is
# shown.
COUNTED: Final = ("files", "layers", "parity", "golden", "components", "quantisation")


def flat(bundle: Bundle) -> dict[str, object]:
    """The manifest as one level: dotted key -> value; a file's value is its digest and size in one
    text."""
    data = bundle.manifest.to_json()
    data.pop("measured", None)
    data["files"] = {
        name: f"{record['sha256'][:12]} ({record['size']:,} bytes)"
        for name, record in data["files"].items()
    }
    data["layers"] = {name: bits_text(decision) for name, decision in decisions(bundle).items()}
    for component in data["components"].values():
        del component["quantisation"]
    return dict(leaves("", data))


def decisions(bundle: Bundle) -> dict[str, Decision]:
    """Every quantised layer's decision, by component/weight."""
    parts = bundle.manifest.components.items()
    return {
        f"{name}/{weight}": decision
        for name, record in parts
        for weight, decision in record.quantisation.items()
    }


def bits_text(decision: Decision) -> str:
    """Such as `4 bits, blocks of 32, gptq, weight error 0.071, 20,736 bytes`."""
    blocks = f" of {decision.block_size}" if decision.block_size else ""
    cost = "" if decision.divergence is None else f", {decision.divergence:.2g} nats by itself"
    return (
        f"{decision.bits} bits, {decision.scheme.replace('_', ' ')}{blocks}, {decision.method}, "
        f"weight error {decision.weight_error:.3f}{cost}, {decision.bytes:,} bytes"
    )


def leaves(prefix: str, value: object) -> Iterator[tuple[str, object]]:
    """(dotted key, value) of everything in nested objects that is no object."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(f"{prefix}.{key}" if prefix else str(key), inner)
    else:
        yield prefix, value


def differences(
    one: dict[str, object], other: dict[str, object]
) -> Iterator[tuple[str, object, object]]:
    """(key, left, right) wherever two flat objects differ; None stands for a key that is not there.
    A layer that the other bundle does not quantise is float there."""
    for key in sorted(one.keys() | other.keys()):
        absent = "float" if key.startswith("layers.") else None
        left, right = one.get(key, absent), other.get(key, absent)
        if left != right:
            yield key, left, right


def shown(value: object) -> str:
    return "nothing" if value is None else str(value)


def summary(one: Bundle, other: Bundle, changes: Changes) -> dict[str, Any]:
    """The differences in numbers: bytes in all and by component, layers by scheme, and changes by
    the manifest's top keys. Sizes of components count each weight where it is used."""
    names = one.manifest.components.keys() | other.manifest.components.keys()
    return {
        "bytes": [total(one), total(other)],
        "files": [len(one.manifest.files), len(other.manifest.files)],
        "components": {name: [nbytes(one, name), nbytes(other, name)] for name in sorted(names)},
        "schemes": [dict(schemes(one)), dict(schemes(other))],
        "changes": dict(Counter(what.split(".")[0] for what, _, _ in changes)),
    }


def summary_lines(one: Bundle, other: Bundle, changes: Changes) -> Iterator[str]:
    """The summary as lines: sizes, layers, the largest errors, parity, and what else changed."""
    left, right = total(one), total(other)
    yield f"{one.path} -> {other.path}"
    yield f"bytes: {left:,} -> {right:,} ({ratio(left, right)})"
    for name in {**one.manifest.components, **other.manifest.components}:
        before, after = nbytes(one, name), nbytes(other, name)
        if before != after:
            yield f"  {name:<16} {before:>14,} -> {after:>14,} ({ratio(before, after)})"
    yield from quality_lines(one, other)
    for what, now, then in changes:
        if what.split(".")[0] not in COUNTED:
            yield f"{what}: {shown(now)} -> {shown(then)}"
    counts = Counter(what.split(".")[0] for what, _, _ in changes)
    counted = ", ".join(f"{counts[key]} of {key}" for key in COUNTED if counts[key])
    yield from [f"{counted} differ; -v lists each"] if counted else []


def quality_lines(one: Bundle, other: Bundle) -> Iterator[str]:
    """How layers are stored, how that was made, and what was measured of it, where it differs."""
    if (before := schemes(one)) != (after := schemes(other)):
        yield f"layers: {scheme_text(before)} -> {scheme_text(after)}"
        worst = sorted(decisions(other).items(), key=lambda item: -item[1].weight_error)[:MOST]
        named = ", ".join(f"{found.weight_error:.3f} ({name})" for name, found in worst)
        yield from [f"largest weight errors: {named}"] if named else []
    if one.manifest.quantisation != other.manifest.quantisation:
        for bundle in (one, other):
            quantisation = bundle.manifest.to_json()["quantisation"]
            yield from (f"{bundle.path}: {line}" for line in made_text(quantisation))
    if one.manifest.parity != other.manifest.parity:
        for bundle in (one, other):
            found = parity_lines(bundle.manifest.parity)
            yield f"{bundle.path}: {'; '.join(line.strip() for line in found)}"


def total(bundle: Bundle) -> int:
    """Bytes of all files."""
    return sum(record.size for record in bundle.manifest.files.values())


def nbytes(bundle: Bundle, component: str) -> int:
    """Bytes of a component's graph and of the weights that it reads; 0 where it is not there."""
    if component not in bundle.manifest.components:
        return 0
    names = {bundle.manifest.components[component].index, *bundle.component_weights(component)}
    return sum(bundle.manifest.files[name].size for name in names)


def ratio(left: int, right: int) -> str:
    """Such as `4.17 times smaller`."""
    if not left or not right:
        return "removed" if left else "added"
    times = max(left, right) / min(left, right)
    return (
        "the same"
        if left == right
        else f"{times:.2f} times {'smaller' if right < left else 'larger'}"
    )


def schemes(bundle: Bundle) -> Counter[str]:
    """Quantised layers by what is stored, such as `4 bits in blocks of 32, gptq`."""
    return Counter(
        f"{found.bits} bits, {found.scheme.replace('_', ' ')}"
        f"{f' of {found.block_size}' if found.block_size else ''}, {found.method}"
        for found in decisions(bundle).values()
    )


def scheme_text(found: Counter[str]) -> str:
    layers = "; ".join(f"{count} at {scheme}" for scheme, count in found.most_common())
    return layers or "none quantised"


def made_text(quantisation: dict[str, Any] | None) -> Iterator[str]:
    """How a quantised bundle was made."""
    if quantisation:
        recipe = ", ".join(
            f"{name} {value}"
            for name, value in leaves("", quantisation["recipe"])
            if value is not None
        )
        random = ", calibrated on RANDOM numbers" if quantisation["random_calibration"] else ""
        yield f"made of: {quantisation['parent']} by {recipe}{random}"

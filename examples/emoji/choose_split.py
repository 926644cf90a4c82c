"""Choose the held-out artist of every concept; this made `split.json`.

    python examples/emoji/choose_split.py --data DIR --voice flite-slt

An artist family is eligible for a concept if its drawing is not one of the two least like the other
artists' drawings of the same concept (one where only five families drew it): sets disagree on what
some emoji show, and naming a thing that was never drawn so measures nothing. The rule looks at
pixels alone, never at a model; among the eligible families chance decides, with every family used
about equally often. Measures on this split are thus about ordinary drawings by an unseen hand, not
about a set's oddities.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from catalog import ARTISTS, FAMILIES, HERE, Concept, DataError, load_concepts
from prepare import write_atomic
from safetensors import safe_open
from scipy.optimize import linear_sum_assignment

RULE = (
    "not among the two drawings least like the others (one of five); then by chance, balanced over"
    " families (choose_split.py)"
)


def coarse(rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Drawings uint8 (N,64,64,4) as unit-free features (N, 8*8*3): box-filtered on white."""
    alpha = rgba[..., 3:].astype(np.float64) / 255
    white = rgba[..., :3] / 255 * alpha + 1 - alpha
    features: npt.NDArray[np.float64] = (
        white.reshape(-1, 8, 8, 8, 8, 3).mean(axis=(2, 4)).reshape(len(rgba), -1)
    )
    return features


def oddness(features: npt.NDArray[np.float64], family: npt.NDArray[np.int64]) -> dict[int, float]:
    """For one concept: each family's distance to the nearest two drawings of other families (N, F),
    (N,)."""
    distance = np.linalg.norm(features[:, None] - features[None], axis=2)
    result = {}
    for f in sorted(set(family.tolist())):
        others = np.sort(distance[family == f][:, family != f], axis=1)[:, :2]
        result[f] = float(others.mean())
    return result


def assign(eligible: list[list[int]], rng: np.random.Generator) -> list[int]:
    """One family per concept, by chance among the eligible, with equal shares: a random-cost
    assignment problem."""
    share = -(-len(eligible) // len(FAMILIES))
    cost = rng.random((len(eligible), len(FAMILIES)))
    for row, families in enumerate(eligible):
        cost[row, [f for f in range(len(FAMILIES)) if f not in families]] = 1e3
    rows, seats = linear_sum_assignment(np.repeat(cost, share, axis=1))
    chosen = (seats // share).tolist()
    if any(chosen[row] not in eligible[row] for row in rows):
        raise DataError("no balanced split exists with these concepts")
    return [int(f) for f in chosen]


def choose(data: Path, concepts: list[Concept], seed: int) -> dict[str, list[str]]:
    """Held-out artists by code point."""
    with safe_open(str(data / "drawings.safetensors"), framework="np") as file:
        rgba, concept, artist = (file.get_tensor(name) for name in ("rgba", "concept", "artist"))
    family_of = np.array(
        [next(f for f, members in enumerate(FAMILIES) if name in members) for name in ARTISTS]
    )
    features = coarse(rgba)
    eligible = []
    for c in range(len(concepts)):
        odd = oddness(features[concept == c], family_of[artist[concept == c]])
        eligible.append(sorted(odd, key=lambda f: odd[f])[: min(4, len(odd) - 1)])
    families = assign(eligible, np.random.default_rng(seed))
    return {
        c.codepoint: [a for a in FAMILIES[f] if a in c.icons]
        for c, f in zip(concepts, families, strict=True)
    }


def main() -> int:
    """Command line; writes split.json beside this file."""
    parser = argparse.ArgumentParser(description="Choose the held-out split of the emoji data.")
    parser.add_argument("--data", type=Path, required=True, help="folder made by prepare.py")
    parser.add_argument("--voice", required=True, help="held-out voice")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        artists = choose(options.data, load_concepts(), options.seed)
    except (DataError, OSError) as error:
        print(f"choose_split: {error}", file=sys.stderr)
        return 3
    lines = ",\n".join(
        f"    {json.dumps(codepoint)}: {json.dumps(names)}" for codepoint, names in artists.items()
    )
    text = (
        f'{{\n  "rule": {json.dumps(RULE)},\n  "seed": {options.seed},\n  "voice":'
        f" {json.dumps(options.voice)},\n"
    )
    write_atomic(HERE / "split.json", f'{text}  "artists": {{\n{lines}\n  }}\n}}\n'.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())

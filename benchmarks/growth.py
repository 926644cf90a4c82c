"""Memory over 200 generations: `python benchmarks/growth.py [--bundle DIR] [-o FILE]`; exits with 1
where it grew by 1 % or more.

Tasks of all modalities in turn, with and without kept keys and values; resident memory after the
first rounds, and after all.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from itertools import cycle, islice
from pathlib import Path

from nextomni_edge.bundle import Bundle
from nextomni_edge.files import atomic_write
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.tasks import PLANS

DEMO = Path(__file__).resolve().parents[1] / "demo" / "bundle"
STATUS = Path("/proc/self/status")
WARM_UP = 40


def resident() -> int:
    """Bytes of this process that are in memory."""
    gc.collect()
    return next(
        int(line.split()[1]) * 1024
        for line in STATUS.read_text().splitlines()
        if line.startswith("VmRSS:")
    )


def sizes(model: EdgeModel, generations: int) -> list[int]:
    """Resident bytes after the warm-up and after every tenth generation that follows."""
    tasks = [plan.task(model) for plan in PLANS]
    variants = cycle([(task, cache) for cache in ("none", "revised") for task in tasks])
    found = []
    for index, (task, cache) in enumerate(islice(variants, WARM_UP + generations + 1)):
        if index >= WARM_UP and (index - WARM_UP) % 10 == 0:
            found.append(resident())
        options = GenerationOptions.defaults(
            model.config, task.modality, steps=8, seed=index, kv_cache=cache
        )
        model.response(generate(model, task.sequence, options))
    return found


def main() -> None:
    """Measure and write the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=DEMO)
    parser.add_argument("--generations", type=int, default=200)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    if not arguments.bundle.is_dir():
        sys.exit(
            f"{arguments.bundle}: no bundle; make one with `make demo`, or name another with"
            " --bundle"
        )
    found = sizes(EdgeModel.from_bundle(Bundle.open(arguments.bundle)), arguments.generations)
    growth = found[-1] / found[0] - 1.0
    with atomic_write(arguments.out, "w") as file:
        file.write(
            json.dumps(
                {"generations": arguments.generations, "growth": growth, "resident_bytes": found}
            )
            + "\n"
        )
    print(
        f"{found[0] / 2**20:.1f} MiB before, {found[-1] / 2**20:.1f} MiB after"
        f" {arguments.generations} generations: {growth:+.2%}"
    )
    if not growth < 0.01:
        sys.exit(1)


if __name__ == "__main__":
    main()

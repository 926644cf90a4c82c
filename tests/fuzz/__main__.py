"""A bounded fuzzer: `make fuzz`, `FUZZ_EXECUTIONS` and `FUZZ_SECONDS` of each target at most.

Inputs are files of corpus/TARGET, damaged; those whose error has not been seen before join the
corpus of this run. Anything but an error of ours, or an execution of over ten seconds, ends it with
the input's path and exit code 1.
"""

from __future__ import annotations

import logging
import os
import random
import re
import sys
import time
import traceback
import warnings
from pathlib import Path

from nextomni_edge.errors import NextOmniError
from tests.fuzz.targets import TARGETS, Target

CORPUS = Path(__file__).with_name("corpus")
FOUND = Path(os.environ.get("FUZZ_FOUND", "build/fuzz"))
SLOWEST = 10.0
LARGEST = 2**18
INTERESTING = [
    b"\x00", b"\xff", b"\x7f", b"\x80" * 9 + b"\x01", b"\xff" * 9 + b"\x01", b"0", b"-1", b"1e999",
    b"9223372036854775808", b"null", b"[]", b"{}", b'"', b"\\ud800", b"NaN", b"\xff\xff\xff\x7f",
]  # fmt: skip


def damaged(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """One to six changes: bytes flipped, removed, repeated, inserted, or taken of another input."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at, length = chance.randint(0, len(found)), chance.choice((1, 1, 2, 4, 8, 64))
        kind = chance.randrange(6)
        if kind == 0 and found:
            found[at % len(found)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del found[at : at + length]
        elif kind == 2:
            found[at:at] = found[at : at + length] * chance.choice((1, 2, 100))
        elif kind == 3:
            found[at : at + chance.choice((0, length))] = chance.choice(INTERESTING)
        elif kind == 4:
            found[at:at] = chance.randbytes(length)
        else:
            other = chance.choice(others)
            start = chance.randint(0, len(other))
            found[at : at + length] = other[start : start + length]
    return bytes(found[:LARGEST])


def fuzz(name: str, target: Target, executions: int, seconds: float, seed: int) -> int:
    """How many inputs were tried. SystemExit: one of them failed."""
    chance, started = random.Random(f"{name} {seed}"), time.monotonic()
    inputs = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    seen, done = set[str](), 0
    while done < executions and time.monotonic() - started < seconds:
        data = damaged(chance.choice(inputs), inputs, chance) if done else inputs[0]
        began = time.monotonic()
        try:
            target(data)
        except NextOmniError as error:
            kind = re.sub(r"\d+|'[^']*'", "", str(error))[:80]
            if kind not in seen and len(inputs) < 1000:
                seen.add(kind)
                inputs.append(data)
        except Exception:
            _failed(name, data, traceback.format_exc())
        if time.monotonic() - began > SLOWEST:
            _failed(name, data, f"{time.monotonic() - began:.1f} s")
        done += 1
    return done


def _failed(name: str, data: bytes, what: str) -> None:
    FOUND.mkdir(parents=True, exist_ok=True)
    path = FOUND / name
    path.write_bytes(data)
    sys.exit(f"{name}: {what}\nthe input: {path}")


def main() -> None:
    logging.disable()
    warnings.simplefilter("ignore")
    executions = int(os.environ.get("FUZZ_EXECUTIONS", "20000"))
    seconds = float(os.environ.get("FUZZ_SECONDS", "60"))
    seed = int(os.environ.get("FUZZ_SEED", "0"))
    for name in sys.argv[1:] or TARGETS:
        done = fuzz(name, TARGETS[name], executions, seconds, seed)
        print(f"{name}: {done} executions, only our own errors", flush=True)


if __name__ == "__main__":
    main()

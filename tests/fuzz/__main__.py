"""A bounded fuzzer: `make fuzz`, `FUZZ_EXECUTIONS` and `FUZZ_SECONDS` of each target at most.

Inputs are files of corpus/TARGET, damaged; those whose error has not been seen before join the
inputs of this run. It ends with the input's path and exit code 1 at anything but an error of ours,
at an execution of over ten seconds of processor time, and where 2 GB of memory were taken.
`FUZZ_STATE=FILE` counts executions over several runs: a run goes on where the last one stopped.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import random
import re
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

from nextomni_edge.errors import NextOmniError
from tests.fuzz.mutations import damaged
from tests.fuzz.targets import TARGETS, Target

CORPUS = Path(__file__).with_name("corpus")
FOUND = Path(os.environ.get("FUZZ_FOUND", "build/fuzz"))
SLOWEST = 10.0  # of processor time, as another program may have the processor meanwhile
QUICK = 0.05  # seconds; what takes longer is not damaged further
STUCK = 60  # seconds after which native code that does not return is stopped
MEMORY = 2 * 2**30
CHUNK = 20_000  # executions between two entries in the state file


def fuzz(name: str, target: Target, executions: int, seconds: float, seed: int) -> int:
    """How many inputs were tried. SystemExit: one of them failed."""
    chance, started = random.Random(f"{name} {seed}"), time.monotonic()
    inputs = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    seen, done, before = set[str](), 0, _peak()
    while done < executions and time.monotonic() - started < seconds:
        data = damaged(chance.choice(inputs), inputs, chance) if done else inputs[0]
        began, kind = time.process_time(), ""
        try:
            target(data)
        except NextOmniError as error:
            kind = re.sub(r"\d+|'[^']*'", "", str(error))[:80]
        except Exception:
            _failed(name, data, traceback.format_exc())
        if (took := time.process_time() - began) > SLOWEST:
            _failed(name, data, f"{took:.1f} s of processor time")
        if kind and kind not in seen and len(inputs) < 1000 and took < QUICK:
            seen.add(kind)
            inputs.append(data)
        if _peak() - before > MEMORY:
            _failed(name, data, f"{_peak()} bytes of memory")
        done += 1
    return done


def _failed(name: str, data: bytes, what: str) -> None:
    FOUND.mkdir(parents=True, exist_ok=True)
    path = FOUND / name
    path.write_bytes(data)
    sys.exit(f"{name}: {what}\nthe input: {path}")


def campaign(name: str, executions: int, seconds: float, state: Path | None) -> int:
    """Fuzzes in chunks, each with a seed of its own, until the target has `executions` of them, or
    for `seconds`. Returns how many there are, those of earlier runs included."""
    counts = json.loads(state.read_text()) if state and state.exists() else {}
    done, started = counts.get(name, 0), time.monotonic()
    while done < executions and (left := seconds - (time.monotonic() - started)) > 0:
        chunk = min(CHUNK, executions - done)
        print(f"{name}: from {done}", file=sys.stderr, flush=True)  # a crash is found again by it
        _stop_after(left + STUCK)
        done += fuzz(name, TARGETS[name], chunk, left, _seed() + done)
        if state:
            counts[name] = done
            state.write_text(json.dumps(counts))
    return int(done)


def _seed() -> int:
    return int(os.environ.get("FUZZ_SEED", "0"))


def _stop_after(seconds: float) -> None:
    """Native code that hangs ends the process, with the traceback of where it was called."""
    with contextlib.suppress(AttributeError):  # Windows has no alarm
        faulthandler.register(signal.SIGALRM, chain=True)
        signal.alarm(int(seconds))


def _peak() -> int:
    """The most bytes that this process ever held in memory; 0 where the system does not tell.

    Address space is no measure: the threads of FFmpeg reserve gigabytes that nothing uses."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    logging.disable()
    warnings.simplefilter("ignore")
    faulthandler.enable()
    executions = int(os.environ.get("FUZZ_EXECUTIONS", "20000"))
    seconds = float(os.environ.get("FUZZ_SECONDS", "60"))
    state = Path(os.environ["FUZZ_STATE"]) if "FUZZ_STATE" in os.environ else None
    for name in sys.argv[1:] or TARGETS:
        done = campaign(name, executions, seconds, state)
        print(f"{name}: {done} executions, only our own errors", flush=True)


if __name__ == "__main__":
    main()

"""Response time of the flow against its autoregressive twin: `python benchmarks/autoregressive.py
[--folder DIR] [-o FILE]`.

One network of Qwen2.5-0.5B's sizes, random weights. The twin decodes greedily over kept keys and
values: on llama.cpp in Q8_0 and Q4_0, and on ONNX Runtime in INT8. The flow denoises an answer of
that length greedily, at 1 and at 4 forwards, none saved by a shortcut: a line through both gives
the time of any number. It does so all at once and, where examples/emoji/twins.json has it so, in
two parts, the first tokens and all behind them, with as many forwards for each. Its prompt is
computed in every forward (exact), or once (kept keys and values, which approximate), in both parts.
Answers of 16, 64 and 256 tokens behind a prompt of 128. Every contender is a process of its own,
asked in turn, round after round; medians are taken. The models (9 GB) are made at first use;
`--small` tries the script in minutes.

Written: all seconds. Printed: for each length, of each flow against each twin, the forwards at
which both take as long, and the ratio at the number of forwards that examples/emoji/twins.json
found to be as good as the twin.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import itertools
import json
import platform
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import autoregressive_models
from autoregressive_report import FORWARDS, LENGTHS, SAME_BITS, equal_quality, report
from contenders import Contender, answer_all, parser, started

from nextomni_edge.files import atomic_write

PROMPT = 128
# name: (whose, file, runtime, arithmetic)
CONTENDERS = {
    "ar llama.cpp q8_0": ("llama", "q8_0.gguf", "llama_cpp_python", ""),
    "ar llama.cpp q4_0": ("llama", "q4_0.gguf", "llama_cpp_python", ""),
    "ar onnx int8": ("twin", "causal-int8", "onnx", "float32"),
    "flow onnx int8": ("flow", "flow-int8", "onnx", "float32"),
    "flow openvino bfloat16": ("flow", "flow", "openvino", "bfloat16"),
}
Respond = Callable[[dict[str, Any]], float]


def llama(file: Path, threads: int) -> Respond:
    """Seconds of a greedy answer of llama.cpp, from the prompt on."""
    import ctypes

    import llama_cpp
    import numpy as np

    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p())
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(
        str(file).encode(), llama_cpp.llama_model_default_params()
    )
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx, parameters.n_batch, parameters.n_ubatch = 512, 512, 512
    parameters.n_threads = parameters.n_threads_batch = threads
    context = llama_cpp.llama_init_from_model(model, parameters)
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))

    def respond(asked: dict[str, Any], _keep: object = quiet) -> float:
        began, tokens = time.perf_counter(), prompt_ids()
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        for _ in range(asked["length"]):
            array = (llama_cpp.llama_token * len(tokens))(*tokens)
            if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(array, len(tokens))):
                raise SystemExit(f"{file}: llama_decode failed")
            logits = llama_cpp.llama_get_logits_ith(context, -1)
            tokens = [int(np.ctypeslib.as_array(logits, (vocabulary,)).argmax())]
        return time.perf_counter() - began

    return respond


def ours(whose: str, bundle: Path, runtime: str, compute: Any) -> Respond:
    """Seconds of an answer over one of our runtimes: the twin's, or the flow's with the forwards
    and the policy asked for."""
    import numpy as np

    from nextomni_edge.bundle import Bundle
    from nextomni_edge.generate.autoregressive import greedy
    from nextomni_edge.generate.loop import generate
    from nextomni_edge.generate.meter import Meter
    from nextomni_edge.generate.model import EdgeModel
    from nextomni_edge.generate.options import GenerationOptions
    from nextomni_edge.runtimes.base import Execution
    from nextomni_edge.tokens.sequence import Segment, Sequence

    execution = Execution(runtime, compute=compute)
    model = EdgeModel.from_bundle(
        Bundle.open(bundle, verify_hashes=False), execution, autoregressive_models.PARTS
    )
    prompt = Segment("text", np.asarray(prompt_ids()))

    def respond(asked: dict[str, Any]) -> float:
        sequence = Sequence(
            (prompt, Segment("text", np.zeros(asked["length"], np.int64), frozen=False))
        )
        meter, forwards = Meter(), asked.get("forwards", asked["length"])
        began = time.perf_counter()
        if whose == "twin":
            greedy(model, [sequence], meter=meter)
        else:
            options = GenerationOptions.of(
                steps=forwards + 1, temperature=0.0, kv_cache=asked["policy"],
                lead_tokens=asked["lead_tokens"], stop_early=False, reuse_logits=False,
            )  # Euler's first step needs no forward  # fmt: skip
            generate(model, sequence, options, meter=meter)
        seconds = time.perf_counter() - began
        expected = forwards * (2 if asked.get("lead_tokens") else 1)
        if meter.forwards != expected:
            raise SystemExit(f"{bundle}: {meter.forwards} forwards, expected {expected}")
        return seconds

    return respond


def prompt_ids() -> list[int]:
    return [20 + 7 * index % 200 for index in range(PROMPT)]


def work(name: str, folder: Path, threads: int) -> None:
    """A contender's process: a JSON object a line on stdin, an answer a line on stdout."""
    whose, file, runtime, compute = CONTENDERS[name]
    load = (
        functools.partial(llama, folder / file, threads)
        if whose == "llama"
        else functools.partial(ours, whose, folder / file, runtime, compute)
    )
    answer_all(load, lambda: metadata.version({"onnx": "onnxruntime"}.get(runtime, runtime)))


def questions(name: str, length: int) -> list[dict[str, Any]]:
    """What a contender is asked at a length."""
    if name.startswith("ar"):
        return [{"length": length}]
    quality = equal_quality()
    leads = sorted({0, quality[length].lead_tokens} if length in quality else {0})
    ways = itertools.product(leads, ("none", "prefix"), FORWARDS)
    return [
        {"length": length, "forwards": n, "policy": policy, "lead_tokens": lead}
        for lead, policy, n in ways
    ]


def measure(
    contenders: list[Contender], rounds: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Every question to every contender, round after round, after a pass at the shortest length
    that does not count."""
    asked_of = [
        (one.name, asked)
        for length in LENGTHS
        for one in contenders
        for asked in questions(one.name, length)
    ]
    rows: list[dict[str, Any]] = [
        {"name": name, **asked, "seconds": []} for name, asked in asked_of
    ]
    by_name = {one.name: one for one in contenders}
    for one in contenders:
        for asked in questions(one.name, LENGTHS[0]):
            one.seconds(**asked)
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for row in rows:
            asked = {key: value for key, value in row.items() if key not in ("name", "seconds")}
            row["seconds"].append(by_name[row["name"]].seconds(**asked))
    return rows


def main() -> None:
    """Measure and write the numbers; `--table` prints those of an earlier run."""
    options = parser(__file__, __doc__, "build/autoregressive", 3)
    options.add_argument(
        "--small", action="store_true", help="two layers and a small vocabulary: to try the script"
    )
    options.add_argument(
        "--table", action="store_true", help="print the table of the written numbers and end"
    )
    given = options.parse_args()
    if given.worker:
        work(given.worker, given.folder, given.threads)
        return
    if given.table:
        print(report(given.out))
        return
    for library in ("gguf", "llama_cpp"):
        if importlib.util.find_spec(library) is None:
            sys.exit(
                f"{library} is not installed, and without llama.cpp there is nothing to compare"
                " with: pip install '.[gguf]'"
            )
    if given.small:
        given.folder /= "small"  # apart, or a measurement would take the small shape for its own
    given.folder.mkdir(parents=True, exist_ok=True)
    autoregressive_models.prepare(given.folder, given.small)
    if not given.prepare:
        run(given)


def run(given: argparse.Namespace) -> None:
    """Start the contenders, measure, write."""
    began = time.monotonic()
    with started(__file__, list(CONTENDERS), given, SAME_BITS) as (here, absent):
        rows = measure(here, given.rounds, lambda line: print(line, file=sys.stderr, flush=True))
    data = {
        "machine": platform.machine(), "threads": given.threads, "prompt": PROMPT,
        "small": given.small, "versions": {one.name: one.started["version"] for one in here},
        "not_run": absent, "wall_s": time.monotonic() - began, "rows": rows,
    }  # fmt: skip
    with atomic_write(given.out, "w") as file:
        file.write(json.dumps(data, indent=1) + "\n")
    for name, reason in absent.items():
        print(f"not run: {name}: {reason}")
    print(report(given.out))


if __name__ == "__main__":
    main()

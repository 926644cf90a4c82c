"""OmniVoice at its published size, with random weights: its own package in PyTorch against the
exported graphs, on one machine.

    python benchmarks/omnivoice_speed.py FOLDER --package PYTHON -o benchmarks/omnivoice_speed.json

PYTHON is one where `omnivoice` 0.2.1 is installed. It makes the checkpoint in FOLDER, and is timed
in float32, eager, and in bfloat16 with its backbone compiled. FOLDER also gets the model directory,
and bundles in float32, INT8 and INT4. Each kind says the same text of `SECONDS` in the voice of a
clip, in turns, and its best time of `--repeats` counts. Real-time factor: seconds that it takes for
each second of speech, silences left in. Also: the peak memory of export, and the time to the first
sound of a long text.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np

import nextomni_edge as ne
from nextomni_edge.files import atomic_write

SECONDS, VOICE_SECONDS, RATE = 4.0, 3.0, 24_000
TEXT: Final = "The train to the coast leaves at nine, and nobody knows when it comes back."
VOICE_TEXT: Final = "Nice to meet you, said the stranger."
STORY: Final = " ".join([TEXT] * 6)  # about thirty seconds
KINDS: Final = ("float32", "int8-dynamic", "int8-static", "int4-rtn")
# (runtime, bundle, compute): of the runtimes, those that a kind is meant for
RUNS: Final = (
    ("onnx", "float32", "float32"), ("openvino", "float32", "float32"),
    ("openvino", "float32", "bfloat16"), ("onnx", "int8-dynamic", "float32"),
    ("openvino", "int8-static", "float32"), ("openvino", "int4-rtn", "float32"),
)  # fmt: skip
GUIDED: Final = 0.5  # of the flow's time, in the runs whose guidance ends
# of the package: its type of number, and whether the backbone is compiled
PACKAGES: Final = {
    "package, PyTorch eager float32": ("float32", False),
    "package, PyTorch compiled bfloat16": ("bfloat16", True),
}

MAKE: Final = """
import sys, torch
from pathlib import Path
from omnivoice.models.omnivoice import OmniVoice, OmniVoiceConfig
from transformers import DacFeatureExtractor, HiggsAudioV2TokenizerConfig
from transformers import HiggsAudioV2TokenizerModel
out = Path(sys.argv[1])
torch.manual_seed(0)
llm = dict(model_type="qwen3", vocab_size=151936, hidden_size=1024, intermediate_size=3072,
           num_hidden_layers=28, num_attention_heads=16, num_key_value_heads=8, head_dim=128,
           max_position_embeddings=40960, rope_theta=1000000.0, tie_word_embeddings=True)
OmniVoice(OmniVoiceConfig(llm_config=llm)).save_pretrained(out)
ratios = [8, 5, 4, 2, 3]
codec = HiggsAudioV2TokenizerConfig(
    target_bandwidths=[0.5, 1, 1.5, 2],
    acoustic_model_config=dict(model_type="dac", encoder_hidden_size=64, decoder_hidden_size=1024,
        hidden_size=256, downsampling_ratios=ratios, upsampling_ratios=ratios, hop_length=960),
    semantic_model_config=dict(model_type="hubert", mask_time_prob=0.0))
model = HiggsAudioV2TokenizerModel(codec)
for quantiser in model.quantizer.quantizers:
    quantiser.codebook.embed.normal_()
model.save_pretrained(out / "audio_tokenizer")
DacFeatureExtractor(sampling_rate=24000, hop_length=960).save_pretrained(out / "audio_tokenizer")
"""
PACKAGE: Final = """
import sys, time, json, torch, numpy as np
from omnivoice.models.omnivoice import OmniVoice
folder, threads, kind, compiled = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4] == "True"
torch.set_num_threads(threads)
model = OmniVoice.from_pretrained(folder, dtype=getattr(torch, kind))
if compiled:
    model.llm.forward = torch.compile(model.llm.forward, dynamic=False)
print("ready", flush=True)
for line in sys.stdin:
    given = json.loads(line)
    clip = torch.from_numpy(np.load(given["clip"]))[None], 24000
    started = time.perf_counter()
    voice = model.create_voice_clone_prompt(clip, given["voice_text"])
    model.generate(
        given["text"], language="en", voice_clone_prompt=voice, duration=given["seconds"],
        num_step=given["steps"], postprocess_output=False)
    print(time.perf_counter() - started, flush=True)
"""


class Package:
    """The authors' package in a process of its own, which keeps its model."""

    def __init__(self, python: Path, folder: Path, threads: int, kind: str, compiled: bool) -> None:
        asked = map(str, (folder, threads, kind, compiled))
        command = [str(python), "-W", "ignore", "-c", PACKAGE, *asked]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=os.environ | {"PYTHONPATH": ""},
        )  # fmt: skip
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def __call__(self, clip: Path, steps: int) -> float:
        given = {
            "clip": str(clip), "text": TEXT, "voice_text": VOICE_TEXT, "seconds": SECONDS,
            "steps": steps,
        }  # fmt: skip
        assert self.process.stdin
        self.process.stdin.write(json.dumps(given) + "\n")
        self.process.stdin.flush()
        return float(self._line())


def made(folder: Path, python: Path) -> dict[str, Any]:
    """The checkpoint, its model directory and its bundles, each made once; what export took."""
    source, model = folder / "source", folder / "model"
    if not (source / "audio_tokenizer" / "model.safetensors").exists():
        _run(str(python), "-W", "ignore", "-c", MAKE, str(source))
        sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
        from tests.published.omnivoice_checkpoint import tokenizer

        tokenizer().save(str(source / "tokenizer.json"))
        (source / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"})
        )
    edge = (sys.executable, "-m", "nextomni_edge")
    if not model.exists():
        _run(*edge, "import", str(source), "-o", str(model))
    note = folder / "export.json"
    if not (folder / KINDS[0]).exists():
        started = time.perf_counter()
        peak = _run(*edge, "export", str(model), "-o", str(folder / KINDS[0]), "--verify", "none")
        note.write_text(
            json.dumps({"seconds": time.perf_counter() - started, "peak_mb": peak / 1000})
        )
    calibration = folder / "calibration"
    if not calibration.exists():  # of random prompts: the weights are random too
        _run(*edge, "calibrate", str(folder / KINDS[0]), "-o", str(calibration), "--random", "1")
    for kind in KINDS[1:]:
        if not (folder / kind).exists():
            static = ("--calibration", str(calibration)) if kind == "int8-static" else ()
            _run(
                *edge, "quantize", str(folder / KINDS[0]), "-o", str(folder / kind), "--recipe",
                kind, "--keep", *static,
            )  # fmt: skip
    found: dict[str, Any] = json.loads(note.read_text())
    return found


def _run(*command: str) -> float:
    """Run a command; its largest resident size in kilobytes."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} ... {command[-1]}: ended with status {status}")
    return float(used.ru_maxrss)


def clip_of(folder: Path) -> Path:
    """Three seconds of tones that no silence is cut out of."""
    time_axis = np.arange(int(VOICE_SECONDS * RATE)) / RATE
    sound = 0.2 * np.sin(2 * np.pi * 220 * time_axis) + 0.1 * np.sin(2 * np.pi * 1_330 * time_axis)
    np.save(folder / "clip.npy", sound.astype(np.float32))
    return folder / "clip.npy"


def speak(model: ne.Model, clip: Path, steps: int, guidance_until: float = 1.0) -> float:
    """Seconds that a text takes, its voice included."""
    started = time.perf_counter()
    voice = (np.load(clip), RATE)
    model.generate(
        TEXT, to="audio", voice=voice, voice_text=VOICE_TEXT, language="en", seconds=SECONDS,
        steps=steps, keep_silence=True, guidance_until=guidance_until,
    )  # fmt: skip
    return time.perf_counter() - started


def first_sounds(model: ne.Model, steps: int) -> dict[str, float]:
    """Seconds to the first sound of one sentence, and of a story of thirty seconds."""
    found = {}
    for name, text in (("sentence", TEXT), ("story", STORY)):
        started = time.perf_counter()
        next(iter(model.speak(text, language="en", steps=steps)))
        found[name] = time.perf_counter() - started
    return found


def contenders_of(given: argparse.Namespace) -> dict[str, Callable[[Path, int], float]]:
    """Every kind by its name: from a clip and a number of steps to seconds."""
    found: dict[str, Callable[[Path, int], float]] = {
        name: Package(given.package, given.folder / "source", given.threads, *how)
        for name, how in PACKAGES.items()
    }
    for runtime, kind, compute in RUNS:
        model = ne.load(
            given.folder / kind, runtime=runtime, threads=given.threads, compute=compute
        )
        name = f"{runtime} {kind}" + (f", in {compute}" if compute != "float32" else "")
        found[name] = functools.partial(speak, model)
        if kind == "int8-dynamic":
            ending = functools.partial(speak, model, guidance_until=GUIDED)
            found[f"{name}, guidance until {GUIDED}"] = ending
    return found


def table(found: dict[str, Any]) -> str:
    """Seconds and the real-time factor of every kind, at each number of steps that was timed."""
    counts = sorted({steps for times in found["seconds"].values() for steps in times}, key=int)
    heads = [f"{what}, {steps} steps" for steps in counts for what in ("s", "RTF")]
    rows = ["| kind | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for name, times in found["seconds"].items():
        cells = []
        for steps in counts:
            seconds = min(times[steps])
            cells += [f"{seconds:.1f}", f"{seconds / found['seconds_of_speech']:.1f}"]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--steps", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--make", action="store_true", help="make the files and stop")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    export, clip = made(given.folder, given.package), clip_of(given.folder)
    if given.make:
        return
    contenders = contenders_of(given)
    for run in contenders.values():
        run(clip, 1)  # what is loaded or compiled on first use does not count
    times: dict[str, dict[str, list[float]]] = {}
    for steps in given.steps:
        for _ in range(given.repeats):
            for name, run in contenders.items():
                times.setdefault(name, {}).setdefault(str(steps), []).append(run(clip, steps))
            print(json.dumps(times), flush=True)
            if given.output:
                _write(given, export, times, {})
    model = ne.load(given.folder / "int8-dynamic", runtime="onnx", threads=given.threads)
    first = first_sounds(model, min(given.steps))
    _write(given, export, times, first)
    print(table(json.loads(given.output.read_text())))


def _write(
    given: argparse.Namespace, export: dict[str, Any], times: dict[str, Any], first: dict[str, Any]
) -> None:
    """The results so far."""
    found = {
        "machine": {
            "processor": platform.processor() or platform.machine(), "threads": given.threads,
            "versions": {name: metadata.version(name)
                         for name in ("torch", "onnxruntime", "openvino", "transformers")},
        },
        "seconds_of_speech": SECONDS, "export": export, "seconds": times, "first_sound": first,
    }  # fmt: skip
    with atomic_write(given.output, "w") as file:
        file.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

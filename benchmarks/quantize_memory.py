"""Peak memory of INT4 round-to-nearest at the shapes of a 7 B model, in a process of its own.

    python benchmarks/quantize_memory.py --layers 28 --folder /somewhere/with/40/GB -o benchmarks/quantize_memory.json

Weights are random and written tensor by tensor, exported as float16 without verification (which would hold the whole model), and
quantised without being run. Layers go one after another and the text table, the largest tensor, stands outside of them, so fewer
layers show the same peak in less time and space; their number is in the result.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import shutil
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import export_memory


def config(layers: int) -> dict[str, Any]:
    """Qwen2.5-7B's backbone and vocabulary (152,064 rows, untied head), with smaller media parts."""
    backbone = {"hidden_size": 3584, "query_heads": 28, "kv_heads": 4, "mlp_size": 18944, "max_positions": 4096}
    return export_memory.config() | {
        "backbone": backbone | {"layers": layers},
        "text": {"vocabulary_size": 152064, "tied_head": False},
    }


def make_bundle(folder: Path, layers: int) -> None:
    """The float16 bundle to quantise."""
    from nextomni_edge.export import export_bundle

    export_memory.make_model(folder / "model", config(layers))
    export_bundle(folder / "model", folder / "bundle", precision="float16", verify="none")
    shutil.rmtree(folder / "model")


def quantise(bundle: Path, out: Path) -> None:
    """The measured process: prints its peak memory, time and sizes as JSON."""
    from nextomni_edge.calibration import quantize
    from nextomni_edge.calibration.config import recipe

    imported, started = peak_kib(), time.monotonic()
    report = quantize(bundle, out, recipe("int4-rtn"))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "peak_rss_kib": peak_kib(), "after_imports_rss_kib": imported, "wall_s": time.monotonic() - started,
        "cpu_s": usage.ru_utime + usage.ru_stime, "parent_bytes": report.parent_bytes, "bytes": report.bytes,
        "components": report.components,
    }  # fmt: skip
    print(json.dumps(result))


def peak_kib() -> int:
    """Largest resident set of this process so far. Not getrusage's, which a process inherits from the one that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/quantize_memory"), help="an empty or absent folder")
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    bundle, out = given.folder / "bundle", given.folder / "int4"
    if given.child:
        quantise(bundle, out)
        return
    if not bundle.exists():
        given.folder.mkdir(parents=True, exist_ok=True)
        make_bundle(given.folder, given.layers)
    shutil.rmtree(out, ignore_errors=True)
    again = [sys.executable, __file__, "--folder", str(given.folder), "--child"]
    result = json.loads(subprocess.run(again, stdout=subprocess.PIPE, check=True).stdout)
    versions = {name: metadata.version(name) for name in ("onnx", "onnx-ir", "numpy")}
    result |= {"layers": given.layers, "python": platform.python_version(), "machine": platform.machine(), "versions": versions}
    text = json.dumps(result, indent=1)
    print(text)
    if given.output:
        given.output.write_text(text + "\n")
    print(f"peak {result['peak_rss_kib'] / 2**20:.2f} GiB for {result['parent_bytes'] / 2**30:.2f} GiB of weights", file=sys.stderr)


if __name__ == "__main__":
    main()

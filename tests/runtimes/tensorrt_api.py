"""The names that TensorRT's published Python bindings have, read from wheels without a GPU.

`python -m tests.runtimes.tensorrt_api WHEEL...` prints `data/tensorrt_api.json`. It reads wheels of
`tensorrt-cu12-bindings` for the Python that runs it. The bindings link to NVIDIA's libraries, which
are large and not needed for names: a stand-in with the nine functions is compiled.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

FUNCTIONS: Final = (
    "createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry", "getPluginRegistry", "initLibNvInferPlugins",
    "getNvOnnxParserVersion",
)  # fmt: skip
LIBRARIES: Final = ("libnvinfer.so.10", "libnvonnxparser.so.10", "libnvinfer_plugin.so.10")
# What runtimes/tensorrt uses, with what it gets from it.
USED: Final = (
    "Builder", "BuilderFlag", "ComputeCapability", "DataType", "IAttention",
    "IAttentionOutputLayer", "IBuilderConfig", "ICudaEngine", "IEinsumLayer", "IExecutionContext",
    "IHostMemory", "ILayer", "ILogger", "IMatrixMultiplyLayer", "INetworkDefinition",
    "IOptimizationProfile", "IShuffleLayer", "ITensor", "ITimingCache", "LayerType",
    "MatrixOperation", "NetworkDefinitionCreationFlag", "OnnxParser", "ParserError",
    "ProfilingVerbosity", "Runtime",
)  # fmt: skip
READ: Final = """
import json, tensorrt_bindings as trt
found = {name: sorted(each for each in dir(getattr(trt, name)) if each[0] != "_")
         for name in %r if hasattr(trt, name)}
print(json.dumps({"version": trt.__version__, "names": found}))
"""


def names(wheel: Path) -> dict[str, object]:
    """The version of a wheel's bindings, and the members of each class that we use."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        source = folder / "functions.c"
        source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS))
        for library in LIBRARIES:
            subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / library, source], check=True)
        ended = subprocess.run(
            [sys.executable, "-c", READ % (USED,)], cwd=folder, check=True, capture_output=True,
            env=os.environ | {"LD_LIBRARY_PATH": str(folder)},
        )  # fmt: skip
        found: dict[str, object] = json.loads(ended.stdout)
        return found


if __name__ == "__main__":
    print(json.dumps([names(Path(wheel)) for wheel in sys.argv[1:]], separators=(",", ":")))

"""Who imports whom, read from the sources (DESIGN, import direction), and no torch on the way that
a device goes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sources import MODULES, OURS, PACKAGE, ROOT, imports

BASE = {
    "errors",
    "extras",
    "spec",
    "decoding",
    "config",
    "modalities",
    "graphs",
    "files",
    "outputs",
    "formats",
    "formats.gguf",
    "threads",
}
STORED = BASE | {"checkpoints", "bundle"}
IMPORTING = {
    "checkpoints.importing",
    "checkpoints.layouts",
    "checkpoints.pickled",
    "checkpoints.published_config",
    "checkpoints.source",
    "checkpoints.yaml_config",
}
RUN = STORED | {
    "tokens", "flow", "generate", "tasks", "runtimes.base", "runtimes.machine", "runtimes.state",
}  # fmt: skip
GRAPHS = {"bundle.onnx_graph", "runtimes.tensorrt.rewriting"}  # where onnx-ir is at hand
MODEL = BASE | {"checkpoints", "tokens", "flow", "models"}
# What each part may import besides itself. Nobody imports cli; a concrete runtime is loaded by
# name, through runtimes.base alone.
MAY_IMPORT = {
    "errors": set[str](),
    "extras": {"errors"},
    "spec": set[str](),
    "privacy": set[str](),
    "threads": set[str](),
    "files": {"errors"},
    "outputs": {"errors", "files"},
    "formats": {"errors"},
    "formats.gguf": {"errors", "formats", "spec", "config"},
    "decoding": set[str](),
    "config": {"errors", "spec", "decoding", "formats"},
    "graphs": {"config", "modalities", "spec"},
    "modalities": {"errors", "config", "spec"},
    "checkpoints": BASE,
    **{
        f"checkpoints.{name}": BASE | {"checkpoints"} | IMPORTING
        for name in (
            "importing",
            "layouts",
            "pickled",
            "published_config",
            "source",
            "yaml_config",
        )
    },
    "bundle": BASE | {"checkpoints"},
    "bundle.onnx_graph": STORED,
    "tokens": BASE,
    "flow": BASE,
    "media": BASE | {"tokens"},
    "generate": RUN - {"tasks"},
    "tasks": RUN,
    "runtimes": STORED,
    "runtimes.base": STORED | {"runtimes.state"},
    "runtimes.choice": STORED | {"runtimes.base", "runtimes.machine", "runtimes.tensorrt.cuda"},
    "runtimes.machine": BASE | {"runtimes.base"},
    "runtimes.coreml": STORED | {"runtimes.base", "runtimes.state"},
    "runtimes.llamacpp": STORED | {"runtimes.base", "runtimes.state"},
    "runtimes.onnx": STORED | {"runtimes.base", "runtimes.machine", "runtimes.state"},
    "runtimes.openvino": STORED | {"runtimes.base"},
    "runtimes.state": BASE,
    "runtimes.tensorrt": STORED | {"runtimes.base", "runtimes.state", "runtimes.tensorrt.cuda"},
    "runtimes.tensorrt.cuda": {"errors", "runtimes.tensorrt"},
    "runtimes.tensorrt.plain": STORED | GRAPHS | {"runtimes.tensorrt"},
    "runtimes.tensorrt.qdq": STORED | GRAPHS | {"runtimes.tensorrt.plain"},
    "runtimes.tensorrt.rewriting": STORED,
    "runtimes.torch": STORED | {"runtimes.base", "models"},
    "models": MODEL,
    "models.initial": MODEL | IMPORTING,
    "train": MODEL | {"media"},
    "hub": STORED,
    "search": RUN | {"media"},
    "api": RUN | {"hub", "media", "search", "runtimes.choice", "measure"},
    "measure": RUN,
    "serve": RUN | {"api", "hub", "media"},
    "verify": RUN
    | {
        "bundle.onnx_graph",
        "media",
        "models",
        "runtimes.choice",
        "runtimes.coreml",
        "runtimes.torch",
    },
    "export": RUN | {"bundle.onnx_graph", "models", "verify"},
    "calibration": RUN | {"bundle.onnx_graph", "measure", "media", "verify"},
    "pack": STORED,
    "pack.android": RUN | {"pack", "pack.loop", "runtimes.onnx", "verify"},
    "pack.ios": RUN | {"pack", "pack.loop", "pack.naming", "verify"},
    "pack.loop": RUN | {"verify"},
    "pack.web": STORED | {"pack", "pack.loop"},
    "__main__": {"cli"},
    "cli": (
        RUN
        | {
            "bundle.onnx_graph",
            "hub",
            "checkpoints.importing",
            "media",
            "api",
            "search",
            "serve",
            "models",
            "models.initial",
            "train",
            "export",
            "calibration",
            "pack",
            "verify",
            "runtimes",
            "runtimes.choice",
            "runtimes.tensorrt",  # of `compile`
            "runtimes.tensorrt.cuda",
            "runtimes.tensorrt.qdq",
            "measure",
        }
    ),
}
# Where a bundle runs: these parts may use these libraries and no others.
DEVICE = BASE | {
    "checkpoints",
    "bundle",
    "tokens",
    "flow",
    "generate",
    "tasks",
    "media",
    "search",
    "api",
    "hub",
    "measure",
    "pack",
    "serve",
    "runtimes",
    "runtimes.base",
    "runtimes.choice",
    "runtimes.coreml",
    "runtimes.llamacpp",
    "runtimes.machine",
    "runtimes.onnx",
    "runtimes.openvino",
    "runtimes.state",
    "runtimes.tensorrt",
    "runtimes.tensorrt.cuda",
    "cli",
    "__main__",
}
DEVICE_LIBRARIES = {
    "numpy",
    "array_api_compat",
    "tokenizers",
    "safetensors",
    "click",
    "rich",
    "PIL",
    "pillow_heif",
    "soundfile",
    "av",
    "onnxruntime",
    "llama_cpp",
    "openvino",
    "coremltools",
    "huggingface_hub",
    "model_signing",
    "apsw",
    "watchfiles",
    "typing_extensions",  # under TYPE_CHECKING only: no device installs it for us
    "uv",  # where a device's archive is packed
}
# A server runs where a bundle does, and uses these libraries besides.
SERVER_LIBRARIES = {
    "anyio", "fastapi", "prometheus_client", "pydantic", "pydantic_core", "starlette", "uvicorn",
}  # fmt: skip
VENDORS = {
    **{library: {"serve"} for library in SERVER_LIBRARIES},
    "huggingface_hub": {"hub"},
    "model_signing": {"bundle.trust"},
    "apsw": {"search.blocks", "search.database", "search.table"},  # two for its types
    "watchfiles": {"search.watch"},
    "uv": {"pack.wheels"},
    "onnxruntime": {"runtimes.onnx"},
    "openvino": {"runtimes.openvino"},
    "tensorrt": {"runtimes.tensorrt"},
    "tensorrt_rtx": {"runtimes.tensorrt"},
    "gguf": {"export.gguf", "verify.gguf_reference"},
    "llama_cpp": {"export.gguf", "runtimes.llamacpp"},
    "coremltools": {"export.coreml", "export.coreml_weights", "runtimes.coreml.runtime"},
}


def part(module: str) -> str:
    """The part of MAY_IMPORT that a module below the package belongs to: the longest that its name
    begins with."""
    names = module.split(".")
    own = (".".join(names[:length]) for length in range(len(names), 0, -1))
    return next((name for name in own if name in MAY_IMPORT), names[0])


def test_every_part_of_the_package_has_its_place_in_the_order() -> None:
    assert {part(module) for module in MODULES} <= MAY_IMPORT.keys()


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_in_one_direction(module: str) -> None:
    own = part(module)
    for name, line in imports(MODULES[module], top=False):
        if name in OURS and name != PACKAGE:
            other = part(name.removeprefix(f"{PACKAGE}."))
            assert other == own or other in MAY_IMPORT[own], (
                f"{MODULES[module]}:{line}: {own} may not import {other}"
            )


@pytest.mark.parametrize("module", [module for module in MODULES if part(module) in DEVICE])
def test_the_device_path_uses_few_libraries_and_never_torch(module: str) -> None:
    allowed = DEVICE_LIBRARIES | (SERVER_LIBRARIES if part(module) == "serve" else set())
    for name, line in imports(MODULES[module], top=False):
        library = name.split(".")[0]
        known = library in sys.stdlib_module_names or library == PACKAGE or library in allowed
        assert known, f"{MODULES[module]}:{line}: {library} is not among the libraries of a device"


@pytest.mark.parametrize("module", MODULES)
def test_a_vendor_library_is_imported_in_its_own_file_alone(module: str) -> None:
    for name, line in imports(MODULES[module], top=False):
        homes = VENDORS.get(name.split(".")[0], {module})
        assert any(f"{module}.".startswith(f"{home}.") for home in homes), (
            f"{MODULES[module]}:{line}: {name} belongs into {' or '.join(sorted(homes))}"
        )


def test_importing_the_device_path_reaches_no_module_that_imports_torch() -> None:
    pending = [module for module in MODULES if part(module) in DEVICE]
    reached = set(pending)
    while pending:
        for name, _ in imports(MODULES[pending.pop()], top=True):
            inside = name.removeprefix(f"{PACKAGE}.")
            if name in OURS and inside in MODULES and inside not in reached:
                reached.add(inside)
                pending.append(inside)
    heavy = {
        module
        for module in reached
        if any(name.split(".")[0] == "torch" for name, _ in imports(MODULES[module], top=True))
    }
    assert not heavy


@pytest.mark.parametrize(
    "absent",
    [
        ["torch", "onnx", "onnxscript", "transformers", "accelerate"],
        # Windows has none of these
        ["fcntl", "grp", "pwd", "readline", "resource", "termios", "tty"],
    ],
    ids=["libraries", "posix"],
)
def test_the_device_path_imports_where_these_cannot_be_imported(absent: list[str]) -> None:
    names = [
        f"{PACKAGE}.{module}"
        for module in MODULES
        if part(module) in DEVICE and module != "__main__"
    ]
    if importlib.util.find_spec("llama_cpp") is None:  # only `make test-slow` compiles it
        names.remove(f"{PACKAGE}.runtimes.llamacpp")
    blocked = f"import sys; sys.modules.update(dict.fromkeys({absent!r}))"
    script = f"{blocked}\nimport importlib\nfor name in {names!r}: importlib.import_module(name)"
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_no_files_import_each_other_in_a_circle() -> None:
    pending = {
        module: (
            {name.removeprefix(f"{PACKAGE}.") for name, _ in imports(path, top=False)}
            & MODULES.keys() - {module}
        )
        for module, path in MODULES.items()
        # a package's front gathers its own files, which import one another directly
        if path.name != "__init__.py"
    }
    while free := [module for module, needed in pending.items() if not needed & pending.keys()]:
        for module in free:
            del pending[module]
    assert not pending, f"these files import each other in a circle: {pending}"


def test_the_links_to_the_top_level_folders_are_relative() -> None:
    for name in ("calibration", "export", "runtimes"):
        assert (ROOT / PACKAGE / name).readlink() == Path("..") / name

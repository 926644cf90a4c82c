"""Who imports whom, read from the sources: the direction of DESIGN, and no torch on the way that a device goes."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "nextomni_edge"

BASE = {"errors", "spec", "config", "graphs", "files", "strict_json", "tensor_file", "imported"}
STORED = BASE | {"checkpoint", "bundle"}
RUN = STORED | {"tokens", "flow", "generate", "runtimes.base", "runtimes.state"}
MODEL = BASE | {"checkpoint", "tokens", "flow", "models"}
# TensorRT's part of runtimes, in the order in which one imports another.
ENGINES = ("profile", "engine", "device", "cuda", "tensorrt", "network", "engine_build", "engines")
# What each part may import besides itself. Nobody imports cli; a concrete runtime is loaded by name, through runtimes.base alone.
MAY_IMPORT = {
    "errors": set[str](),
    "spec": set[str](),
    "config": {"errors", "spec", "strict_json"},
    "graphs": {"config", "spec"},
    "files": {"errors"},
    "strict_json": {"errors"},
    "tensor_file": {"errors", "strict_json"},
    "imported": {"config", "errors", "strict_json", "tensor_file"},
    "checkpoint": BASE,
    "layouts": BASE | {"checkpoint"},
    "bundle": BASE | {"checkpoint"},
    "tokens": BASE,
    "flow": BASE,
    "media": BASE | {"tokens"},
    "generate": RUN,
    "runtimes": STORED,
    "runtimes.base": STORED | {"runtimes.state"},
    "runtimes.choice": STORED | {"runtimes.base"},
    "runtimes.coreml": STORED | {"runtimes.base", "runtimes.mil", "runtimes.state"},
    "runtimes.llamacpp": STORED | {"runtimes.base", "runtimes.state"},
    "runtimes.mil": STORED | {"runtimes.mil_compression"},
    "runtimes.mil_compression": STORED,
    "runtimes.onnx": STORED | {"runtimes.base", "runtimes.onnx_state", "runtimes.state"},
    "runtimes.onnx_state": STORED | {"runtimes.state"},
    "runtimes.openvino": STORED | {"runtimes.base"},
    "runtimes.state": BASE,
    **{
        f"runtimes.{name}": STORED | {"runtimes.base", "runtimes.state"} | {f"runtimes.{earlier}" for earlier in ENGINES[:index]}
        for index, name in enumerate(ENGINES)
    },
    "runtimes.torch": STORED | {"runtimes.base", "models"},
    "models": MODEL,
    "models.initial": MODEL | {"layouts"},
    "train": MODEL | {"media"},
    "retrieval": RUN | {"media"},
    "bench": RUN,
    "variants": RUN,
    "verify": RUN | {"models", "runtimes.mil", "runtimes.torch"},
    "named_configs": BASE,
    "plan": STORED | {"runtimes.base"},
    "export": RUN | {"models", "verify"},
    "calibration": RUN | {"bench", "media", "variants", "verify"},
    "pack": STORED,
    "pack.ios": RUN | {"pack", "verify"},
    "__main__": {"cli"},
    "cli": RUN
    | {
        "layouts",
        "media",
        "retrieval",
        "models",
        "models.initial",
        "train",
        "export",
        "calibration",
        "pack",
        "verify",
        "runtimes",
        "runtimes.choice",
        *(f"runtimes.{name}" for name in ENGINES),  # of `compile`, which is TensorRT's alone
        "bench",
        "variants",
        "named_configs",
        "plan",
    },
}
# Where a bundle runs: these parts may use these libraries and no others.
DEVICE = BASE | {
    "checkpoint",
    "bundle",
    "tokens",
    "flow",
    "generate",
    "media",
    "retrieval",
    "bench",
    "variants",
    "pack",
    "named_configs",
    "plan",
    "runtimes",
    "runtimes.base",
    "runtimes.choice",
    "runtimes.coreml",
    "runtimes.llamacpp",
    "runtimes.mil",
    "runtimes.mil_compression",
    "runtimes.onnx",
    "runtimes.onnx_state",
    "runtimes.openvino",
    "runtimes.state",
    *(f"runtimes.{name}" for name in ENGINES),
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
    "soundfile",
    "av",
    "onnxruntime",
    "llama_cpp",
    "openvino",
    "coremltools",
}
VENDORS = {
    "onnxruntime": {"runtimes.onnx", "runtimes.onnx_state"},
    "openvino": {"runtimes.openvino"},
    "tensorrt": {"runtimes.tensorrt"},
    "tensorrt_rtx": {"runtimes.tensorrt"},
    "gguf": {"export.gguf", "verify.gguf_reference"},
    "llama_cpp": {"export.gguf", "runtimes.llamacpp"},
    "coremltools": {"export.coreml", "export.coreml_weights", "runtimes.coreml"},
}


def modules() -> dict[str, Path]:
    """Every module by its name below the package; links are followed as the import system does."""
    found: dict[str, Path] = {}
    for folder in (ROOT / PACKAGE, *(ROOT / name for name in ("export", "runtimes", "calibration"))):
        prefix = "" if folder.name == PACKAGE else f"{folder.name}."
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[prefix + ".".join(part for part in parts if part != "__init__")] = path
    return {name.rstrip("."): path for name, path in found.items() if name}


MODULES = modules()


def imports(path: Path, top: bool) -> Iterator[tuple[str, int]]:
    """(module, line) of each import: all of them, or those alone that run when the module is imported."""
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.module or "", node.lineno
            yield from (
                (f"{node.module}.{alias.name}", node.lineno) for alias in node.names if f"{node.module}.{alias.name}" in OURS
            )
        skipped = top and (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_for_types(node))
        pending += [] if skipped else list(ast.iter_child_nodes(node))


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


OURS = {PACKAGE} | {f"{PACKAGE}.{name}" for name in MODULES}


def part(module: str) -> str:
    """The part of MAY_IMPORT that a module below the package belongs to."""
    names = module.split(".")
    return ".".join(names[:2]) if ".".join(names[:2]) in MAY_IMPORT else names[0]


def test_every_part_of_the_package_has_its_place_in_the_order() -> None:
    assert {part(module) for module in MODULES} <= MAY_IMPORT.keys()


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_in_one_direction(module: str) -> None:
    own = part(module)
    for name, line in imports(MODULES[module], top=False):
        if name in OURS and name != PACKAGE:
            other = part(name.removeprefix(f"{PACKAGE}."))
            assert other == own or other in MAY_IMPORT[own], f"{MODULES[module]}:{line}: {own} may not import {other}"


@pytest.mark.parametrize("module", [module for module in MODULES if part(module) in DEVICE])
def test_the_device_path_uses_few_libraries_and_never_torch(module: str) -> None:
    for name, line in imports(MODULES[module], top=False):
        library = name.split(".")[0]
        known = library in sys.stdlib_module_names or library == PACKAGE or library in DEVICE_LIBRARIES
        assert known, f"{MODULES[module]}:{line}: {library} is not among the libraries of a device"


@pytest.mark.parametrize("module", MODULES)
def test_a_vendor_library_is_imported_in_its_own_file_alone(module: str) -> None:
    for name, line in imports(MODULES[module], top=False):
        homes = VENDORS.get(name.split(".")[0], {module})
        assert module in homes, f"{MODULES[module]}:{line}: {name} belongs into {' or '.join(sorted(homes))}"


def test_importing_the_device_path_reaches_no_module_that_imports_torch() -> None:
    pending = [module for module in MODULES if part(module) in DEVICE]
    reached = set(pending)
    while pending:
        for name, _ in imports(MODULES[pending.pop()], top=True):
            inside = name.removeprefix(f"{PACKAGE}.")
            if name in OURS and inside in MODULES and inside not in reached:
                reached.add(inside)
                pending.append(inside)
    heavy = {module for module in reached if any(name.split(".")[0] == "torch" for name, _ in imports(MODULES[module], top=True))}
    assert not heavy


def test_the_device_path_imports_where_torch_cannot_be() -> None:
    names = [f"{PACKAGE}.{module}" for module in MODULES if part(module) in DEVICE and module != "__main__"]
    if importlib.util.find_spec("llama_cpp") is None:  # compiled by `make test-slow` alone
        names.remove(f"{PACKAGE}.runtimes.llamacpp")
    blocked = "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'onnxscript', 'transformers', 'accelerate']))"
    script = f"{blocked}\nimport importlib\nfor name in {names!r}: importlib.import_module(name)"
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_the_links_to_the_top_level_folders_are_relative() -> None:
    for name in ("calibration", "export", "runtimes"):
        assert (ROOT / PACKAGE / name).readlink() == Path("..") / name

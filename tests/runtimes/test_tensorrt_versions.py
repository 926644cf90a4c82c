"""What `compile` and an engine's session ask of TensorRT, against the names of the published
bindings of 10.3 (JetPack 6), 10.13 and 10.16 (JetPack 7). Stand-ins have these names and no others,
so this checks that the names exist, and is no build and no run of an engine."""

from __future__ import annotations

import ast
import enum
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.cli.verbs import doctor
from nextomni_edge.errors import MissingRuntimeError
from nextomni_edge.graphs import graph_specs
from nextomni_edge.runtimes.base import Execution
from nextomni_edge.runtimes.tensorrt import build as building
from nextomni_edge.runtimes.tensorrt import runtime as running
from nextomni_edge.runtimes.tensorrt.build import Asked, build, check_capability
from nextomni_edge.runtimes.tensorrt.engine import write_engine
from nextomni_edge.runtimes.tensorrt.network import FLOAT32, NEAREST, lacks_attention
from nextomni_edge.runtimes.tensorrt.profile import Limits
from nextomni_edge.spec import GraphSpec
from tests.sources import ROOT

BINDINGS = json.loads((Path(__file__).parent / "data" / "tensorrt_api.json").read_text())
# Read through getattr, or only where a name before it was found.
OPTIONAL = {"ComputeCapability", "IAttentionOutputLayer"}
ORIN = "sm87"


class Strict:
    """An object of a stand-in: it has the names that its class has in the bindings."""

    names: frozenset[str] = frozenset()

    def __setattr__(self, name: str, value: object) -> None:
        if name != "__class__" and name not in self.names:
            raise AttributeError(f"{type(self).__name__} has no {name}")
        object.__setattr__(self, name, value)


class StandIn:
    """One version's module, with a builder, a parser and a runtime of no effect."""

    def __init__(self, version: str, names: Mapping[str, list[str]]) -> None:
        self.trt: Any = ModuleType("tensorrt")
        self.trt.__version__ = version
        for name, members in names.items():
            upper = [each for each in members if each.isupper()]
            kind = (
                enum.IntEnum(name, upper)
                if upper and name != "ILogger"
                else type(name, (Strict,), {"names": frozenset(members)})
            )
            setattr(self.trt, name, kind)
        self.casts: list[Any] = []
        self.layers: list[Any] = []

    def made(self, kind: str, **values: object) -> Any:
        made = getattr(self.trt, kind)()
        for name, value in values.items():
            setattr(made, name, value)
        return made

    def tensor(self, name: str, dims: tuple[int, ...] = (1, 1), dtype: str = "FLOAT") -> Any:
        return self.made("ITensor", name=name, shape=dims, dtype=getattr(self.trt.DataType, dtype))

    def layer(self, kind: str, type_: str, name: str, **more: object) -> Any:
        given = [self.tensor(f"{name}.{index}") for index in range(2)]
        output = self.tensor(f"{name}.output")
        found = self.made(
            kind, type=getattr(self.trt.LayerType, type_), name=name, num_inputs=2,
            get_input=given.__getitem__, get_output=lambda index: output,
            set_input=lambda index, tensor: given.__setitem__(index, tensor), **more,
        )  # fmt: skip
        self.layers.append(found)
        return found

    def network(self, spec: GraphSpec) -> Any:
        """A network with the spec's tensors, two products and a search, and attention where the
        version has it."""
        self.layer("ILayer", "MATRIX_MULTIPLY", "product")
        self.layer("ILayer", "MATRIX_MULTIPLY", f"attention.scores{FLOAT32}.3")
        self.layer("IEinsumLayer", "EINSUM", "search", equation=NEAREST)
        if not lacks_attention(self.trt):
            attention = self.made("IAttention")
            self.layer("IAttentionOutputLayer", "ATTENTION_OUTPUT", "a", attention=attention)
        wires = [
            [self.tensor(each.name, tuple(dims(each)), trt_dtype(each)) for each in side]
            for side in (spec.inputs, spec.outputs)
        ]
        found = self.made(
            "INetworkDefinition", num_layers=len(self.layers), get_layer=self.layers.__getitem__,
            num_inputs=len(wires[0]), get_input=wires[0].__getitem__,
            num_outputs=len(wires[1]), get_output=wires[1].__getitem__,
        )  # fmt: skip

        def added(kind: str) -> Any:
            return lambda *given: self.layer(kind, "SHUFFLE", f"added{len(self.layers)}")

        def cast(tensor: Any, dtype: Any) -> Any:
            self.casts.append((tensor.name, dtype.name))
            return self.layer("ILayer", "CAST", f"cast{len(self.casts)}")

        found.add_shuffle, found.add_cast = added("IShuffleLayer"), cast
        found.add_matrix_multiply = added("IMatrixMultiplyLayer")
        return found

    def builds(self, spec: GraphSpec) -> None:
        """Give the module what `build` calls."""
        timings = self.made("ITimingCache", serialize=lambda: b"timings")
        shapes = self.made("IOptimizationProfile", set_shape=lambda *given: None)
        config = self.made(
            "IBuilderConfig", clear_flag=lambda flag: None, get_timing_cache=lambda: timings,
            add_optimization_profile=lambda profile: 0, create_timing_cache=lambda kept: timings,
            set_timing_cache=lambda cache, ignore_mismatch: True,
        )  # fmt: skip
        builder = self.made(
            "Builder", create_network=lambda flags: self.network(spec),
            create_builder_config=lambda: config, create_optimization_profile=lambda: shapes,
            build_serialized_network=lambda network, config: b"plan",
        )  # fmt: skip
        parser = self.made("OnnxParser", parse_from_file=lambda path: True)
        self.trt.Builder = lambda logger: builder
        self.trt.OnnxParser = lambda network, logger: parser

    def runs(self) -> None:
        """Give the module what a session calls."""
        context = self.made(
            "IExecutionContext", set_input_shape=lambda *given: True,
            set_tensor_address=lambda *given: True, execute_async_v3=lambda stream: True,
        )  # fmt: skip
        engine = self.made("ICudaEngine", create_execution_context=lambda: context)
        runtime = self.made("Runtime", deserialize_cuda_engine=lambda plan: engine)
        self.trt.Runtime = lambda logger: runtime


def dims(tensor: Any) -> list[int]:
    return [size if isinstance(size, int) else -1 for size in tensor.dims]


def trt_dtype(tensor: Any) -> str:
    return {"float32": "FLOAT", "int64": "INT64", "bool": "BOOL"}[tensor.dtype]


@pytest.fixture(params=BINDINGS, ids=lambda each: str(each["version"]))
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A version in the place of the installed library."""
    found = StandIn(**request.param)
    for module in (building, running):
        monkeypatch.setattr(module, "library", lambda: found.trt)
    return found


def test_every_name_of_the_module_that_we_use_is_in_the_bindings(library: StandIn) -> None:
    used = set[tuple[str, ...]]()
    for path in (ROOT / "runtimes" / "tensorrt").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            words = []
            while isinstance(node, ast.Attribute):
                words.append(node.attr)
                node = node.value
            if isinstance(node, ast.Name) and node.id == "trt" and words:
                used.add(tuple(reversed(words)))
    named = {names for names in used if not names[0].startswith("__")}
    assert ("DataType", "FLOAT") in named and ("OnnxParser",) in named
    for first, *rest in named:
        if first in OPTIONAL:
            continue
        found = getattr(library.trt, first)
        for name in rest:
            assert name in ("__init__", "__members__") or name in dir(found), (first, name)


def test_attention_is_a_layer_from_10_14_on(library: StandIn) -> None:
    assert lacks_attention(library.trt) == (not library.trt.__version__.startswith("10.16"))


def test_each_version_builds_and_its_engine_is_loaded(
    library: StandIn, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(tiny_bundle)
    spec = graph_specs(bundle.config)["text_head"]
    library.builds(spec)
    asked = Asked(ORIN, "float16", Limits(batch=2, rows=8), tmp_path)
    check_capability(asked, ORIN)
    file = bundle.component_file("text_head")
    description, plan = build("text_head", file, spec, asked)
    narrowed = {name for name, dtype in library.casts if dtype == "HALF"}
    assert description.identity.version == library.trt.__version__ and narrowed
    assert not any("attention" in name for name, _ in library.casts)
    attention = [each for each in library.layers if each.name == "a"]
    assert all(layer.attention.decomposable for layer in attention)
    assert bool(attention) != lacks_attention(library.trt)
    write_engine(tmp_path, description, plan)

    device = SimpleNamespace(capability=ORIN, enter=lambda: None)
    monkeypatch.setattr(running, "devices", lambda: [device])
    library.runs()
    runtime = running.TensorRtRuntime()
    runtime.configure(Execution("tensorrt", compute="float16", cache=tmp_path))
    session = runtime.load("text_head", file, spec)
    assert session.provider == "cuda:0" and isinstance(session, running.TensorRtSession)


def test_doctor_says_which_form_a_version_reads(library: StandIn) -> None:
    (check,) = doctor.tensorrt()
    assert check.state == "ok" and library.trt.__version__ in check.detail
    assert ("written out in opset 20" in check.detail) == lacks_attention(library.trt)


@pytest.mark.parametrize(("name", "version", "old"), [
    ("tensorrt", "8.6.2", True), ("tensorrt", "10.2.0.post1", True), ("tensorrt", "10.3.0", False),
    ("tensorrt", "11.4.0.106", False), ("tensorrt_rtx", "1.7.1.116", False),
])  # fmt: skip
def test_a_library_before_10_3_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, version: str, old: bool
) -> None:
    found: Any = ModuleType(name)
    found.__version__ = version

    def imported(wanted: str) -> ModuleType:
        if wanted != name:
            raise ImportError(wanted)
        return found  # type: ignore[no-any-return]

    monkeypatch.setattr(running.importlib, "import_module", imported)
    if old:
        words = rf"^runtime tensorrt: TensorRT {version} is too old, 10.3 is the least; a Jetson"
        with pytest.raises(MissingRuntimeError, match=words):
            running.library()
    else:
        assert running.library() is found

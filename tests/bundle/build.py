"""A valid bundle of a few kilobytes, built without torch: its graphs have the right interfaces and
compute nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from nextomni_edge.bundle import Bundle, BundleWriter, ComponentRecord, Golden, Provenance
from nextomni_edge.config import (
    AudioConfig,
    BackboneConfig,
    CodebookConfig,
    HeadConfig,
    ImageConfig,
    ModelConfig,
    TextConfig,
)
from nextomni_edge.graphs import graph_specs
from nextomni_edge.spec import Dim, GraphSpec, TensorSpec
from tests.tiny import COMPONENTS

ELEMENTS = {
    "float32": TensorProto.FLOAT,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
    "float16": TensorProto.FLOAT16,
}
WEIGHT = np.arange(512, dtype=np.float32).reshape(64, 8)
SHA = hashlib.sha256(WEIGHT.tobytes()).hexdigest()
WEIGHT_FILE = f"weights/{SHA}"
TOKENIZER = (
    b'{"model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 2,'
    b' "content": "<|eos|>"}]}'
)


def small_config() -> ModelConfig:
    book, head = CodebookConfig(2, 4, 3), HeadConfig(width=8, layers=1, heads=2)
    return ModelConfig(
        backbone=BackboneConfig(
            8, layers=1, query_heads=2, kv_heads=1, mlp_size=16, max_positions=64
        ),
        text=TextConfig(vocabulary_size=6, block_size=4, max_blocks=2, metric_dim=5),
        image=ImageConfig(16, 8, 2, book, head=head),
        audio=AudioConfig(max_seconds=0.32, codebook=book, head=head),
    )


def value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    dims = [dim if isinstance(dim, int) else dim.name for dim in spec.dims]
    return helper.make_tensor_value_info(spec.name, ELEMENTS[spec.dtype], dims)


def external(
    name: str, dims: tuple[int, ...], element: int = TensorProto.FLOAT, **entries: str
) -> onnx.TensorProto:
    """A tensor whose data stands in a file; `entries` as given, true or not."""
    tensor = TensorProto(
        name=name, data_type=element, dims=dims, data_location=TensorProto.EXTERNAL
    )
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def small_graph(spec: GraphSpec, weight: str) -> onnx.ModelProto:
    """A graph with the interface of `spec` that gives zeros, and one external weight."""
    tensors = [
        external("weight", WEIGHT.shape, location=weight, offset="0", length=str(WEIGHT.nbytes))
    ]
    nodes = list[onnx.NodeProto]()

    def constant(name: str, element: int, dims: list[int], array: np.ndarray) -> str:
        tensors.append(helper.make_tensor(name, element, dims, array.tobytes(), raw=True))
        return name

    def size(dim: int | Dim, name: str) -> str:
        if isinstance(dim, int):
            return constant(name, TensorProto.INT64, [1], np.array([dim]))
        axes = (
            (tensor.name, axis)
            for tensor in spec.inputs
            for axis, own in enumerate(tensor.dims)
            if own == dim
        )
        source, axis = next(axes)
        nodes.append(helper.make_node("Shape", [source], [name], start=axis, end=axis + 1))
        return name

    for out in spec.outputs:
        zero = np.zeros(1, out.dtype)
        constant(f"{out.name}.zero", ELEMENTS[out.dtype], [], zero)
        sizes = [size(dim, f"{out.name}.{axis}") for axis, dim in enumerate(out.dims)]
        nodes.append(helper.make_node("Concat", sizes, [f"{out.name}.shape"], axis=0))
        whole = [f"{out.name}.zero", f"{out.name}.shape"]
        nodes.append(helper.make_node("Expand", whole, [out.name]))
    graph = helper.make_graph(
        nodes,
        spec.name,
        [*map(value_info, spec.inputs)],
        [*map(value_info, spec.outputs)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)])


def metric_tables(config: ModelConfig) -> dict[str, np.ndarray]:
    image, audio = config.image.codebook, config.audio.codebook
    shapes = {
        "text": (config.text.vocabulary_size, config.text.metric_dim),
        "image": (image.codebooks, image.entries, image.code_dim),
        "audio": (audio.codebooks, audio.entries, audio.code_dim),
    }
    return {
        name: np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
        for name, shape in shapes.items()
    }


def fill(
    writer: BundleWriter,
    config: ModelConfig,
    weight: np.ndarray = WEIGHT,
    gguf: Mapping[str, ComponentRecord] | None = None,
) -> Bundle:
    """Everything that a bundle holds, into a writer; `gguf`: components whose files stand there
    already."""
    path = writer.add_weight(weight)
    for name, spec in graph_specs(config).items():
        if gguf and name in gguf:
            writer.component(name, gguf[name])
            continue
        writer.add_file(f"{name}.onnx", small_graph(spec, path).SerializeToString())
        writer.component(name, ComponentRecord("onnx", f"{name}.onnx"))
    writer.add_file("tokenizer.json", TOKENIZER)
    writer.add_tensors("metric_tables.safetensors", metric_tables(config))
    writer.add_tensors("golden.safetensors", {"x": np.zeros((2, 3), np.int64)})
    return writer.finish(
        config,
        golden=Golden("golden.safetensors", {"tasks": []}),
        parity={},
        provenance=Provenance({"torch": "2.13.0"}, {}),
    )


def small_bundle(out: Path, overwrite: bool = False, weight: np.ndarray = WEIGHT) -> Path:
    with BundleWriter(out, overwrite) as writer:
        fill(writer, small_config(), weight)
    return out


def graphs(path: Path) -> Mapping[str, onnx.ModelProto]:
    return {name: onnx.load(path / f"{name}.onnx", load_external_data=False) for name in COMPONENTS}

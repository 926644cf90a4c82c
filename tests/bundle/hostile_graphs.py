"""Hostile graphs. In an error {b} stands for the bundle's path, {graph} for the backbone graph's
size."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from tests.bundle.build import WEIGHT
from tests.bundle.build import WEIGHT_FILE as W
from tests.bundle.damage import (
    Case,
    Damage,
    graph,
    load,
    manifest,
    rewrite,
    void,
    weight_entry,
)

GRAPH = "{b}/backbone.onnx: "
TENSOR = GRAPH + "tensor 'weight': "

NAMES = "A-Z a-z 0-9 _ . - (first and last no dot)"


def swap_graphs(path: Path) -> None:
    """Two components exchange their graphs: every hash is right."""
    data = load(path)
    one, other = data["components"]["embed_image"], data["components"]["image_encoder"]
    one["file"], other["file"] = other["file"], one["file"]
    manifest(lambda now: now.update(data))(path)


def input_dim(axis: int, size: int) -> Damage:
    return graph(
        lambda model: setattr(
            model.graph.input[0].type.tensor_type.shape.dim[axis], "dim_value", size
        )
    )


def add_function(model: onnx.ModelProto) -> None:
    model.functions.append(
        helper.make_function(
            "own", "f", ["x"], ["y"], [helper.make_node("Identity", ["x"], ["y"])], []
        )
    )


def nest(depth: int) -> Damage:
    def edit(model: onnx.ModelProto) -> None:
        inner = helper.make_graph([], "inner", [], [])
        for _ in range(depth):
            inner = helper.make_graph(
                [helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)],
                "g",
                [],
                [],
            )
        model.graph.node.append(inner.node[0])

    return graph(edit)


def in_subgraph(model: onnx.ModelProto) -> None:
    """A weight of a branch, in a file that only the host has."""
    tensor = TensorProto(name="w", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "../../etc/passwd"), ("length", "4")):
        tensor.external_data.add(key=key, value=value)
    branch = helper.make_graph([], "branch", [], [], [tensor])
    model.graph.node.append(
        helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    )


def constant(raw: bytes, dims: list[int]) -> Damage:
    tensor = TensorProto(name="c", data_type=1, dims=dims, raw_data=raw)
    return graph(lambda model: model.graph.initializer.append(tensor))


def both_places(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = WEIGHT.tobytes()


def second_graph(content: bytes) -> bytes:
    """protobuf libraries merge the two graphs, a careless reader sees one of them."""
    return content + onnx.ModelProto(graph=helper.make_graph([], "g", [], [])).SerializeToString()


CASES: list[Case] = [
    # graphs
    (
        "a graph of text",
        rewrite("backbone.onnx", b"import os"),
        GRAPH + "model field 13 (functions, training information or newer) is not supported",
    ),
    ("an empty graph", rewrite("backbone.onnx", b""), GRAPH + "no graph inside"),
    (
        "a graph cut off",
        rewrite("backbone.onnx", b"\x08\x0a\x3a\x05abc"),
        GRAPH + "cut off: a field of 5 bytes where 3 are left",
    ),
    (
        "a graph too large",
        rewrite("backbone.onnx", lambda x: x + bytes(64 * 2**20)),
        GRAPH
        + "graph of {graph} bytes, at most 67108864 are read (weights stand in files of their own)",
    ),
    (
        "a number without end",
        rewrite("backbone.onnx", b"\x08" + b"\xff" * 11),
        GRAPH + "a number of more than 64 bits",
    ),
    (
        "two graphs in one",
        rewrite("backbone.onnx", second_graph),
        GRAPH + "field 7 stands 2 times, expected once",
    ),
    (
        "local functions",
        graph(add_function),
        GRAPH + "model field 25 (functions, training information or newer) is not supported",
    ),
    (
        "a subgraph",
        nest(1),
        GRAPH + "'If': attribute 'else_branch' has type 5, expected numbers or text (no subgraphs)",
    ),
    (
        "subgraphs without end",
        nest(9),
        GRAPH + "'If': attribute 'else_branch' has type 5, expected numbers or text (no subgraphs)",
    ),
    (
        "somebody's operators",
        graph(lambda m: setattr(m.graph.node[0], "domain", "evil.ops")),
        GRAPH + "operators of domain 'evil.ops', allowed are ONNX's own and com.microsoft's",
    ),
    (
        "a vendor's binary in a file",
        graph(
            lambda m: m.graph.node.append(
                helper.make_node(
                    "EPContext", [], ["e"], domain="com.microsoft", ep_cache_context="/e.engine"
                )
            )
        ),
        GRAPH + "operator 'com.microsoft.EPContext' is none that `export` or `quantize` writes",
    ),
    (
        "somebody's operators imported",
        graph(lambda m: void(m.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3)))),
        GRAPH + "operators of domain 'ai.onnx.ml', allowed are ONNX's own and com.microsoft's",
    ),
    (
        "an input renamed",
        graph(lambda m: setattr(m.graph.input[1], "name", "position")),
        GRAPH + "inputs 'embeddings', 'position', 'attention_mask', 'past_keys', 'past_values', "
        "expected 'embeddings', 'positions', 'attention_mask', 'past_keys', 'past_values'",
    ),
    (
        "an output too many",
        graph(lambda m: void(m.graph.output.append(m.graph.output[0])), "text_head.onnx"),
        "{b}/text_head.onnx: outputs 'logits', 'logits', expected 'logits'",
    ),
    (
        "an input's dtype changed",
        graph(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 10)),
        GRAPH + "input embeddings: dtype float16, expected float32",
    ),
    (
        "a rank changed",
        graph(lambda m: void(m.graph.input[0].type.tensor_type.shape.dim.pop())),
        GRAPH + "input embeddings: rank 2, expected 3",
    ),
    (
        "a dim that is not the config's",
        input_dim(2, 9),
        GRAPH + "input embeddings: axis 2 has 9, expected 8",
    ),
    (
        "a free dim fixed",
        input_dim(1, 3),
        GRAPH + "input embeddings: axis 1 has 3, expected a free size (rows)",
    ),
    (
        "an output without a shape",
        graph(lambda m: m.graph.output[0].type.tensor_type.ClearField("shape")),
        GRAPH + "'hidden' has no shape",
    ),
    (
        "an input that is a sequence",
        graph(
            lambda m: m.graph.input[0].type.CopyFrom(
                helper.make_sequence_type_proto(m.graph.input[0].type)
            )
        ),
        GRAPH + "'embeddings' is no tensor",
    ),
    ("graphs exchanged", swap_graphs, "{b}/image_encoder.onnx: inputs 'pixels', expected 'codes'"),
    # external data
    (
        "data outside",
        weight_entry(location="../../etc/shadow"),
        TENSOR + "external data: path '../../etc/shadow' has the part '..', expected plain names",
    ),
    (
        "data of the host",
        weight_entry(location="/etc/shadow"),
        TENSOR + "external data: path '/etc/shadow' is absolute, expected one inside the bundle",
    ),
    (
        "data in the runtime's memory",
        weight_entry(location="*/_ORT_MEM_ADDR_/*"),
        TENSOR + "external data: path '*/_ORT_MEM_ADDR_/*' has a name outside " + NAMES,
    ),
    (
        "data outside, in a branch",
        graph(in_subgraph),
        GRAPH + "'If': attribute 'else_branch' has type 5, expected numbers or text (no subgraphs)",
    ),
    (
        "data that is not listed",
        weight_entry(location="weights/w"),
        TENSOR + "external data in 'weights/w', which the manifest does not list",
    ),
    (
        "data in the manifest",
        weight_entry(location="manifest.json"),
        TENSOR + "external data in 'manifest.json', which the manifest does not list",
    ),
    (
        "data in a named file",
        weight_entry(location="backbone.onnx", length="2048"),
        TENSOR + "external data ends at byte 2048, 'backbone.onnx' has {graph}",
    ),
    (
        "data before its file",
        weight_entry(offset="-4"),
        TENSOR + "external data offset '-4', expected a number of bytes",
    ),
    (
        "data beyond its file",
        weight_entry(offset="4"),
        TENSOR + "external data ends at byte 2052, '" + W + "' has 2048",
    ),
    (
        "data far beyond its file",
        weight_entry(offset="9" * 18),
        TENSOR + "external data ends at byte 1000000000000002047, '" + W + "' has 2048",
    ),
    (
        "an offset of many digits",
        weight_entry(offset="9" * 30),
        TENSOR + "external data offset '" + "9" * 30 + "', expected a number of bytes",
    ),
    (
        "data too short",
        weight_entry(length="2044"),
        TENSOR + "external data of 2044 bytes, its dims need 2048",
    ),
    (
        "data of no length",
        weight_entry(length=None),
        TENSOR + "external data has keys ['location', 'offset'], expected location, offset, length",
    ),
    (
        "data without entries",
        weight_entry(location=None, offset=None, length=None),
        TENSOR + "external data and its mark do not agree",
    ),
    (
        "data with a key unknown",
        weight_entry(checksum="0"),
        TENSOR
        + "external data has keys ['checksum', 'length', 'location', 'offset'], expected location,"
        " offset, length",
    ),
    ("data in two places", graph(both_places), TENSOR + "data both inside the file and outside"),
    (
        "a dim below zero",
        graph(lambda m: m.graph.initializer[0].dims.append(-1)),
        TENSOR + "dims (64, 8, -1) are no sizes",
    ),
    (
        "dims that overflow",
        graph(lambda m: m.graph.initializer[0].dims.extend([2**39, 2**39])),
        TENSOR + "dims (64, 8, 549755813888, 549755813888) are no sizes",
    ),
    (
        "an element type unknown",
        graph(lambda m: setattr(m.graph.initializer[0], "data_type", 8)),
        TENSOR + "element type 8 is not supported",
    ),
    (
        "a constant too short",
        constant(b"1234", [2]),
        GRAPH + "tensor 'c': 4 bytes of data, its dims need 8",
    ),
    (
        "a graph of no bytes",
        rewrite("backbone.onnx", b""),
        "{b}/backbone.onnx: no graph inside",
    ),
    (
        "a graph of one byte",
        rewrite("backbone.onnx", b"\xff"),
        "{b}/backbone.onnx: cut off within a number",
    ),
    (
        "a graph that is JSON",
        rewrite("backbone.onnx", b"{}"),
        "{b}/backbone.onnx: not a protobuf message (wire type 3)",
    ),
    (
        "a graph of a field of 2^63 bytes",
        rewrite("backbone.onnx", b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
        ("{b}/backbone.onnx: cut off: a field of 9223372036854775807 bytes where 0 are left"),
    ),
]

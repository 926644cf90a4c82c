"""What the forms of a graph for TensorRT share: nodes and constants are added, and a node gives its
place to others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

Rule = Callable[[ir.Node], None]  # rewrites a node in place


class Rewriting:
    """One graph that is changed in place."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self._made = 0

    def apply(self, rules: Mapping[str, Rule]) -> None:
        """Rewrite every node whose operator has a rule."""
        for node in list(self.graph):
            if rule := rules.get(node.op_type):
                rule(node)

    def before(
        self,
        node: ir.Node,
        operator: str,
        inputs: list[ir.Value | None],
        attributes: dict[str, Any] | None = None,
        name: str | None = None,
    ) -> ir.Value:
        """The output of a new node, which stands before `node`."""
        self._made += 1
        made = ir.node(operator, inputs, attributes, name=name)
        made.outputs[0].name = f"{node.outputs[0].name}.{operator}.{self._made}"
        self.graph.insert_before(node, made)
        return made.outputs[0]

    def constant(self, name: str, array: NDArray[Any]) -> ir.Value:
        """The initializer of this name, made where the graph does not hold it yet."""
        if name in self.graph.initializers:
            return self.graph.initializers[name]
        tensor = ir.tensor(array, name=name)
        value = ir.Value(
            name=name,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(tensor.dtype),
            const_value=tensor,
        )
        self.graph.register_initializer(value)
        return value

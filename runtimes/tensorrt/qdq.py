"""A quantised bundle's graph in ONNX's own operators, QuantizeLinear and DequantizeLinear: the form
that TensorRT reads.

The integers keep their values and change their form: int8 around 0 in place of uint8 around 128,
int4 in place of uint4 around 8. Two forms are refused: blocks with zero points, and activations
that are rounded while a graph runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnx_ir as ir

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.onnx_graph import (
    initializer,
    load_graph,
    save_next_to_weights,
    take_over,
)
from nextomni_edge.bundle.quantised import QUANTISED, SCALE
from nextomni_edge.errors import InputError
from nextomni_edge.runtimes.tensorrt.plain import write_out
from nextomni_edge.runtimes.tensorrt.rewriting import Rewriting, Rule

# of packed bytes: what turns q + 2^(bits−1) into q, in two's complement
MIDDLE: Final = {4: 0x88, 8: 0x80}
SIGNED: Final = {4: ir.DataType.INT4, 8: ir.DataType.INT8}


def qdq_form(bundle: Bundle, component: str, folder: Path, plain: bool = False) -> Path:
    """Write this form of a component's graph into `folder`, and return its path. Unchanged weights
    are linked there. `plain`: in the operators of opset 20 (see plain.py).

    InputError: a layer without such a form, and how to quantise instead.
    """
    model = load_graph(bundle, component)
    rewrite(model, component, folder)
    if plain:
        write_out(model, component)
    out = folder / f"{component}.onnx"
    save_next_to_weights(bundle, model, out)
    return out


def rewrite(model: ir.Model, component: str, folder: Path) -> None:
    """Bring a graph into this form, in place. Changed integers are written into `folder`.
    InputError: as `qdq_form`."""
    form = _Form(model, component, folder)
    form.apply(form.rules)
    for name, value in list(model.graph.initializers.items()):
        if not value.uses():
            del model.graph.initializers[name]
    model.opset_imports.pop("com.microsoft", None)


class _Form(Rewriting):
    """One graph in conversion. `rules` rewrite the nodes of a type in place."""

    def __init__(self, model: ir.Model, component: str, folder: Path) -> None:
        super().__init__(model.graph)
        self.component, self.folder = component, folder
        self._files = 0
        self.rules: dict[str, Rule] = {
            "MatMulNBits": self._product, "GatherBlockQuantized": self._gather,
            "QuantizeLinear": self._activation, "DequantizeLinear": self._activation,
            "MatMulInteger": self._refused, "Mul": self._restored, "Gather": self._gather_rows,
        }  # fmt: skip

    def _refused(self, node: ir.Node) -> None:
        raise InputError(
            f"{self.component}: activations rounded while the graph runs ({node.op_type}) have no"
            ' form that TensorRT reads; quantise with ranges fixed before: --config of {"kind":'
            ' "int8-static", "symmetric": true}'
        )

    def _product(self, node: ir.Node) -> None:
        """x · Ŵᵀ of blocks: Ŵ (out, in) by DequantizeLinear, transposed."""
        source = node.inputs[0]
        weight = self._dequantised(
            node, node.inputs[1], node.inputs[2], node.inputs[3:], node.attributes.get_int("K", 0)
        )
        transposed = self.before(node, "Transpose", [weight], {"perm": [1, 0]})
        take_over(self.graph, node, self.before(node, "MatMul", [source, transposed]))

    def _gather(self, node: ir.Node) -> None:
        """Rows of a table of blocks: the table by DequantizeLinear, then the rows."""
        table = self._dequantised(node, node.inputs[0], node.inputs[2], node.inputs[3:], 0)
        take_over(
            self.graph, node, self.before(node, "Gather", [table, node.inputs[1]], {"axis": 0})
        )

    def _dequantised(
        self, node: ir.Node, packed: ir.Value | None, scale: ir.Value | None,
        zero: Sequence[ir.Value | None], columns: int
    ) -> ir.Value:  # fmt: skip
        """(rows, columns) float32 of packed blocks, without the last block's padding (columns 0:
        there is none)."""
        bits, block = node.attributes.get_int("bits", 4), node.attributes.get_int("block_size", 32)
        if any(value is not None for value in zero):
            raise InputError(
                f"{self.component}: blocks with zero points have no form that TensorRT reads;"
                ' quantise symmetrically (--config with {"kind": "int4", "symmetric": true})'
            )
        # the quantiser wrote them
        assert packed is not None and packed.const_value is not None and scale is not None
        signed = self._signed(packed, bits)
        values = self.before(
            node, "DequantizeLinear", [signed, scale], {"axis": 1, "block_size": block}
        )
        assert signed.shape is not None
        if not columns or columns == signed.shape.numpy()[1]:
            return values
        bounds = [
            self.constant(f"{values.name}.{name}", np.array([number], np.int64))
            for name, number in (("start", 0), ("end", columns), ("axis", 1))
        ]
        return self.before(node, "Slice", [values, *bounds])

    def _signed(self, packed: ir.Value, bits: int) -> ir.Value:
        """The integers of an initializer as int4 or int8 (rows, columns), in a new file; once for
        all readers."""
        name = f"{packed.name}.signed"
        if name in self.graph.initializers:
            return self.graph.initializers[name]
        assert packed.const_value is not None
        unsigned = packed.const_value.numpy().view(np.uint8)
        rows = unsigned.shape[0]
        file = f"{self.component}.{self._files}"
        self._files += 1
        content = unsigned ^ np.uint8(MIDDLE[bits])
        content.tofile(self.folder / file)
        shape = ir.Shape([rows, content.size // rows * 8 // bits])
        tensor = ir.ExternalTensor(
            file, 0, content.nbytes, SIGNED[bits], shape=shape, name=name, base_dir=self.folder
        )
        return initializer(self.graph, tensor)

    def _restored(self, node: ir.Node) -> None:
        """q · scale of a stored int8 weight becomes a DequantizeLinear along the axis of its
        scales."""
        cast, scale = node.inputs
        source = cast.producer() if cast is not None else None
        if source is None or source.op_type != "Cast" or scale is None or scale.const_value is None:
            return
        q = source.inputs[0]
        if q is None or q.const_value is None or q.const_value.dtype != ir.DataType.INT8:
            return
        sizes = scale.const_value.shape.numpy()
        axis = (
            len(q.const_value.shape)
            - len(sizes)
            + max(range(len(sizes)), key=lambda place: sizes[place])
        )
        flat = f"{scale.name}.flat"
        if flat not in self.graph.initializers:
            self.constant(flat, scale.const_value.numpy().reshape(-1))
        take_over(
            self.graph,
            node,
            self.before(
                node, "DequantizeLinear", [q, self.graph.initializers[flat]], {"axis": axis}
            ),
        )
        if not source.outputs[0].uses():
            self.graph.remove(source, safe=True)

    def _gather_rows(self, node: ir.Node) -> None:
        """Rows of an int8 table, widened and scaled, become rows of the table by
        DequantizeLinear."""
        q, rows = node.inputs
        if q is None or q.const_value is None or q.const_value.dtype != ir.DataType.INT8:
            return
        scale = self.graph.initializers[f"{str(q.name).removesuffix(QUANTISED)}{SCALE}"]
        ((cast, _),) = node.outputs[0].uses()
        ((scaled, _),) = cast.outputs[0].uses()
        table = self.before(node, "DequantizeLinear", [q, scale], {"axis": 0})
        take_over(self.graph, scaled, self.before(node, "Gather", [table, rows], {"axis": 0}))
        for unused in (cast, node):
            self.graph.remove(unused, safe=True)

    def _activation(self, node: ir.Node) -> None:
        """uint8 around 128 becomes int8 around 0, with the same values. InputError: around another
        number."""
        zero = node.inputs[2] if len(node.inputs) > 2 else None
        if zero is None or zero.const_value is None or zero.const_value.dtype != ir.DataType.UINT8:
            return
        if not (zero.const_value.numpy() == 128).all():
            raise InputError(
                f"{self.component}: ranges of activations that are not symmetric have no form that"
                ' TensorRT reads; quantise with --config of {"kind": "int8-static", "symmetric":'
                " true}"
            )
        middle = f"{zero.name}.signed"
        if middle not in self.graph.initializers:
            self.constant(middle, np.zeros(zero.const_value.shape.numpy(), np.int8))
        node.replace_input_with(2, self.graph.initializers[middle])

"""Changes to a parsed network of TensorRT. Its types decide the arithmetic, and its layers what the
builder can do."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Final

# of a tensor, by name: layers, and the place of it among their inputs
Readers = dict[str, list[tuple[Any, int]]]

ATTENTION: Final = "ATTENTION_OUTPUT"  # a type of layer since TensorRT 10.14
NEAREST: Final = "bnkd,kcd->bnkc"  # of the encoders' search for the nearest codebook row
PRODUCTS: Final = ("MATRIX_MULTIPLY", "EINSUM")
FLOAT32: Final = ".float32"  # in the name of a product that stays so


def layers_of(network: Any) -> list[Any]:
    return [network.get_layer(index) for index in range(network.num_layers)]


def readers_of(network: Any) -> Readers:
    found: Readers = {}
    for layer in layers_of(network):
        for index in range(layer.num_inputs):
            if layer.get_input(index) is not None:
                found.setdefault(layer.get_input(index).name, []).append((layer, index))
    return found


def lacks_attention(trt: ModuleType) -> bool:
    """Whether graphs must be written out in the operators of opset 20 (see plain.py): TensorRT
    before 10.14 has no layer of attention, nor its parser the operator."""
    return not hasattr(trt.LayerType, ATTENTION)


def make_buildable(trt: ModuleType, network: Any) -> None:
    """Compute attention by plain operators where no fused kernel supports its mask and head size,
    which is an error otherwise.

    Also write one sum of products as a product of matrices: TensorRT for RTX 1.7 fails on it with
    an internal error.
    """
    readers = readers_of(network)
    attention = getattr(trt.LayerType, ATTENTION, None)
    for layer in layers_of(network):
        if layer.type == attention:
            layer.__class__ = trt.IAttentionOutputLayer
            layer.attention.decomposable = True
        elif layer.type == trt.LayerType.EINSUM:
            layer.__class__ = trt.IEinsumLayer
            if layer.equation.replace(" ", "") == NEAREST:
                _replace_nearest(trt, network, layer, readers)


def _replace_nearest(trt: ModuleType, network: Any, layer: Any, readers: Readers) -> None:
    """(b,n,k,d) · (k,c,d) → (b,n,k,c) with the sub-codes k in front of the matrices."""
    swapped = (0, 2, 1, 3)
    x, table = (network.add_shuffle(layer.get_input(index)) for index in (0, 1))
    x.first_transpose, table.reshape_dims = swapped, (1, *layer.get_input(1).shape)
    none, transposed = trt.MatrixOperation.NONE, trt.MatrixOperation.TRANSPOSE
    product = network.add_matrix_multiply(x.get_output(0), none, table.get_output(0), transposed)
    result = network.add_shuffle(product.get_output(0))
    result.first_transpose = swapped
    for reader, index in readers.get(layer.get_output(0).name, []):
        reader.set_input(index, result.get_output(0))


def narrow(trt: ModuleType, network: Any, dtype: Any) -> int:
    """Make every product of float32 matrices read `dtype` and give float32 again; returns their
    number.

    Norms, attention, convolutions, sums over layers, inputs and outputs stay in float32. So only
    the products with weights must fit float16's range.
    """
    layers, readers = layers_of(network), readers_of(network)
    outputs = {network.get_output(index).name for index in range(network.num_outputs)}
    chosen = [
        layer
        for layer in layers
        if layer.type.name in PRODUCTS
        and layer.get_output(0).dtype == trt.DataType.FLOAT
        and FLOAT32 not in layer.name
    ]
    for layer in chosen:
        _narrow_layer(trt, network, layer, dtype, readers, outputs)
    return len(chosen)


def _narrow_layer(
    trt: ModuleType, network: Any, layer: Any, dtype: Any, readers: Readers, outputs: set[str]
) -> None:
    for index in range(layer.num_inputs):
        given = layer.get_input(index)
        if given is not None and given.dtype == trt.DataType.FLOAT:
            layer.set_input(index, network.add_cast(given, dtype).get_output(0))
    narrowed = layer.get_output(0)
    name = narrowed.name
    widened = network.add_cast(narrowed, trt.DataType.FLOAT).get_output(0)
    for reader, index in readers.get(name, []):
        reader.set_input(index, widened)
    if name in outputs:
        network.unmark_output(narrowed)
        narrowed.name, widened.name = f"{name}.narrow", name
        network.mark_output(widened)

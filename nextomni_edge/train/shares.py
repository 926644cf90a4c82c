"""A model in shares, one for each process: weights, gradients, averages and the optimiser's state
(FSDP2, `torch.distributed.fsdp.fully_shard`). A layer is whole while it computes."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils.checkpoint import checkpoint

from nextomni_edge.errors import UsageError
from nextomni_edge.models.backbone import Layer


def layers(module: nn.Module) -> list[Layer]:
    return [part for part in module.modules() if isinstance(part, Layer)]


def shard(module: nn.Module, device: str) -> None:
    """Keep this process's share of every parameter. UsageError: it is the only process."""
    if not dist.is_initialized():
        raise UsageError("one process has nobody to share a model with: start more (--processes)")
    # a layer's keys are views; nothing writes into them
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(device, (dist.get_world_size(),))
    module.register_forward_hook(_with_every_parameter)
    for layer in layers(module):
        fully_shard(layer, mesh=mesh)
    fully_shard(module, mesh=mesh)


def _outside(module: nn.Module) -> list[nn.Parameter]:
    """Parameters outside the layers, which some batches do not use."""
    inside = {id(own) for layer in layers(module) for own in layer.parameters()}
    return [own for own in module.parameters() if own.requires_grad and id(own) not in inside]


def _with_every_parameter(module: nn.Module, _: Any, result: tuple[Tensor, Any]) -> Any:
    """The loss with a zero of every parameter outside the layers. A batch of one modality leaves
    heads without gradient, and the processes must exchange the same ones."""
    loss, metrics = result
    zero = sum((0.0 * own.sum() for own in _outside(module)), torch.zeros_like(loss))
    return loss + zero, metrics


def drop_unused(module: nn.Module) -> None:
    """Take away gradients that are zero in every share. No batch of this step used their
    parameters, so the optimiser changes nothing of them, as in one process."""
    outside = [own for own in _outside(module) if isinstance(own.grad, DTensor)]
    local = [own.grad.to_local() for own in outside]  # type: ignore[union-attr]
    largest = torch.stack(
        [each.abs().max() if each.numel() else each.new_zeros(()) for each in local]
    )
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    for own, found in zip(outside, largest.tolist(), strict=True):
        if found == 0.0:
            own.grad = None


def forget_activations(module: nn.Module) -> None:
    """Keep no activation inside the backbone's layers: the backward pass computes them again."""
    for layer in layers(module):
        kept = functools.partial(checkpoint, layer.forward, use_reentrant=False)
        layer.forward = kept  # type: ignore[method-assign]


def compile_layers(module: nn.Module) -> None:
    """Compile each of the backbone's layers, which are alike, so the compiler works once. Before
    `forget_activations`: the compiler passes over a layer whose forward is a checkpoint."""
    for layer in layers(module):
        layer.forward = torch.compile(layer.forward)  # type: ignore[method-assign]


def whole(tensor: Tensor) -> Tensor:
    """A tensor out of its shares. Every process must call it."""
    found = tensor.detach()
    return found.full_tensor() if isinstance(found, DTensor) else found


def share_of(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's share of a whole tensor, placed as `like` is."""
    if not isinstance(like, DTensor):
        return tensor
    given = tensor.to(like.device)
    return distribute_tensor(given, like.device_mesh, like.placements, src_data_rank=None)


def renew(groups: list[dict[str, Any]], before: dict[int, str], module: nn.Module) -> None:
    """Give an optimiser's groups the parameters that `shard` put in the place of those `before`,
    which are named by their id. Nothing holds the whole ones afterwards."""
    now = dict(module.named_parameters())
    for group in groups:
        group["params"] = [now[before[id(own)]] for own in group["params"]]

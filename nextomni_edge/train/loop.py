"""The training loop on any number of devices (accelerate): gradient accumulation, exact resume, a
budget in minutes."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import AutocastKwargs, broadcast_object_list
from safetensors import safe_open
from torch import Tensor, nn

from nextomni_edge.errors import InputError
from nextomni_edge.files import atomic_write
from nextomni_edge.formats.tensor_file import little_endian, ordered, write_header
from nextomni_edge.train import shares

Metrics = dict[str, float]
# processes without an accelerator only find each other where this is set
ON_CPU = not torch.accelerator.is_available()


class StepFunction(Protocol):
    """Computes a batch's loss by calling `module`, as it is wrapped for its devices.

    Every draw depends only on the batch's number, as `rng` does. So it does not matter which
    process computes the batch.
    """

    def __call__(
        self, module: nn.Module, batch: int, rng: np.random.Generator
    ) -> tuple[Tensor, Metrics]: ...


class Followed(Protocol):
    """State next to the parameters, as JSON. It is saved with them, and taken from the main process
    after each step."""

    def state(self) -> dict[str, Any]: ...

    def load(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class TrainOptions:
    """`steps` fixes the learning-rate schedule (warm-up, constant, linear decay). `minutes` only
    ends this session.

    A step's gradient is the mean over `accumulate` batches of each process. A batch may hold one
    modality, so this mixes them.
    """

    steps: int
    minutes: float = math.inf
    rate: float = 1e-3
    warm_up: int = 100
    decay: float = 0.25
    weight_decay: float = 0.05
    averaging: float = 0.999
    clip: float = 1.0
    seed: int = 0
    save_minutes: float = 3.0
    accumulate: int = 1
    precision: Literal["no", "bf16"] = "no"
    shard: bool = False
    """Each process keeps a share of the weights and of the optimiser's state (FSDP2)."""
    recompute: bool = False
    """The backward pass computes the activations of the backbone's layers again, and none is
    kept."""
    compile: bool = False
    """The backbone's layers are compiled (`torch.compile`)."""

    def rate_at(self, step: int) -> float:
        """Learning-rate factor of a step."""
        left = (self.steps - step) / max(1.0, self.decay * self.steps)
        return max(0.0, min(1.0, (step + 1) / self.warm_up, left))


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether SIGINT or SIGTERM has come. The training finishes its
    step first, so that the state can be saved."""
    seen: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _: seen.append(number)) for number in signals]
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


class Trainer:
    """Trains the parameters in `groups` and keeps a running average of them; `state.safetensors` in
    `out` resumes exactly. With `options.shard` the groups hold shares afterwards."""

    def __init__(
        self,
        module: nn.Module,
        groups: list[dict[str, object]],
        options: TrainOptions,
        out: Path,
        followed: Mapping[str, Followed] | None = None,
    ) -> None:
        self.options, self.out, self.followed = options, out, followed or {}
        # a batch of one modality leaves heads without gradient
        unused = DistributedDataParallelKwargs(find_unused_parameters=True)
        # a cache would hold every layer's weights in bf16 until the forward ends
        casting = AutocastKwargs(cache_enabled=not (options.shard or options.recompute))
        self.accelerator = Accelerator(
            cpu=ON_CPU, mixed_precision=options.precision, kwargs_handlers=[unused, casting]
        )
        module = module.to(self.accelerator.device)
        if options.compile:
            shares.compile_layers(module)
        if options.recompute:
            shares.forget_activations(module)
        if options.shard:
            before = {id(own): name for name, own in module.named_parameters()}
            shares.shard(module, self.accelerator.device.type)
            shares.renew(groups, before, module)
        optimizer = torch.optim.AdamW(
            groups, lr=options.rate, betas=(0.9, 0.98), weight_decay=options.weight_decay
        )
        self.bases = [float(group["lr"]) for group in optimizer.param_groups]
        # what is shared out already needs no wrapper that exchanges gradients
        self.module = module if options.shard else self.accelerator.prepare(module)
        self.optimizer = self.accelerator.prepare_optimizer(optimizer)
        self.parameters = dict(self.accelerator.unwrap_model(self.module).named_parameters())
        self.average = {
            name: parameter.detach().clone() for name, parameter in self.parameters.items()
        }
        self.extra: dict[str, Any] = {}
        self.step = 0

    def run(self, loss_of: StepFunction, report: Callable[[int, Metrics], None]) -> None:
        """Train until the steps or the minutes are over, or until an interrupt. The state is saved
        regularly and at the end."""
        started = saved = time.monotonic()
        with interruptible() as interrupted:
            while self.step < self.options.steps and not self._any(
                time.monotonic() - started >= 60 * self.options.minutes
            ):
                metrics = self.advance(loss_of)
                if self.accelerator.is_main_process:
                    report(self.step - 1, metrics)
                stopped = self._any(interrupted())
                if stopped or time.monotonic() - saved > 60 * self.options.save_minutes:
                    self.save()
                    saved = time.monotonic()
                if stopped:
                    raise KeyboardInterrupt
        self.save()
        self.accelerator.wait_for_everyone()

    def advance(self, loss_of: StepFunction) -> Metrics:
        """One optimiser step. InputError: the loss is not finite. Then there is nothing worth
        saving."""
        for group, base in zip(self.optimizer.param_groups, self.bases, strict=True):
            group["lr"] = base * self.options.rate_at(self.step)
        loss, metrics = self._gradients(loss_of)
        if not math.isfinite(loss):
            raise InputError(
                f"training step {self.step}: the loss is {loss}; lower the learning rate"
            )
        if self.options.shard:
            shares.drop_unused(self.module)
        self.accelerator.clip_grad_norm_(self.module.parameters(), self.options.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        keep = min(self.options.averaging, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, average in self.average.items():
                average.lerp_(self.parameters[name], 1.0 - keep)
        self._follow()
        return metrics

    def _gradients(self, loss_of: StepFunction) -> tuple[float, Metrics]:
        """The mean loss of this step's batches over all processes, and this process's metrics. The
        gradients are in the parameters."""
        count, processes = self.options.accumulate, self.accelerator.num_processes
        total, metrics = torch.zeros((), device=self.accelerator.device), Metrics()
        for index in range(count):
            batch, last = (self.step * count + index) * processes, index == count - 1
            batch += self.accelerator.process_index
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.module):
                with self.accelerator.autocast():
                    loss, found = loss_of(
                        self.module, batch, np.random.default_rng((self.options.seed, batch))
                    )
                self.accelerator.backward(loss / count)
            total, metrics = total + loss.detach() / count, metrics | found
        return float(self.accelerator.reduce(total, "mean")), metrics

    def _any(self, wish: bool) -> bool:
        """Whether any process asks for it, so that all of them leave the loop at the same step."""
        return bool(
            self.accelerator.reduce(
                torch.tensor(float(wish), device=self.accelerator.device), "sum"
            )
            > 0
        )

    def _follow(self) -> None:
        if self.accelerator.num_processes > 1 and self.followed:
            states = [{name: part.state() for name, part in self.followed.items()}]
            broadcast_object_list(states)
            for name, state in states[0].items():
                self.followed[name].load(state)

    def tensors(self) -> dict[str, Tensor]:
        """Weights, average and optimiser, in shares where the model is."""
        found = {f"weights.{name}": own for name, own in self.parameters.items()}
        found |= {f"average.{name}": own for name, own in self.average.items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                found[f"optimizer.{key}.{name}"] = torch.as_tensor(value)
        return found

    def save(self) -> None:
        """Write weights, average, optimiser and step to state.safetensors, one whole tensor in
        memory at a time. The file changes whole or not at all."""
        tensors = self.tensors()
        sizes = {
            name: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
            for name, tensor in tensors.items()
        }
        extra = self.extra | {name: part.state() for name, part in self.followed.items()}
        metadata = {"step": str(self.step), "extra": json.dumps(extra)}
        if not self.accelerator.is_main_process:
            for name in ordered(sizes) if self.options.shard else ():
                shares.whole(tensors[name])  # the main process needs this one's share
            return
        self.out.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.out / "state.safetensors") as file:
            for name in write_header(file, sizes, metadata):
                file.write(little_endian(shares.whole(tensors[name]).cpu().numpy()))

    def resume(self) -> bool:
        """Continue from state.safetensors where it exists. InputError: it belongs to another
        model."""
        path = self.out / "state.safetensors"
        if not path.exists():
            return False
        with safe_open(path, "pt") as file, torch.no_grad():
            metadata, names = file.metadata(), set(file.keys())
            for name, parameter in self.parameters.items():
                if f"weights.{name}" not in names or file.get_slice(
                    f"weights.{name}"
                ).get_shape() != list(parameter.shape):
                    raise InputError(
                        f"{path}: tensor {name} is missing or of another shape; this state is of"
                        " another model"
                    )
                for kind, own in (("weights", parameter), ("average", self.average[name])):
                    own.copy_(shares.share_of(file.get_tensor(f"{kind}.{name}"), own))
                keys = {
                    key
                    for key in ("step", "exp_avg", "exp_avg_sq")
                    if f"optimizer.{key}.{name}" in names
                }
                if keys:
                    found = {key: file.get_tensor(f"optimizer.{key}.{name}") for key in keys}
                    self.optimizer.state[parameter] = {
                        key: shares.share_of(value, parameter) if value.dim() else value
                        for key, value in found.items()
                    }
        self.step, self.extra = int(metadata["step"]), json.loads(metadata["extra"])
        for name, part in self.followed.items():
            part.load(self.extra[name])
        return True


def load_average(state: Path, module: nn.Module) -> None:
    """Copy the running average of a state.safetensors into a module that is not shared out, tensor
    by tensor. InputError: the state is of another module."""
    with safe_open(state, "pt") as file, torch.no_grad():
        names = set(file.keys())
        for name, parameter in module.named_parameters():
            if f"average.{name}" not in names:
                raise InputError(f"{state}: it holds no average of {name}")
            parameter.copy_(file.get_tensor(f"average.{name}"))

"""What a stage of a recipe needs, found without weights: fake tensors, which have shapes and no
values, pass through the real modules."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import UsageError
from nextomni_edge.models.backbone import Layer
from nextomni_edge.models.codebook import quantisation_loss
from nextomni_edge.models.omni import OmniModel
from nextomni_edge.train import shares
from nextomni_edge.train.perceptual import Perceptual
from nextomni_edge.train.stages import Source, Stage, media_rows
from nextomni_edge.train.warm_up import WarmUp

FLOAT: Final = 4  # bytes: the Trainer keeps everything between two forwards in float32
MOMENTS: Final = 2  # of AdamW


@dataclass(frozen=True)
class Pass:
    """One batch's forward. saved: bytes that it keeps for the backward pass, parameters apart.
    working: bytes of the loss's gradients, with which the backward pass begins. operations: a
    multiplication and an addition count as two."""

    saved: int
    working: int
    operations: int


@dataclass(frozen=True)
class Counts:
    """Parameters of a model: all, those that are trained, and the same of one layer of the backbone
    and of what stands outside the layers."""

    parameters: int
    trained: int
    layer: int
    layer_trained: int
    outside: int
    outside_trained: int


@dataclass(frozen=True)
class Memory:
    """Bytes on each of `processes` devices. gathered: what FSDP2 holds whole for a while, weights
    and gradients: two layers, and what stands outside the layers. Without `shard`, a second copy of
    the gradients, which the processes exchange."""

    processes: int
    weights: int
    gradients: int
    optimiser: int
    average: int
    gathered: int
    activations: int
    activations_recomputed: int

    @property
    def state(self) -> int:
        """What a process holds between two steps."""
        return self.weights + self.optimiser + self.average

    def total(self, recompute: bool) -> int:
        activations = self.activations_recomputed if recompute else self.activations
        return self.state + self.gradients + self.gathered + activations


@dataclass(frozen=True)
class StagePlan:
    """A stage with what it needs. kept, recomputed: bytes of activations of the source that has
    most, without `recompute` and with it. scores: bytes that attention keeps on top of `kept` where
    no fused kernel takes its mask. operations: of the whole stage, over all devices."""

    stage: Stage
    counts: Counts
    kept: int
    recomputed: int
    scores: int
    operations: int

    def memory(self, processes: int) -> Memory:
        counts, shared = self.counts, processes > 1 and self.stage.shard
        share = processes if shared else 1
        gathered = 0
        if shared:
            layers = 2 * counts.layer + counts.layer_trained
            gathered = FLOAT * (layers + counts.outside + counts.outside_trained)
        elif processes > 1:
            gathered = FLOAT * counts.trained
        return Memory(
            processes,
            -(-FLOAT * counts.parameters // share),
            -(-FLOAT * counts.trained // share),
            -(-FLOAT * MOMENTS * counts.trained // share),
            -(-FLOAT * counts.parameters // share),
            gathered,
            self.kept,
            self.recomputed,
        )


class Planner:
    """Plans the stages of one config. UsageError: not the native network."""

    def __init__(self, config: ModelConfig) -> None:
        if config.network != "native":
            raise UsageError(
                f"stages are planned of network 'native', found {config.network!r} of this config"
            )
        self.config = config
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        self._models: dict[tuple[int, bool], OmniModel] = {}
        self._forwards: dict[tuple[str, int, str], Pass] = {}

    def plan(self, stage: Stage) -> StagePlan:
        """What a stage needs. InputError: a source's media leave no room in the context.

        The backward pass counts as two forwards: one for the gradients of what a product reads, and
        one for its weights, as far as these are trained.
        """
        counts = self._counts(stage)
        backward = 1 + counts.trained / counts.parameters
        kept, recomputed, operations = [], [], []
        for source in stage.mixture:
            whole, layers, layer = self._pass(stage, source, False)
            again, _, _ = self._pass(stage, source, True)
            rebuilt, share = self._rebuilt(stage, source)
            kept.append(whole.saved + whole.working + rebuilt.saved)
            # either the loss is in work, or the layer that is computed again
            recomputed.append(again.saved + max(again.working, layer.saved) + rebuilt.saved)
            trained = whole.operations + share * rebuilt.operations
            given = stage.batch * sum(self._encoding(kind) for kind in source.media)
            twice = layers * layer.operations if stage.recompute else 0
            operations.append((1 + backward) * trained + twice + given)
        weights = [source.weight for source in stage.mixture]
        mean = sum(w * each for w, each in zip(weights, operations, strict=True)) / sum(weights)
        batches = stage.steps * stage.sequences // stage.batch
        return StagePlan(
            stage, counts, max(kept), max(recomputed), self._scores(stage), round(batches * mean)
        )

    def _scores(self, stage: Stage) -> int:
        shape, each = self.config.backbone, 2 if stage.precision == "bf16" else FLOAT
        return shape.layers * stage.batch * shape.query_heads * (stage.context or 0) ** 2 * each

    def _counts(self, stage: Stage) -> Counts:
        """Parameters of what a stage's Trainer holds."""
        model = self._model(self.config.backbone.layers, False)
        with self._making():
            module = (
                model if stage.trains == "flow" else WarmUp(stage.trains, model, stage.perceptual)
            )

        def both(named: Iterable[tuple[str, nn.Parameter]]) -> tuple[int, int]:
            found = list(named)
            trained = sum(
                own.numel() for name, own in found if own.requires_grad and not stage.frozen(name)
            )
            return sum(own.numel() for _, own in found), trained

        layers = [name for name, part in module.named_modules() if isinstance(part, Layer)]
        parameters = list(module.named_parameters())
        whole = both(parameters)
        first = f"{layers[0]}." if layers else "none"
        layer = both((name, own) for name, own in parameters if name.startswith(first))
        outside = (whole[0] - len(layers) * layer[0], whole[1] - len(layers) * layer[1])
        return Counts(*whole, *layer, *outside)

    @contextlib.contextmanager
    def _making(self) -> Iterator[None]:
        """Modules that are made here have fake parameters. A copy of one warns that these have no
        address."""
        with self._mode, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
            yield

    def _model(self, layers: int, recompute: bool) -> OmniModel:
        if (layers, recompute) not in self._models:
            backbone = dataclasses.replace(self.config.backbone, layers=layers)
            with self._making():
                model = OmniModel(dataclasses.replace(self.config, backbone=backbone))
            if recompute:
                shares.forget_activations(model)
            self._models[layers, recompute] = model
        return self._models[layers, recompute]

    def _pass(self, stage: Stage, source: Source, recompute: bool) -> tuple[Pass, int, Pass]:
        """A batch of one source, the number of the backbone's layers, and what each of them adds.
        They are alike: one is traced, and two, and the difference counts for all others."""
        if stage.trains != "flow":
            found = self._reconstruction(
                stage.trains, stage.batch, stage.precision, stage.perceptual > 0
            )
            return found, 0, Pass(0, 0, 0)
        traced = []
        for layers in (1, 2):
            model = self._model(layers, recompute)
            with self._traced(stage.precision, model) as trace:
                working = 2 * FLOAT * self._flow(model, stage, source)
            traced.append(trace.result(working))
        one, two = traced
        layer = Pass(two.saved - one.saved, 0, two.operations - one.operations)
        count = self.config.backbone.layers
        whole = Pass(
            one.saved + (count - 1) * layer.saved,
            one.working,
            one.operations + (count - 1) * layer.operations,
        )
        return whole, count, layer

    @contextlib.contextmanager
    def _traced(self, precision: str, model: nn.Module) -> Iterator[_Trace]:
        """A forward of fake tensors."""
        trace = _Trace(model)
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
        with self._mode, trace.counter, trace, autocast:
            yield trace

    def _flow(self, model: OmniModel, stage: Stage, source: Source) -> int:
        """The loss of one batch, as train.flow_loss computes it; how many logits it has."""
        batch, context = stage.batch, stage.context
        assert context is not None
        rows, config = source.rows(self.config, context)[1], self.config
        x: Tensor = model.embed_text(torch.zeros(batch, context, dtype=torch.int64))
        for kind in source.media:
            name, count = _coded(kind), batch * media_rows(config, kind)
            books = config.coded(name).codebook.codebooks
            codes = torch.zeros(1, count, books, dtype=torch.int64)
            place = torch.zeros(count, dtype=torch.int64)
            projected = model.get_submodule(f"embed_{name}")(codes)[0].to(x.dtype)
            x = x.index_put((place, place), projected)
        hidden = model.hidden(x, torch.ones(batch, context, dtype=torch.bool))
        place = torch.zeros(batch * rows, dtype=torch.int64)
        given = hidden[place, place][None]
        if source.answer == "text":
            logits = model.text_head(given)[0]
        else:
            logits = self._coded_logits(model, _coded(source.answer), given)
        target = torch.zeros(logits.shape[:-1], dtype=torch.int64).flatten()
        F.cross_entropy(logits.flatten(0, -2), target)
        return int(logits.numel())

    def _coded_logits(self, model: OmniModel, name: str, given: Tensor) -> Tensor:
        settings, head = self.config.coded(name), model.get_submodule(f"{name}_head")
        codes = torch.zeros(1, given.shape[1], settings.codebook.codebooks, dtype=torch.int64)
        logits: Tensor = (
            head(given, codes) if settings.head.kind == "autoregressive" else head(given)
        )
        return logits

    def _media(self, name: str, count: int) -> Tensor:
        """What an encoder reads of `count` media; fake, as all of this is."""
        image, audio = self.config.image, self.config.audio
        if name == "image":
            return torch.zeros(count, 3, image.size, image.size)
        return torch.zeros(count, audio.max_positions, audio.frames_per_token, audio.mels)

    def _encoding(self, kind: str) -> int:
        """Operations of encoding one medium, without gradients."""
        frames = self.config.image.max_frames if kind == "video" else 1
        return frames * self._forward(_coded(kind), 1, "no", decode=False).operations

    def _rebuilt(self, stage: Stage, source: Source) -> tuple[Pass, float]:
        """What the reconstruction of a flow's media adds to a batch, and in what share of them."""
        if stage.trains != "flow" or not stage.reconstruct_every:
            return Pass(0, 0, 0), 0.0
        counts: dict[str, int] = {}
        for kind in source.media:
            frames = self.config.image.max_frames if kind == "video" else 1
            counts[_coded(kind)] = counts.get(_coded(kind), 0) + stage.batch * frames
        each = [
            self._reconstruction(name, count, stage.precision) for name, count in counts.items()
        ]
        saved, operations = (
            sum(getattr(one, name) for one in each) for name in ("saved", "operations")
        )
        return Pass(saved, 0, operations), 1 / stage.reconstruct_every

    def _reconstruction(
        self, name: str, count: int, precision: str, perceptual: bool = False
    ) -> Pass:
        """A warm-up's batch of `count` media without the small semantic head. All but the weights'
        casts grows with the count: one medium is traced, and two."""
        one, two = (self._forward(name, few, precision, True, perceptual) for few in (1, 2))
        return Pass(one.saved + (count - 1) * (two.saved - one.saved), 0, count * one.operations)

    def _forward(
        self, name: str, count: int, precision: str, decode: bool, perceptual: bool = False
    ) -> Pass:
        """Encoding `count` media, and with `decode` quantising and decoding them; `perceptual`:
        with that distance."""
        key = (f"{name} {decode} {perceptual}", count, precision)
        if key in self._forwards:
            return self._forwards[key]
        model = self._model(1, False)
        encoder, decoder = (
            model.get_submodule(f"{name}_{part}") for part in ("encoder", "decoder")
        )
        with self._making():
            distance = Perceptual(model.image_encoder) if perceptual else nn.Identity()
        with self._traced(precision, nn.ModuleList([model, distance])) as trace:
            media = self._media(name, count)
            latents = encoder.latents(media)  # type: ignore[operator]
            quantised, _, loss = quantisation_loss(encoder.codebook, latents)  # type: ignore[arg-type]
            if decode:
                decoding = decoder.pixels if name == "image" else decoder.log_mel
                decoded: Tensor = decoding(quantised)  # type: ignore[operator]
                loss = loss + (decoded - media).square().mean() + (decoded - media).abs().mean()
                loss = loss + distance(decoded, media) if perceptual else loss
        self._forwards[key] = trace.result(0)
        return self._forwards[key]


def _coded(kind: str) -> str:
    """The coded modality of a kind: a video's frames are images."""
    return "image" if kind == "video" else kind


def _attention(query: tuple[int, ...], key: tuple[int, ...], *_: Any, **__: Any) -> int:
    """Operations of attention's two products."""
    return 4 * math.prod(query) * key[-2]


class _Trace:
    """The storages that a forward saves, and its operations."""

    def __init__(self, module: nn.Module) -> None:
        # the processor's kernel is not in PyTorch's list
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        self.counter = FlopCounterMode(display=False, custom_mapping={kernel: _attention})
        self._own = {id(own.untyped_storage()) for own in module.parameters()}
        self._found: dict[int, Any] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    def __enter__(self) -> _Trace:
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in self._own:
            self._found[id(storage)] = storage  # held, so that its id stays its own
        return tensor

    def result(self, working: int) -> Pass:
        saved = sum(int(storage.nbytes()) for storage in self._found.values())
        return Pass(saved, working, int(self.counter.get_total_flops()))

"""The inputs of every layer while a calibration set is replayed through the bundle's own graphs,
bin by bin (METHOD 7).

The graphs run in ONNX Runtime with the layers' inputs as additional outputs, through the EdgeModel
that generates. Memory holds the inputs of all observed layers for SEQUENCES sequences, and the
result (a Hessian has in² · 8 bytes). Observe the components of a large model one after another.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from collections.abc import Sequence as Many
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.onnx_graph import folder_next_to, load_graph, save_next_to_weights, tap
from nextomni_edge.calibration.data.samples import CalibrationSet, Sample, Trajectory
from nextomni_edge.calibration.data.statistics import BinStatistics, Float64, LayerStatistics
from nextomni_edge.calibration.layers import Layer
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.rows import Layout
from nextomni_edge.graphs import decoders, graph_specs
from nextomni_edge.runtimes.base import Array, Session, runtime
from nextomni_edge.spec import ComponentName, Dim, GraphSpec, TensorSpec
from nextomni_edge.tokens.omnidiffusion import content, with_a_code

Progress = Callable[[int, int, str], None]

SEQUENCES: Final = 8
TIMELESS: Final = (
    ComponentName.IMAGE_ENCODER, ComponentName.IMAGE_DECODER, ComponentName.IMAGE_QUANTISER,
    ComponentName.AUDIO_ENCODER, ComponentName.AUDIO_DECODER, ComponentName.AUDIO_QUANTISER,
    *ComponentName.SPEECH,
)  # fmt: skip
MOST: Final = 2**40  # of a dimension that nothing bounds
EVEN: Final = np.ones(1)  # every row counts the same


def observe(
    bundle: Bundle,
    calibration: CalibrationSet,
    layers: Collection[Layer],
    hessian: Collection[str] = (),
    smoothing: Mapping[str, NDArray[np.float32]] = MappingProxyType({}),
    progress: Progress | None = None,
    frontier: float = 1.0,
) -> dict[str, LayerStatistics]:
    """Statistics of each layer's input by the layer's name, and H for those that `hessian` names.
    Tables read ids and have none.

    `smoothing` (in,), by layer's name, multiplies the layer's input before it is observed. Rows
    whose symbol is decided next count `frontier` times in H (see Trajectory.decided).
    InputError: the set belongs to another bundle, or a file of it is damaged.
    """
    calibration.require(bundle, bins=1)
    read = [layer for layer in layers if layer.operator != "gather"]
    watches = _watches(read, set(hessian), smoothing, calibration.record.bins)
    with folder_next_to(bundle) as folder:
        replay = _Replay(bundle, watches, folder, frontier)
        for index, (record, trajectory) in enumerate(calibration.trajectories()):
            if progress:
                progress(index, len(calibration), record.task)
            replay.trajectory(trajectory, calibration.guided(record))
    if progress:
        progress(len(calibration), len(calibration), "")
    return {name: watch.statistics() for watch in watches for name in watch.names}


class _Watch:
    """One value of a graph that one or more layers read. They sum over `features`; `books` is the K
    of an einsum."""

    def __init__(self, layer: Layer, place: int, bins: int) -> None:
        self.component, self.value, self.tap = layer.component, layer.input, f"observed/{place}"
        self.features, self.operator = layer.features, layer.operator
        self.books = layer.shape[0] if layer.operator == "einsum" else 1
        self.names: list[str] = []
        self.squares: Float64 | None = None
        self.smoothing: NDArray[np.float32] | None = None
        self._bins = tuple(BinStatistics.empty(self.features) for _ in range(bins))
        self._mass = 0.0  # the summed weights of what `squares` is made of

    @property
    def shape(self) -> tuple[int, ...]:
        """The value as (rows, in), or of a convolution as (batch, in, places)."""
        return (0, 0, -1) if self.operator == "conv" else (-1, self.features)

    def add(self, found: NDArray[np.float32], bins: Many[int], weights: Float64) -> None:
        """A value of a batch, split by its sequences' bins. Rows of one sequence are adjacent.
        `weights` are those of the batch's rows, in H; a row may be several of the value's."""
        rows = (
            np.moveaxis(found, 1, -1).reshape(-1, self.features)
            if self.operator == "conv"
            else found
        )
        if self.smoothing is not None:
            rows = rows * self.smoothing
        for b, own in zip(bins, rows.reshape(len(bins), -1, self.features), strict=True):
            self._bins[b].add(own)
        if self.squares is not None:
            each = np.repeat(weights, len(rows) // len(weights))[:: self.books, None]
            self._mass += float(each.sum())
            root = np.sqrt(each)  # of both factors: a product with itself takes half the work
            for k in range(self.books):
                x = root * rows[k :: self.books]
                self.squares[k] += x.T @ x

    def statistics(self) -> LayerStatistics:
        if self.squares is None or not self._mass:
            return LayerStatistics(self._bins)
        mean = self.squares / self._mass
        return LayerStatistics(self._bins, mean if self.operator == "einsum" else mean[0])


def _watches(
    layers: Collection[Layer],
    hessian: set[str],
    smoothing: Mapping[str, NDArray[np.float32]],
    bins: int,
) -> list[_Watch]:
    """One for each value. Layers that read the same value share it and its smoothing."""
    found: dict[tuple[str, str, bool, int], _Watch] = {}
    for layer in layers:
        key = (layer.component, layer.input, layer.operator == "conv", layer.features)
        bins_here = 1 if layer.component in TIMELESS else bins
        watch = found.setdefault(key, _Watch(layer, len(found), bins_here))
        watch.names.append(layer.name)
        watch.smoothing = smoothing.get(layer.name)
        if layer.name in hessian and watch.squares is None:
            watch.squares = np.zeros((watch.books, watch.features, watch.features))
    return list(found.values())


class _ObservedSession(Session):
    """A component whose graph also gives the watched values. `replay` tells it the bins of a call,
    and the weights of its rows."""

    def __init__(
        self, spec: GraphSpec, inside: Session, watches: list[_Watch], replay: _Replay
    ) -> None:
        super().__init__(spec, inside.provider)
        self._inside, self._watches, self._replay = inside, watches, replay

    def _run(self, inputs: Mapping[str, Array], outputs: list[str]) -> dict[str, Array]:
        found = self._inside.run(inputs, {*outputs, *(watch.tap for watch in self._watches)})
        for watch in self._watches:
            watch.add(found[watch.tap], self._replay.bins, self._replay.weights)
        return {name: found[name] for name in outputs}


class _Replay:
    """Runs trajectories through a bundle's model, as far as a watched component needs it."""

    def __init__(
        self, bundle: Bundle, watches: list[_Watch], folder: Path, frontier: float
    ) -> None:
        self.model, self.bins = EdgeModel.from_bundle(bundle), list[int]()
        self.weights, self._frontier = EVEN, frontier
        self._watched = {watch.component for watch in watches}
        for component in sorted(self._watched):
            own = [watch for watch in watches if watch.component == component]
            spec = graph_specs(bundle.config)[component]
            self.model.sessions[component] = _ObservedSession(
                spec, _with_outputs(bundle, spec, own, folder), own, self
            )

    def trajectory(self, trajectory: Trajectory, guided: bool) -> None:
        """The forward of every sample, and one call of each encoder and decoder."""
        samples = trajectory.samples(self.model.unconditional if guided else None)
        weights = np.where(trajectory.decided().any(axis=2), self._frontier, 1.0)
        for length in dict.fromkeys(sample.sequence.length for sample in samples):
            alike = [sample for sample in samples if sample.sequence.length == length]
            for start in range(0, len(alike), SEQUENCES):
                self._forward(alike[start : start + SEQUENCES], weights)
        self._media(trajectory)

    def _forward(self, samples: list[Sample], weights: Float64) -> None:
        """Samples of one length. `weights` (bins,R) are those of the generated rows."""
        model, layout = self.model, Layout.of(samples[0].sequence)
        head = f"{model.served(layout.modality)}_head"
        if not self._watched & {
            ComponentName.BACKBONE,
            head,
            *(f"embed_{modality}" for modality in model.config.modalities),
        }:
            return
        self.bins, self.weights = [sample.bin for sample in samples], EVEN
        embeddings = model.sequence_embeddings([sample.sequence for sample in samples])
        if not self._watched & {ComponentName.BACKBONE, head}:
            return
        predicted = layout.rows - model.config.logit_shift
        whole = np.ones((len(samples), samples[0].sequence.length))
        whole[:, predicted] = weights[self.bins]
        self.weights = whole.ravel()
        hidden = model.backbone(embeddings)
        if head in self._watched:
            self.weights = weights[self.bins].ravel()
            codes = np.stack(
                [np.concatenate(sample.x_1).reshape(len(layout.rows), -1) for sample in samples]
            )
            model.head(layout.modality, hidden[:, predicted], codes)

    def _decoder(self, modality: str) -> str:
        """The component of a modality's decoding that is watched; one call reaches all of them."""
        names = decoders(self.model.config, modality)
        return next((name for name in names if name in self._watched), names[0])

    def _media(self, trajectory: Trajectory) -> None:
        model = self.model
        calls: list[tuple[str, Callable[[Array], Array], Array]]
        calls = [
            (ComponentName.IMAGE_ENCODER, model.encode_image, picture)
            for picture in trajectory.pixels
        ]
        calls += [
            (ComponentName.AUDIO_ENCODER, model.encode_audio, clip) for clip in trajectory.log_mel
        ]
        for modality, tokens in self._finished(trajectory):
            decode = functools.partial(model.decode, modality)
            calls.append((self._decoder(modality), decode, tokens))
        self.bins, self.weights = [0], EVEN
        for component, call, array in calls:
            if component in self._watched:
                call(array)

    def _finished(self, trajectory: Trajectory) -> Iterator[tuple[str, Array]]:
        """(modality, tokens) of everything that was generated and is decoded. A published model's
        picture may be segments row by row, and is one whole."""
        config, sequence = self.model.config, trajectory.sequence
        if config.network == "unified":
            modality = Layout.of(sequence).modality
            if modality != "text":
                yield modality, self.model.image_grid(trajectory.finished)
            return
        for index, tokens in zip(sequence.generated(), trajectory.finished, strict=True):
            modality = sequence.segments[index].modality
            if modality == "text":
                continue
            if not config.mixes:
                yield modality, tokens
            else:
                ids = with_a_code(modality, tokens, config)
                yield modality, np.asarray(content(modality, ids, config).value)


def _with_outputs(bundle: Bundle, spec: GraphSpec, watches: list[_Watch], folder: Path) -> Session:
    """A component's graph with the watched values as outputs, loaded by the bundle's own
    runtime."""
    graph = load_graph(bundle, spec.name)
    values = {
        value.name: value
        for value in (*graph.graph.inputs, *(v for node in graph.graph for v in node.outputs))
    }
    for watch in watches:
        tap(graph.graph, watch.tap, values[watch.value], watch.shape)
    file = folder / f"{spec.name}.onnx"
    save_next_to_weights(bundle, graph, file)
    more = tuple(TensorSpec(watch.tap, "float32", _dims(watch)) for watch in watches)
    wider = GraphSpec(spec.name, spec.inputs, (*spec.outputs, *more), spec.states)
    return runtime(bundle.manifest.components[spec.name].format).load(spec.name, file, wider)


def _dims(watch: _Watch) -> tuple[int | Dim, ...]:
    free = [Dim(f"{watch.tap} axis {axis}", 0, MOST) for axis in range(3)]
    return (
        (free[0], watch.features, free[2])
        if watch.operator == "conv"
        else (free[0], watch.features)
    )

"""A calibration set on disk: sequences at times t out of the model's own trajectories, and where
they came from.

A folder with `provenance.json` (CalibrationRecord) and one safetensors file for each trajectory,
`trajectories/NNNNNN.safetensors`:
    t                  (bins,) float64: one moment out of each bin [b/bins, (b+1)/bins) of t, or the
                       last before it where the answer was finished early
    given/I/MODALITY   segment I of the sequence, which is given: ids (n,) or sub-codes (n,K), int64
    x_t/I/MODALITY     segment I, which is generated, at each moment: (bins, n[, K])
    x_1/I              what was predicted there: sub-codes that an autoregressive head reads
    finished/I         what it held at the end
    pixels/J           pictures and frames that the encoder read, (3,h,w) float32 in [-1,1]
    log_mel/J          clips that the encoder read, (n,frames_per_token,mels) float32
Together they replay what every component of the model reads, in both branches of guidance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.bundle import Bundle, bundle_identity
from nextomni_edge.checkpoints.directory import file_sha256
from nextomni_edge.errors import InputError
from nextomni_edge.formats.strict_json import read_dataclass, read_json
from nextomni_edge.formats.tensor_file import TensorFile
from nextomni_edge.modalities.table import MODALITIES
from nextomni_edge.tokens.chat import Kind
from nextomni_edge.tokens.sequence import Ids, Segment, Sequence

Float32 = NDArray[np.float32]
Branch = Literal["conditional", "unconditional"]

PROVENANCE: Final = "provenance.json"
FORMAT: Final = "nextomni-edge-calibration"
VERSION: Final = 2
MAX_BINS: Final = 4096
FEWEST_BINS: Final = 4  # a set of fewer says nothing of how the inputs change with t
MAX_PROVENANCE: Final = 64 * 2**20


@dataclass(frozen=True)
class TrajectoryRecord:
    """One trajectory's task, the modality of its answer, and the digest of its file."""

    task: str
    answer: Kind
    sha256: str


@dataclass(frozen=True)
class CalibrationRecord:
    """provenance.json.

    `model` is the SHA-256 of the bundle's manifest. `random` marks a set of random numbers for
    good. `prompts` is the list's SHA-256. `generation` has the settings by modality of the answer.
    `counts` has the samples of each task and branch in each bin.
    """

    format: Literal["nextomni-edge-calibration"]
    version: Literal[2]
    model: str
    random: bool
    seed: int
    bins: int
    prompts: str | None
    generation: dict[str, dict[str, float]]
    trajectories: tuple[TrajectoryRecord, ...] = ()
    counts: dict[str, dict[str, tuple[int, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.bins <= MAX_BINS:
            raise InputError(f"a calibration set of {self.bins} bins, expected 1 to {MAX_BINS}")


@dataclass(frozen=True)
class Sample:
    """A whole sequence at time t in one branch of guidance, and the x_1 (n[,K]) drawn there for
    each generated segment."""

    branch: Branch
    bin: int
    t: float
    sequence: Sequence
    x_1: tuple[Ids, ...]


@dataclass(frozen=True)
class Trajectory:
    """One generation: a moment of each bin (see the module). `sequence` has zeros in generated
    segments."""

    sequence: Sequence
    t: NDArray[np.float64]
    x_t: tuple[Ids, ...]
    x_1: tuple[Ids, ...]
    finished: tuple[Ids, ...]
    pixels: tuple[Float32, ...]
    log_mel: tuple[Float32, ...]

    def samples(self, without: Callable[[Sequence], list[Sequence]] | None) -> list[Sample]:
        """The sample of each bin. Where the generation was guided, its unconditional branch
        follows: the first of those that `without` makes of a sequence."""
        found = []
        for b, t in enumerate(self.t):
            sequence, x_1 = (
                self.at(tuple(x_t[b] for x_t in self.x_t)),
                tuple(x_1[b] for x_1 in self.x_1),
            )
            found.append(Sample("conditional", b, float(t), sequence, x_1))
            if without is not None:
                found.append(Sample("unconditional", b, float(t), without(sequence)[0], x_1))
        return found

    def at(self, tokens: tuple[Ids, ...]) -> Sequence:
        """The sequence with its generated segments holding the given tokens."""
        sequence = self.sequence
        for index, held in zip(sequence.generated(), tokens, strict=True):
            sequence = sequence.with_tokens(index, held)
        return sequence

    def decided(self) -> NDArray[np.bool_]:
        """The frontier: the sub-codes (bins,R,K) of all generated rows that hold another symbol at
        the next moment, or at the end."""
        changed = []
        for x_t, end in zip(self.x_t, self.finished, strict=True):
            later = np.concatenate([x_t[1:], end[None]])
            changed.append((x_t != later).reshape(*x_t.shape[:2], -1))
        return np.concatenate(changed, axis=1)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The tensors of the trajectory's file."""
        found: dict[str, NDArray[Any]] = {"t": self.t}
        for name, media in (("pixels", self.pixels), ("log_mel", self.log_mel)):
            found |= {f"{name}/{index}": each for index, each in enumerate(media)}
        for index, segment in enumerate(self.sequence.segments):
            if segment.frozen:
                found[f"given/{index}/{segment.modality}"] = segment.tokens
        for place, index in enumerate(self.sequence.generated()):
            found[f"x_t/{index}/{self.sequence.segments[index].modality}"] = self.x_t[place]
            found[f"x_1/{index}"], found[f"finished/{index}"] = (
                self.x_1[place],
                self.finished[place],
            )
        return found


def read_trajectory(path: Path) -> Trajectory:
    """Read one trajectory's file. InputError: it is no such file."""
    file = TensorFile(path)
    arrays = {name: file.tensor(name) for name in file.names()}
    try:
        return _trajectory(arrays)
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"{path}: not a trajectory of a calibration set ({error}); calibrate again"
        ) from error


def _trajectory(arrays: Mapping[str, NDArray[Any]]) -> Trajectory:
    segments: dict[int, Segment] = {}
    for name, array in arrays.items():
        part, *place = name.split("/")
        if part == "given":
            segments[int(place[0])] = Segment(_modality(place[1]), array)
        elif part == "x_t":
            segments[int(place[0])] = Segment(
                _modality(place[1]), np.zeros_like(array[0]), frozen=False
            )
    sequence = Sequence(tuple(segments[index] for index in range(len(segments))))
    generated = sequence.generated()
    x_t = tuple(arrays[f"x_t/{index}/{sequence.segments[index].modality}"] for index in generated)
    x_1, finished = (
        tuple(arrays[f"{part}/{index}"] for index in generated) for part in ("x_1", "finished")
    )
    pixels, log_mel = (_numbered(arrays, part) for part in ("pixels", "log_mel"))
    t: NDArray[np.float64] = arrays["t"]
    for now, then, end in zip(x_t, x_1, finished, strict=True):
        if now.shape != then.shape or now.shape != (len(t), *end.shape):
            raise ValueError(
                f"tokens of shapes {now.shape}, {then.shape} and {end.shape} for {len(t)} moments"
            )
    return Trajectory(sequence, t, x_t, x_1, finished, pixels, log_mel)


def _numbered(arrays: Mapping[str, NDArray[Any]], part: str) -> tuple[NDArray[Any], ...]:
    count = sum(name.startswith(f"{part}/") for name in arrays)
    return tuple(arrays[f"{part}/{index}"] for index in range(count))


def _modality(name: str) -> str:
    if name not in MODALITIES or MODALITIES[name].frames_of:
        raise ValueError(f"modality {name!r}")
    return name


class CalibrationSet:
    """A checked calibration set; trajectories are read one at a time."""

    def __init__(self, path: Path, record: CalibrationRecord) -> None:
        self.path, self.record = path, record

    @classmethod
    def open(cls, path: Path) -> CalibrationSet:
        """Read and check a set. InputError: the folder is no calibration set, or one of its files
        has changed."""
        if not (path / PROVENANCE).is_file():
            raise InputError(
                f"{path}: no {PROVENANCE} inside; expected a calibration set, as `nextomni-edge"
                " calibrate` writes it"
            )
        data = read_json(path / PROVENANCE, MAX_PROVENANCE)
        if not isinstance(data, dict) or (data.get("format"), data.get("version")) != (
            FORMAT,
            VERSION,
        ):
            raise InputError(
                f"{path / PROVENANCE}: expected {FORMAT} version {VERSION}; calibrate again"
            )
        found = cls(path, read_dataclass(CalibrationRecord, data, str(path / PROVENANCE)))
        for index, trajectory in enumerate(found.record.trajectories):
            if file_sha256(found.file(index)) != trajectory.sha256:
                raise InputError(
                    f"{found.file(index)}: not the file that was written; calibrate again"
                )
        return found

    @property
    def sha256(self) -> str:
        """The digest of the provenance, which holds the digest of every trajectory."""
        return file_sha256(self.path / PROVENANCE)

    def __len__(self) -> int:
        return len(self.record.trajectories)

    def file(self, index: int) -> Path:
        """Where a trajectory stands."""
        return self.path / trajectory_name(index)

    def trajectories(self) -> Iterator[tuple[TrajectoryRecord, Trajectory]]:
        """Every trajectory, in order, one in memory at a time."""
        for index, record in enumerate(self.record.trajectories):
            yield record, read_trajectory(self.file(index))

    def spread(self, count: int) -> list[int]:
        """Indices of at most `count` trajectories, ascending: equally many of each task where
        possible, spread over the task's."""
        by_task: dict[str, list[int]] = {}
        for index, record in enumerate(self.record.trajectories):
            by_task.setdefault(record.task, []).append(index)
        shares = dict.fromkeys(by_task, 0)
        for _ in range(min(count, len(self))):
            fewest = min(
                (task for task in by_task if shares[task] < len(by_task[task])),
                key=shares.__getitem__,
            )
            shares[fewest] += 1
        return sorted(
            own[place * len(own) // shares[task]]
            for task, own in by_task.items()
            for place in range(shares[task])
        )

    def guided(self, record: TrajectoryRecord) -> bool:
        """Whether a trajectory has an unconditional branch."""
        return self.record.generation[record.answer]["guidance"] > 0

    def require(self, bundle: Bundle, bins: int = FEWEST_BINS) -> CalibrationSet:
        """The set itself. InputError: another model made it, or it has fewer than `bins` bins."""
        found = bundle_identity(bundle.path)
        if self.record.model != found:
            raise InputError(
                f"{self.path}: made with another bundle ({self.record.model[:12]}, {bundle.path} is"
                f" {found[:12]}); run `nextomni-edge calibrate {bundle.path}`"
            )
        if self.record.bins < bins:
            raise InputError(
                f"{self.path}: {self.record.bins} bins of the flow time, expected at least {bins};"
                f" calibrate with --bins {bins}"
            )
        return self


def trajectory_name(index: int) -> str:
    """A trajectory's file, relative to the set."""
    return f"trajectories/{index:06d}.safetensors"

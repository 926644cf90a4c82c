"""Loading and sampling of the emoji data for training: pictures, motions and speech clips as numpy
batches.

Without a random generator everything is canonical and deterministic; with one it is augmented. No
torch in here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from catalog import DataError
from poses import Floats, Ints, Motion, affine, grid, motion_poses
from safetensors import SafetensorError, safe_open

DRAWN = 64
"""Side of the stored drawings in pixels."""
RATE = 16_000
SAMPLES = 20_480
LEAD = 640

KEPT = 24


@dataclass(frozen=True)
class Augmentation:
    """How far an augmented sample may stray from the canonical one; zero (or 1.0 for ranges) turns
    a knob off.

    Picture knobs are in pixels of a 32-pixel picture, degrees, or shares; speech knobs in seconds
    or shares.
    """

    shift: float = 2.0
    scale: tuple[float, float] = (0.85, 1.1)
    rotation: float = 12.0
    # White stays white under both: they change the ink (1 - x), because a tinted ground never
    # occurs in the test.
    brightness: float = 0.12
    colour: float = 0.12
    # Mirrors any drawing: none of the concepts is a letter, a digit or a pair that differs by its
    # side.
    flip: float = 0.25
    gain: tuple[float, float] = (0.35, 1.0)
    delay: float = 0.03
    # Resampling: moves pace, pitch and formants together, a cheap stand-in for speakers that
    # training never hears.
    pace: tuple[float, float] = (0.87, 1.16)
    noise: float = 0.004


def _uniform(
    rng: np.random.Generator, bounds: tuple[float, float], size: tuple[int, ...]
) -> Floats:
    return rng.uniform(bounds[0], bounds[1], size).astype(np.float32)


def _gather(source: Floats, rows: Ints, x: Floats, y: Floats) -> Floats:
    """Bilinear look-up in source (N,S,S,3) at positions x, y (B,P) in pixels of it, clamped to its
    edge: (B,P,3)."""
    side = source.shape[1]
    flat = source.reshape(-1, 3)
    x = np.clip(x, 0, side - 1.001)
    y = np.clip(y, 0, side - 1.001)
    column, row = x.astype(np.int64), y.astype(np.int64)
    x -= column
    y -= row
    at = rows[:, None] * (side * side) + row * side + column
    right, down = x[..., None], y[..., None]
    top = flat.take(at, axis=0)
    top += (flat.take(at + 1, axis=0) - top) * right
    bottom = flat.take(at + side, axis=0)
    bottom += (flat.take(at + side + 1, axis=0) - bottom) * right
    top += (bottom - top) * down
    found: Floats = top
    return found


def _box(pictures: Floats, side: int) -> Floats:
    """Box-filter (B,S,S,3) to (B,side,side,3), S a multiple of side."""
    step = pictures.shape[1] // side
    filtered: Floats = pictures.reshape(len(pictures), side, step, side, step, 3).mean(
        axis=(2, 4), dtype=np.float32
    )
    return filtered


def _channels_first(pictures: Floats) -> Floats:
    return np.ascontiguousarray(np.moveaxis(pictures, -1, -3))


def _check_size(size: int) -> int:
    if size <= 0 or DRAWN % size:
        raise DataError(f"a picture's size must divide {DRAWN}, not {size}")
    return size


class Emoji:
    """The data set in memory. Rows of drawings and of clips carry concept, artist or voice, and
    whether they are held out."""

    def __init__(
        self,
        drawings: dict[str, npt.NDArray[Any]],
        speech: dict[str, npt.NDArray[Any]],
        names: dict[str, list[str]],
    ):
        """Take checked arrays as `load` reads them; `names` has concepts, artists and voices."""
        self.concepts, self.artists, self.voices = (
            names["concepts"],
            names["artists"],
            names["voices"],
        )
        self.drawing_concept: Ints = drawings["concept"]
        self.drawing_artist: Ints = drawings["artist"]
        self.drawing_heldout: npt.NDArray[np.bool_] = drawings["heldout"].astype(bool)
        self.clip_concept: Ints = speech["concept"]
        self.clip_voice: Ints = speech["voice"]
        self.clip_heldout: npt.NDArray[np.bool_] = speech["heldout"].astype(bool)
        self._waves: npt.NDArray[np.int16] = speech["waveform"]
        # A clip ends where its last sound is: augmentation must not push that out of the window.
        self._ends: Ints = SAMPLES - np.argmax(self._waves[:, ::-1] != 0, axis=1)
        rgba = drawings["rgba"].astype(np.float32) / np.float32(255)
        self._drawn: Floats = (rgba[..., :3] * rgba[..., 3:] + (1 - rgba[..., 3:])).astype(
            np.float32
        )
        self._filtered: dict[int, Floats] = {}
        self._kept: dict[tuple[object, ...], Floats] = {}
        # Drawn once: fresh noise for every sample costs more than all other augmentation together.
        self._hiss: Floats = np.random.default_rng(0).standard_normal(1 << 18, dtype=np.float32)

    @classmethod
    def load(cls, folder: Path | str) -> Emoji:
        """Read a folder made by prepare.py; raises DataError in one line if it is not one."""
        folder = Path(folder)
        drawings, pictured = _read(folder / "drawings.safetensors", "artists", _DRAWINGS)
        speech, spoken = _read(folder / "speech.safetensors", "voices", _SPEECH)
        if pictured["concepts"] != spoken["concepts"]:
            raise DataError(
                f"{folder}: drawings and speech are of different concepts; run prepare.py again"
            )
        return cls(drawings, speech, {**pictured, **spoken})

    def drawings(self, concept: int | None = None, heldout: bool = False) -> Ints:
        """Indices of the drawings for training (or the held-out ones), of one concept or of all."""
        chosen = self.drawing_heldout == heldout
        return np.flatnonzero(
            chosen if concept is None else chosen & (self.drawing_concept == concept)
        )

    def clips_of(self, concept: int | None = None, heldout: bool = False) -> Ints:
        """Indices of the clips for training (or the held-out ones), of one concept or of all."""
        chosen = self.clip_heldout == heldout
        return np.flatnonzero(
            chosen if concept is None else chosen & (self.clip_concept == concept)
        )

    def picture(self, index: int, rng: np.random.Generator | None = None, size: int = 32) -> Floats:
        """One picture on white, float32 (3,size,size) in [0,1]."""
        picture: Floats = self.pictures(np.array([index]), rng, size)[0]
        return picture

    def pictures(
        self,
        indices: npt.ArrayLike,
        rng: np.random.Generator | None = None,
        size: int = 32,
        knobs: Augmentation = Augmentation(),
    ) -> Floats:
        """Pictures on white, float32 (B,3,size,size) in [0,1]: canonical without `rng`, else
        augmented."""
        rows = np.asarray(indices, np.int64)
        _check_size(size)
        if rng is None:
            still: Floats = self._keep((size,), lambda: _channels_first(_box(self._drawn, size)))[
                rows
            ]
            return still
        pose = self._pose(len(rows), rng, knobs)
        return self._drawn_as(rows, pose, self._ink(len(rows), rng, knobs), size)

    @staticmethod
    def _pose(count: int, rng: np.random.Generator, knobs: Augmentation) -> tuple[Floats, Floats]:
        """Another place, size, turn and sometimes side for each drawing, as `_affine` gives it."""
        turn = _uniform(rng, (-knobs.rotation, knobs.rotation), (count,))
        scale = _uniform(rng, knobs.scale, (count,))
        shift = _uniform(rng, (-knobs.shift / 16, knobs.shift / 16), (count, 2))
        return affine(turn, scale, shift, rng.random(count) < knobs.flip)

    @staticmethod
    def _ink(count: int, rng: np.random.Generator, knobs: Augmentation) -> Floats:
        """A factor on the ink of each drawing (B,1,3)."""
        ink: Floats = _uniform(rng, (1 - knobs.brightness, 1 + knobs.brightness), (count, 1, 1))
        tint: Floats = ink * _uniform(rng, (1 - knobs.colour, 1 + knobs.colour), (count, 1, 3))
        return tint

    def scaled(self, indices: npt.ArrayLike, factor: float, size: int = 32) -> Floats:
        """The drawings bigger (factor > 1, cut at the edge) or smaller, float32 (B,3,size,size)."""
        if not 0.1 <= factor <= 10:
            raise DataError(f"a scale factor lies between 0.1 and 10, not {factor}")
        still = np.zeros(1, np.float32)
        pose = Motion(still, still + np.float32(factor), np.zeros((1, 2), np.float32))
        drawn = self._keep((factor, size), lambda: self._posed(pose, size))
        chosen: Floats = drawn[np.asarray(indices, np.int64), 0]
        return chosen

    def moving(
        self,
        indices: npt.ArrayLike,
        kind: str,
        rng: np.random.Generator,
        frames: int = 4,
        size: int = 32,
        knobs: Augmentation = Augmentation(),
    ) -> Floats:
        """As `motion`, of drawings that are augmented first, each alike in all its frames."""
        rows = np.asarray(indices, np.int64)
        poses = motion_poses(kind, frames)
        turned, moved = affine(poses.angle, poses.scale, poses.shift)
        matrix, offset = self._pose(len(rows), rng, knobs)
        both = np.einsum("bij,fjk->bfik", matrix, turned).reshape(-1, 2, 2)
        at = (np.einsum("bij,fj->bfi", matrix, moved) + offset[:, None]).reshape(-1, 2)
        ink = np.repeat(self._ink(len(rows), rng, knobs), frames, axis=0)
        drawn = self._drawn_as(np.repeat(rows, frames), (both, at), ink, size)
        return drawn.reshape(len(rows), frames, 3, size, size)

    def motion(self, indices: npt.ArrayLike, kind: str, frames: int = 4, size: int = 32) -> Floats:
        """The drawings under one of MOTIONS, float32 (B,frames,3,size,size): the text alone
        determines the video."""
        drawn = self._keep(
            (kind, frames, size), lambda: self._posed(motion_poses(kind, frames), size)
        )
        chosen: Floats = drawn[np.asarray(indices, np.int64)]
        return chosen

    def speech(self, index: int, rng: np.random.Generator | None = None) -> Floats:
        """One clip, float32 (20480,) in [-1,1] at 16 kHz."""
        clip: Floats = self.clips(np.array([index]), rng)[0]
        return clip

    def clips(
        self,
        indices: npt.ArrayLike,
        rng: np.random.Generator | None = None,
        knobs: Augmentation = Augmentation(),
    ) -> Floats:
        """Clips, float32 (B,20480) in [-1,1]: canonical without `rng`, else with another pace,
        delay, gain and light noise."""
        rows = np.asarray(indices, np.int64)
        waves: Floats = self._waves[rows].astype(np.float32) / np.float32(32767)
        if rng is None:
            return waves
        count = len(rows)
        ends = self._ends[rows].astype(np.float32)
        pace = np.maximum(_uniform(rng, knobs.pace, (count,)), ends / SAMPLES)
        delay = _uniform(rng, (-knobs.delay * RATE, knobs.delay * RATE), (count,))
        delay = np.clip(delay, -LEAD / pace, SAMPLES - ends / pace)
        at = (np.arange(SAMPLES, dtype=np.float32) - delay[:, None]) * pace[:, None]
        at = np.clip(at, 0, SAMPLES)
        low = at.astype(np.int32)
        at -= low
        low += np.arange(count, dtype=np.int32)[:, None] * (SAMPLES + 2)
        # silence behind the end, and a right neighbour for it
        waves = np.pad(waves, ((0, 0), (0, 2)))
        moved = waves.take(low)
        moved += (waves.take(low + 1) - moved) * at
        moved *= _uniform(rng, knobs.gain, (count, 1))
        hiss = _uniform(rng, (0, knobs.noise), (count, 1))
        starts = rng.integers(0, len(self._hiss) - SAMPLES, count)
        moved += np.stack([self._hiss[start : start + SAMPLES] for start in starts]) * hiss
        heard: Floats = np.clip(moved, -1, 1)
        return heard

    def _drawn_as(self, rows: Ints, pose: tuple[Floats, Floats], ink: Floats, size: int) -> Floats:
        """Drawings in poses, with so much ink: (B,3,size,size)."""
        warped = self._warp_filtered(rows, pose, size)
        pictures = np.clip(1 - (1 - warped) * ink, 0, 1).reshape(len(rows), size, size, 3)
        return _channels_first(pictures)

    def _warp_filtered(self, rows: Ints, pose: tuple[Floats, Floats], size: int) -> Floats:
        """Sample box-prefiltered drawings under an affine map, (B,size*size,3): one look-up per
        pixel instead of (64/size)²."""
        width = DRAWN // size
        if size not in self._filtered:
            padded = np.pad(
                self._drawn, ((0, 0), (width, width), (width, width), (0, 0)), constant_values=1
            )
            window = np.lib.stride_tricks.sliding_window_view(padded, (width, width), axis=(1, 2))
            self._filtered[size] = window.mean(axis=(-2, -1), dtype=np.float32)
        matrix, offset = pose
        points = grid(size) @ matrix.transpose(0, 2, 1) + offset[:, None]
        # Entry k of the filtered axis is the mean of pixels k - width .. k - 1, so the picture's
        # middle lies at (64 + width) / 2.
        points *= DRAWN / 2
        points += (DRAWN + width) / 2
        return _gather(self._filtered[size], rows, points[..., 0], points[..., 1])

    def _keep(self, key: tuple[object, ...], make: Callable[[], Floats]) -> Floats:
        """Deterministic pictures of all drawings, made at their first use (some 20 MB per motion of
        4 frames)."""
        if key not in self._kept:
            if len(self._kept) >= KEPT:
                self._kept.clear()
            self._kept[key] = make()
        return self._kept[key]

    def _posed(self, pose: Motion, size: int) -> Floats:
        """Every drawing in each pose, supersampled at 64 pixels: (N,F,3,size,size)."""
        _check_size(size)
        matrix, offset = affine(pose.angle, pose.scale, pose.shift)
        points = grid(DRAWN) @ matrix.transpose(0, 2, 1) + offset[:, None]
        points = points * (DRAWN / 2) + (DRAWN + 1) / 2
        result = np.empty((len(self._drawn), len(pose.angle), 3, size, size), np.float32)
        for start in range(0, len(self._drawn), 32):
            drawn = self._drawn[start : start + 32]
            padded = np.pad(drawn, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1)
            for frame, where in enumerate(points):
                x, y = (
                    np.broadcast_to(where[None, :, axis], (len(drawn), DRAWN * DRAWN))
                    for axis in (0, 1)
                )
                picture = _gather(padded, np.arange(len(drawn)), x, y).reshape(-1, DRAWN, DRAWN, 3)
                result[start : start + 32, frame] = np.moveaxis(_box(picture, size), -1, 1)
        return np.clip(result, 0, 1, out=result)


_DRAWINGS = {
    "rgba": ("uint8", (DRAWN, DRAWN, 4)),
    "concept": ("int64", ()),
    "artist": ("int64", ()),
    "heldout": ("uint8", ()),
}
_SPEECH = {
    "waveform": ("int16", (SAMPLES,)),
    "concept": ("int64", ()),
    "voice": ("int64", ()),
    "heldout": ("uint8", ()),
}


def _read(
    path: Path, labels: str, layout: dict[str, tuple[str, tuple[int, ...]]]
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, list[str]]]:
    """Read one data file and its name lists, refusing missing tensors, other dtypes and other
    shapes."""
    if not path.exists():
        raise DataError(f"{path} is missing; make it with prepare.py")
    try:
        with safe_open(str(path), framework="np") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in layout}
        names = {key: list(json.loads(metadata[key])) for key in (labels, "concepts")}
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"{path} is not a data file of prepare.py: {error}") from None
    rows = len(tensors["concept"])
    for name, (dtype, shape) in layout.items():
        if tensors[name].dtype != dtype or tensors[name].shape != (rows, *shape):
            raise DataError(
                f"{path}: {name} is {tensors[name].dtype} {tensors[name].shape}, not {dtype}"
                f" {(rows, *shape)}"
            )
    for name, known in (("concept", names["concepts"]), (labels[:-1], names[labels])):
        if rows and not 0 <= tensors[name].min() <= tensors[name].max() < len(known):
            raise DataError(f"{path}: {name} has numbers outside its list of {len(known)} names")
    return tensors, names

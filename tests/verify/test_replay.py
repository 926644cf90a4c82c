"""What two runs with the same tokens decode to: samples in float32; in float16, where phases turn,
what is heard."""

from __future__ import annotations

import numpy as np
import pytest

from nextomni_edge.verify.comparison import TaskResult
from nextomni_edge.verify.replay import compare_runs
from nextomni_edge.verify.trajectory import Trajectory
from tests.tiny import tiny_config

AUDIO = tiny_config().audio
TIME = np.arange(AUDIO.sample_rate // 4) / AUDIO.sample_rate


def tone(hertz: float, phase: float = 0.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * TIME + phase)).astype(np.float32)


def sounding(wave: np.ndarray) -> Trajectory:
    """A run of one step whose sound is this one."""
    tokens = np.zeros((1, 2), np.int64)
    return Trajectory(
        (tokens[None],), (tokens[None],), (np.full((1, 1, 2), np.inf),), (tokens,), (wave,)
    )


@pytest.mark.parametrize(
    ("arithmetic", "heard", "said"),
    [
        ("float32", tone(440), None),
        ("float32", tone(440, phase=3.0), "of its scale"),
        ("float16", tone(440, phase=3.0), None),
        ("float16", tone(660), "in its log-mel"),
        ("float16", np.full_like(tone(440), np.nan), "in its log-mel"),
    ],
)
def test_a_sound_is_compared_by_what_its_arithmetic_promises(
    arithmetic: str, heard: np.ndarray, said: str | None
) -> None:
    result = TaskResult(arithmetic=arithmetic)  # type: ignore[arg-type]
    failures = compare_runs("text-to-audio", sounding(heard), sounding(tone(440)), result, AUDIO)
    assert failures == [] if said is None else len(failures) == 1 and said in failures[0]

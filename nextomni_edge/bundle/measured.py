"""The results of `report` on a variant, in its manifest: JSON that is read as strictly as the
rest."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Mean:
    """A mean over `n` trajectories and half of its 95 % interval; None where there is none."""

    mean: float | None
    ci95: float | None
    n: int

    def __str__(self) -> str:
        if self.mean is None:
            return "–"
        return f"{self.mean:.3g}" + ("" if self.ci95 is None else f" ± {self.ci95:.2g}")


@dataclass(frozen=True)
class Estimate:
    """A share of right answers out of `n`, and its 95 % interval, from and to."""

    value: float
    n: int
    ci95: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.value:.3f} ({' – '.join(f'{bound:.3f}' for bound in self.ci95)})"


@dataclass(frozen=True)
class InBin:
    """Agreement in one bin [from, to) of the flow time."""

    t: tuple[float, ...]
    kl: Mean
    same_argmax: Mean


@dataclass(frozen=True)
class Agreement:
    """KL(parent ‖ variant) of p_{1|t} in nats per draw, the share of draws with the same likeliest
    symbol, the share of each sub-code's draws that flip to another, and that share among what is
    decided next."""

    kl: Mean
    same_argmax: Mean
    by_t: tuple[InBin, ...]
    flips_by_code: tuple[Mean, ...] = ()
    flips_when_decided: Mean | None = None


@dataclass(frozen=True)
class Tokens:
    """For whole generations from the same seeds, the share of symbols and of generations that end
    the same."""

    same: Mean
    whole: Mean


@dataclass(frozen=True)
class Generation:
    """Median seconds of a whole generation, and peak bytes of a process that only runs it (None:
    the machine has no counter)."""

    seconds: float
    peak_bytes: int | None


@dataclass(frozen=True)
class Cost:
    """A bundle by name and identity: bytes of all files and of the weights, median seconds of a
    backbone forward by its rows, whole generations by kind of answer, and the quality of each task
    where an evaluation's file was given."""

    name: str
    identity: str
    bytes: int
    weight_bytes: int
    forward_seconds: dict[str, float]
    generation: dict[str, Generation]
    quality: dict[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """A variant compared with its parent. `agreement` is by modality, `tokens` by task.
    `trajectories` counts samples by task, branch of guidance and bin. `prompts` is the SHA-256 of
    the held-out list. `machine` took the times, in turn, `rounds` of each."""

    parent: Cost
    variant: Cost
    agreement: dict[str, Agreement]
    tokens: dict[str, Tokens]
    trajectories: dict[str, dict[str, tuple[int, ...]]]
    prompts: str | None
    bins: int
    seed: int
    rounds: int
    machine: str

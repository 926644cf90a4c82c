"""The probability paths: what the sampler and the training know of one, and the table of all
(METHOD 9)."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol

from nextomni_edge.config import PathConfig
from nextomni_edge.errors import InputError
from nextomni_edge.flow.arrays import Array

if TYPE_CHECKING:
    from typing_extensions import Self


class Path(Protocol):
    """
    Where x_t comes from, and how it moves toward x_1, over one vocabulary of V symbols.

    A modality has one path for each of the K sub-codes of its tokens. Ids are (N,) int64 of numpy
    or torch, one row each; results are in the library of the arguments. Every draw is given as a
    `uniform` (N,) in [0, 1), so that a path is a pure function and its noise stays counter-based.

    A path says how single rows jump, each on its own. Which rows take part in a step, and whether
    they jump at all, is the step's kind: see `generate.stepper.Stepper`.
    """

    rules: ClassVar[tuple[str, ...]]
    """The names of its step rules, as `--stepper` takes them; the first is the default."""

    reads_table: ClassVar[bool]
    """Whether `of` needs the modality's metric table, or is given None."""

    vocabulary: int

    @classmethod
    def of(cls, settings: PathConfig, vocabulary: int, table: Array, kept_bytes: int = 0) -> Self:
        """The path that the config describes, in its first rule. `table` is (V, D) float or None;
        within `kept_bytes` a path may keep what its steps compute."""
        ...

    def ruled(self, rule: str, keep_rows: bool = True) -> Self:
        """The same path, stepped by one of its `rules`; without `keep_rows` it keeps nothing from
        one step to the next. UsageError for a rule that it does not have."""
        ...

    def start(self, uniform: Array) -> Array:
        """x_0 ~ p_0, without x_1: `uniform` (N,) → ids (N,). A mask source gives the mask
        everywhere."""
        ...

    def corrupt(self, x_1: Array, t: float | Array, uniform: Array) -> Array:
        """x_t ~ p_t(· | x_1), what training shows the network: a time, or times (N,) → ids (N,)."""
        ...

    def idle(self, t: float, h: float) -> bool:
        """Whether a step from t to t+h moves no row, whatever x_t and x_1 are."""
        ...

    def settled(self, x_t: Array, x_1: Array, greedy: bool) -> Array:
        """Rows (N,) bool that no later step moves. `greedy`: x_1 is the argmax, which stays as long
        as no token changes. With a mask source a row out of the mask is settled in any case."""
        ...

    def jump_probability(self, x_t: Array, x_1: Array, t: float, h: float) -> Array:
        """The probability (N,) float64 that a row leaves x_t in the step from t to t+h."""
        ...

    def may_jump(self, x_t: Array, x_1: Array, t: float, h: float, uniform_jump: Array) -> Array:
        """Rows (N,) bool that `step` may move, by `jump_probability` or a cheap bound above it.
        Never False where `step` moves the row."""
        ...

    def step(
        self,
        x_t: Array,
        x_1: Array,
        t: float,
        h: float,
        uniform_jump: Array,
        uniform_target: Array,
        last: bool = False,
    ) -> Array:
        """x_{t+h} (N,): a row jumps where `uniform_jump` is below `jump_probability`, to a target
        that `uniform_target` draws. After the `last` step every row is where the path ends.
        InputError for ids outside the vocabulary or unequal shapes, UsageError for times outside
        [0, 1]."""
        ...


# Adding a path is its file and one line here: a config's name for it (`flow.<modality>.kind`) →
# "module:class".
PATHS: Mapping[str, str] = {
    "metric": "nextomni_edge.flow.metric:MetricPath",
    "mixture": "nextomni_edge.flow.mixture:MixturePath",
}  # fmt: skip
COMMIT = "commit"  # the stepper that no path is a rule of: see generate/unmask.py


def path_kind(settings: PathConfig) -> type[Path]:
    """The class of the path that a config names. InputError for a name that is not in PATHS."""
    if settings.kind not in PATHS:
        raise InputError(
            f"model config: a flow's kind is {settings.kind!r}, expected one of {', '.join(PATHS)}"
        )
    kind: type[Path] = pkgutil.resolve_name(PATHS[settings.kind])
    return kind


def step_names() -> list[str]:
    """The names of all steps: every path's rules, and the commit."""
    kinds: list[type[Path]] = [pkgutil.resolve_name(name) for name in PATHS.values()]
    return [*dict.fromkeys(rule for kind in kinds for rule in kind.rules), COMMIT]


def steppers_of(settings: PathConfig) -> tuple[str, ...]:
    """The names of the steps that a modality can be sampled with, the default first."""
    rules = path_kind(settings).rules
    return rules if settings.commit is None else (COMMIT, *rules)


def paths_of(
    settings: PathConfig,
    codebooks: int,
    entries: int,
    tables: Callable[[], Array],
    kept_bytes: int = 0,
) -> tuple[Path, ...]:
    """One path for each of K = `codebooks` sub-codes of `entries` symbols. `tables` gives the
    metric tables (K, C, D) and is called only by a path that reads them. `kept_bytes` are for all
    paths together."""
    kind = path_kind(settings)
    of_code = tables() if kind.reads_table else [None] * codebooks
    return tuple(kind.of(settings, entries, table, kept_bytes // codebooks) for table in of_code)

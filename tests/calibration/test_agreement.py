"""KL and argmax agreement at every t, by hand and between bundles."""

from __future__ import annotations

import numpy as np
import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.calibration.data.collect import Planned, collect
from nextomni_edge.calibration.data.samples import CalibrationSet, read_trajectory
from nextomni_edge.calibration.report.agreement import (
    Agreement,
    Mean,
    agreements,
    compare,
    predictions,
)
from nextomni_edge.generate.model import EdgeModel
from tests.calibration.lines import BINS


@pytest.fixture(scope="module")
def calibration(
    bundle: Bundle, model: EdgeModel, tmp_path_factory: pytest.TempPathFactory
) -> CalibrationSet:
    return collect(
        bundle,
        Planned(model, bundle.manifest.components),
        tmp_path_factory.mktemp("sets") / "set",
        bins=BINS,
    )


class Spoilt(EdgeModel):
    """A model whose logits of one modality are scaled: less sure, of the same symbols."""

    def head(self, modality, hidden, codes):  # type: ignore[no-untyped-def]
        return super().head(modality, hidden, codes) * np.float32(
            0.5 if modality == "image" else 1.0
        )


def test_a_model_agrees_with_itself_and_what_is_spoilt_is_seen_where_it_is(
    bundle: Bundle, model: EdgeModel, calibration: CalibrationSet
) -> None:
    spoilt = Spoilt.from_bundle(bundle)
    same, other = agreements(model, [model, spoilt], calibration)
    assert (
        same.kl.shape == (len(calibration), BINS)
        and (same.kl == 0).all()
        and (same.same_argmax == 1).all()
    )
    assert (other.of("text").kl == 0).all() and (other.of("audio").kl == 0).all()
    assert (other.of("image").kl > 0).all() and (other.same_argmax == 1).all()
    assert other.divergence.n == len(calibration) and other.divergence.value == pytest.approx(
        other.kl.mean()
    )
    assert [kl.value for kl, _ in other.by_bin()] == pytest.approx(other.kl.mean(axis=0))


def test_the_prediction_is_the_guided_one_that_the_loop_draws_from(
    model: EdgeModel, calibration: CalibrationSet
) -> None:
    """At a temperature near 0 the x_1 of the record would be this argmax; here a text trajectory,
    which is greedy, shows it."""
    index = next(
        i for i, record in enumerate(calibration.record.trajectories) if record.answer == "text"
    )
    trajectory = read_trajectory(calibration.file(index))
    assert (predictions(model, trajectory, 0.0).argmax(axis=2) == trajectory.x_1[0]).all()
    image = next(
        i for i, record in enumerate(calibration.record.trajectories) if record.answer == "image"
    )
    trajectory = read_trajectory(calibration.file(image))
    plain, guided = (predictions(model, trajectory, guidance) for guidance in (0.0, 2.0))
    assert plain.shape == guided.shape and not np.allclose(plain, guided)


def test_kl_is_that_of_the_definition() -> None:
    p, q = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.3, 0.6])
    ours, theirs = (np.log(np.stack([[x, p]])).astype(np.float32) + 5 for x in (p, q))
    found = compare(ours, theirs, np.ones((1, 2, 1), bool))
    kl, same = found.kl, found.same_argmax
    assert kl == pytest.approx([(p * np.log(p / q)).sum() / 2], rel=1e-5) and same == [0.5]


def test_flips_are_counted_by_sub_code() -> None:
    """Two bins, three rows of two sub-codes, of which only the second flips, in one row of each."""
    ours = np.zeros((2, 6, 4), np.float32)
    ours[..., 1] = 1.0
    theirs = ours.copy()
    theirs[:, 3, 2] = 2.0
    decided = np.zeros((2, 3, 2), bool)
    decided[0, 1] = decided[1, 2, 0] = True
    found = compare(ours, theirs, decided)
    np.testing.assert_allclose(found.same_by_code, [1.0, 2 / 3])
    np.testing.assert_allclose(found.same_argmax, [5 / 6, 5 / 6])
    assert found.decided == pytest.approx(1 / 3)
    none, even = np.full(2, np.nan), np.zeros((2, 2))
    both = Agreement(("audio", "audio"), even, even, (found.same_by_code, np.ones(2)), none)
    assert both.flips_when_decided().to_json() == {"mean": None, "ci95": None, "n": 0}
    assert [flips.value for flips in both.flips_by_code()] == pytest.approx([0.0, 1 / 6])
    mixed = Agreement(
        ("text", "audio"), even, even, (np.ones(1), np.ones(2)), np.array([np.nan, 1])
    )
    assert mixed.flips_when_decided().value == 1.0
    assert mixed.flips_by_code() == [] and len(mixed.of("text").flips_by_code()) == 1


def test_an_interval_narrows_with_the_number_of_trajectories() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0])
    found = Mean.of(values)
    assert (found.value, found.n) == (2.5, 4) and found.half_width == pytest.approx(
        1.96 * np.std(values, ddof=1) / 2
    )
    assert Mean.of(np.tile(values, 4)).half_width < found.half_width
    assert Mean.of(values[:1]).to_json() == {"mean": 1.0, "ci95": None, "n": 1}
    empty = np.zeros((0, 2))
    assert Agreement((), empty, empty, (), np.zeros(0)).divergence.to_json() == {
        "mean": None,
        "ci95": None,
        "n": 0,
    }

"""Probabilities that hold on held-out clicks, ratings within their scale, weights that decay."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone

import matfac
from matfac import (
    ExplicitMF,
    ImplicitMF,
    Interactions,
    RatingRegressor,
    datasets,
    metrics,
    splits,
    time_decay,
)
from matfac.calibration import ScoreCalibrator

CLICKS = datasets.planted_clicks(1500, 400, 60_000, taste=3.0, test_fraction=0, seed=0).train


def three_parts() -> tuple[sp.csr_array, sp.csr_array, sp.csr_array]:
    """Training, and two parts drawn alike: to calibrate on and to test on."""
    train, rest = splits.entries(CLICKS, 0.3, random_state=0)
    return train, *splits.entries(rest, 0.5, random_state=1)


TRAIN, VALIDATION, TEST = three_parts()


@pytest.fixture(scope="module")
def model() -> ImplicitMF:
    return ImplicitMF(n_factors=8, reg=0.02, random_state=0).fit(TRAIN)


def reliability(probability: np.ndarray, clicked: np.ndarray) -> list[tuple[int, float, float]]:
    """Ten bins of as many expected clicks each: cells, mean probability and share of clicks."""
    order = np.argsort(probability, kind="stable")
    part = np.cumsum(probability[order]) / probability.sum() * 10
    bins = np.split(order, np.searchsorted(part, np.arange(1, 10)))
    return [(len(b), probability[b].mean(), clicked[b].mean()) for b in bins if len(b)]


@pytest.mark.parametrize(
    ("method", "n_unobserved", "bound"),
    [("isotonic", 1_000_000, 0.05), ("isotonic", 100_000, 0.05), ("logistic", 1_000_000, 0.25)],
)
def test_probabilities_hold_on_held_out_clicks(
    model: ImplicitMF, method: str, n_unobserved: int, bound: float
) -> None:
    calibrator = ScoreCalibrator(
        model, method=method, n_unobserved=n_unobserved, random_state=0
    ).fit(VALIDATION)
    users, items = np.nonzero(TRAIN.toarray() == 0)
    clicked = TEST.toarray()[users, items] > 0
    probability = calibrator.predict(users, items)
    assert 0 <= probability.min() <= probability.max() <= 1
    assert calibrator.rate_ == pytest.approx(VALIDATION.nnz / len(users))
    assert probability.mean() == pytest.approx(clicked.mean(), rel=0.05)
    bins = reliability(probability, clicked)
    error = sum(n * abs(found - expected) for n, expected, found in bins) / len(users)
    assert error < 2 * bound * clicked.mean()
    for cells, expected, found in bins:
        # Within the bound, beyond what chance does to this many clicks (4 standard deviations).
        chance = 4 * np.sqrt(expected * (1 - expected) / cells)
        assert abs(found - expected) <= bound * expected + chance
    # The scores themselves, read as probabilities, are far off.
    raw = np.clip(model.predict(users, items), 0, 1)
    assert raw.mean() > 2 * clicked.mean()


def test_a_better_rank_is_never_less_probable(model: ImplicitMF) -> None:
    for method in ("isotonic", "logistic"):
        calibrator = ScoreCalibrator(model, method=method, random_state=0).fit(VALIDATION)
        _, scores = model.recommend([3], k=500)
        probability = calibrator.transform(scores)
        assert probability.shape == scores.shape
        assert (np.diff(probability[0]) <= 0).all()
        assert probability[0, 0] > 10 * probability[0, 200]


def test_calibration_speaks_ids_and_leaves_training_out() -> None:
    users, items = TRAIN.tocoo().coords
    named = Interactions.from_arrays([f"u{u}" for u in users], items)
    held = VALIDATION.tocoo().coords
    # Every training click is in the validation data too: it must not count.
    both = Interactions.from_arrays(
        [f"u{u}" for u in np.concatenate((users, held[0]))], np.concatenate((items, held[1]))
    )
    model = ImplicitMF(n_factors=4, random_state=0).fit(named)
    calibrator = ScoreCalibrator(model, random_state=0).fit(both)
    assert calibrator.rate_ == pytest.approx(VALIDATION.nnz / (CLICKS.shape[0] * 400 - TRAIN.nnz))
    assert calibrator.predict("u3", [1, 2, 3]).shape == (3,)


@pytest.mark.parametrize(
    ("arguments", "validation", "message"),
    [
        ({"method": "platt"}, VALIDATION, "method must be one of 'isotonic', 'logistic'"),
        ({"n_unobserved": 0}, VALIDATION, "n_unobserved must be at least 1"),
        ({}, TRAIN, "no entry that is not in training"),
        ({}, TRAIN[:5], "validation must have shape"),
        ({}, sp.csr_array(TRAIN.toarray() == 0), "every cell is an entry"),
        ({"model": TRAIN}, VALIDATION, "model must be a fitted estimator, got csr_array"),
    ],
)
def test_bad_calibration_is_named(
    model: ImplicitMF, arguments: dict[str, Any], validation: Any, message: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        ScoreCalibrator(**{"model": model, **arguments}).fit(validation)


def test_a_clone_has_the_fitted_model(model: ImplicitMF) -> None:
    first = ScoreCalibrator(model, method="logistic", random_state=0).fit(VALIDATION)
    again = clone(first)
    assert again.model is model
    assert not hasattr(again, "rate_")
    assert again.fit(VALIDATION).predict(0, 1) == first.predict(0, 1)


def test_an_unfitted_calibrator_says_so(model: ImplicitMF) -> None:
    with pytest.raises(ValueError, match="not fitted"):
        ScoreCalibrator(model).predict(0, 0)


# ---------------------------------------------------------------- ratings within their scale


def test_clipped_ratings(tmp_path: Path) -> None:
    data = datasets.planted_ratings(200, 100, 4000, noise=1.5, seed=0)
    users, items = data.test.tocoo().coords
    model = ExplicitMF(n_factors=8, reg=0.001, random_state=0).fit(data.train)
    assert model.rating_range_ == (0.5, 5.0)
    plain = model.predict(users, items)
    assert plain.max() > 5
    np.testing.assert_array_equal(model.predict(users, items, clip=True), plain.clip(0.5, 5.0))
    np.testing.assert_array_equal(model.predict(users, items, clip=(1, 2)), plain.clip(1, 2))
    assert model.predict(data.train[:9], clip=True).max() == 5
    model.save(tmp_path / "m")
    loaded = matfac.load(tmp_path / "m")
    assert isinstance(loaded, ExplicitMF)
    np.testing.assert_array_equal(loaded.predict(users, items, clip=True), plain.clip(0.5, 5.0))
    error = metrics.rmse(data.test.data, plain.clip(0.5, 5.0))
    assert error < metrics.rmse(data.test.data, plain)


def test_a_regressor_clips_new_ids_too() -> None:
    pairs = [["ann", 1], ["ann", 2], ["bob", 1], ["cid", 3]]
    free = RatingRegressor(ExplicitMF(n_factors=2, random_state=0)).fit(pairs, [5, 5, 4, 1])
    narrow = RatingRegressor(free.model, clip=(2, 3)).fit(pairs, [5, 5, 4, 1])
    probe = [*pairs, ["new", 9], ["new", 1]]
    np.testing.assert_array_equal(narrow.predict(probe), free.predict(probe).clip(2, 3))
    whole = RatingRegressor(free.model, clip=True).fit(pairs, [5, 5, 4, 1])
    np.testing.assert_array_equal(whole.predict(probe), free.predict(probe).clip(1, 5))


@pytest.mark.parametrize(
    ("clip", "message"),
    [((5, 1), "low <= high"), (3, "clip must be True, False or"), ((1, 2, 3), "clip must be True")],
)
def test_bad_limits_are_named(clip: Any, message: str) -> None:
    model = ExplicitMF(n_factors=1, n_iter=1).fit(np.array([[1.0, 2.0]]))
    with pytest.raises((ValueError, TypeError), match=message):
        model.predict(0, 0, clip=clip)
    model.rating_range_ = None  # as a file of the first matfac leaves it
    with pytest.raises(ValueError, match=r"give the scale, as in clip=\(1, 5\)"):
        model.predict(0, 0, clip=True)


# ---------------------------------------------------------------- weights that decay


def test_weights_halve_with_every_half_life() -> None:
    days = np.array(["2024-01-01", "2024-01-11", "2024-01-21"], "datetime64[D]")
    data = Interactions.from_arrays(list("aab"), list("xyx"), [3.0, 4, 5], timestamps=days)
    weights = time_decay(data, dt.timedelta(days=10))
    np.testing.assert_allclose(weights.toarray(), [[0.25, 0.5], [1.0, 0.0]])
    np.testing.assert_array_equal(weights.indices, data.matrix.indices)
    later = time_decay(data, np.timedelta64(10, "D"), now="2024-01-31")
    np.testing.assert_allclose(later.data, weights.data / 2)
    X = data.matrix.astype("float64")
    decayed = time_decay(X, 20, timestamps=[0, 10, 20])
    np.testing.assert_allclose(decayed.data, 0.5 ** np.array([1, 0.5, 0]))
    assert time_decay(X, 1e-6, timestamps=[0, 10, 20]).nnz == 3  # too old: weight 0, still stored


def test_decayed_weights_are_those_of_the_fit() -> None:
    rng = np.random.default_rng(0)
    X = sp.csr_array(np.where(rng.random((40, 30)) < 0.3, rng.integers(1, 6, (40, 30)), 0) * 1.0)
    times = rng.integers(0, 100, X.nnz)
    weights = time_decay(X, 30, timestamps=times)
    by_hand = X.copy()
    by_hand.data = 0.5 ** ((times.max() - times) / 30)
    one, other = (
        ExplicitMF(n_factors=3, n_iter=3, random_state=0, dtype="float64").fit(X, weights=w)
        for w in (weights, by_hand)
    )
    np.testing.assert_allclose(one.item_factors_, other.item_factors_)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"half_life": 0}, "half_life must be finite and greater than 0"),
        ({"half_life": "a week"}, "half_life must be a number"),
        ({"half_life": 1, "timestamps": None}, "X has no timestamps"),
        ({"half_life": 1, "timestamps": [1]}, "1 values, but X has 2 entries"),
        ({"half_life": 1, "now": 15}, "now=15 lies before 1 of the 2 entries"),
        ({"half_life": 1, "now": "soon"}, "now must be a number or a point in time"),
    ],
)
def test_bad_decay_is_named(arguments: dict[str, Any], message: str) -> None:
    X = sp.csr_array([[1.0, 2.0]])
    with pytest.raises((ValueError, TypeError), match=message):
        time_decay(X, **{"timestamps": [10, 20], **arguments})

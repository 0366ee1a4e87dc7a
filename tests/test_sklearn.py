"""scikit-learn's own checks and tools on the estimators."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import matfac
from matfac import ExplicitMF, ImplicitMF, LowRankMF, RankingMF, RatingRegressor

ONE_NUMBER_PER_ROW = "predict answers users x items: the check wants one number per row"

ESTIMATORS = [
    ExplicitMF(n_factors=3, n_iter=5),
    ExplicitMF(n_factors=3, n_iter=5, solver="sgd"),
    ExplicitMF(n_factors=3, n_iter=5, dtype="float64", cg_steps=None),
    ImplicitMF(n_factors=3, n_iter=5),
    ImplicitMF(n_factors=3, n_iter=5, alpha=10.0, reg=1.0),
    LowRankMF(n_factors=2),
    LowRankMF(n_factors=1, nonnegative=True),
    RankingMF(n_factors=3, n_iter=5),
    RankingMF(n_factors=3, n_iter=5, loss="warp", deterministic=True),
    RankingMF(n_factors=3, n_iter=5, loss="logistic", dtype="float64"),
]


def expected_failures(estimator: Any) -> dict[str, str]:
    if isinstance(estimator, LowRankMF):
        return {}
    return {
        "check_estimator_sparse_array": ONE_NUMBER_PER_ROW,
        "check_estimator_sparse_matrix": ONE_NUMBER_PER_ROW,
    }


# Older versions of scikit-learn leave an expected failure that passes unsaid.
STRICT = {"xfail_strict"} & inspect.signature(parametrize_with_checks).parameters.keys()


CHECKS = parametrize_with_checks(
    ESTIMATORS, expected_failed_checks=expected_failures, **dict.fromkeys(STRICT, True)
).mark


# A list: older versions of scikit-learn give a generator, of which newer ones of pytest warn.
@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def planted_pairs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    pairs = np.argwhere(rng.random((80, 60)) < 0.4)
    x, y = rng.normal(size=(80, 3)), rng.normal(size=(60, 3))
    ratings = 3 + np.einsum("ij,ij->i", x[pairs[:, 0]], y[pairs[:, 1]])
    return pairs, ratings + rng.normal(size=len(pairs)) * 0.3


def test_grid_search_over_pairs_finds_the_planted_rank() -> None:
    pairs, ratings = planted_pairs()
    search = GridSearchCV(
        RatingRegressor(ExplicitMF(reg=0.03, random_state=0)),
        {"model__n_factors": [1, 3, 12]},
        cv=KFold(4, shuffle=True, random_state=0),
    ).fit(pairs, ratings)
    assert search.best_params_ == {"model__n_factors": 3}
    assert search.best_score_ > 0.8


def test_cross_validation_in_a_pipeline_with_string_ids() -> None:
    pairs, ratings = planted_pairs()
    named = np.array([[f"u{u}", f"i{i}"] for u, i in pairs], dtype=object)
    model = make_pipeline(RatingRegressor(ExplicitMF(n_factors=3, reg=0.1, random_state=0)))
    scores = cross_val_score(model, named, ratings, cv=KFold(3, shuffle=True, random_state=0))
    assert scores.min() > 0.7


def test_unseen_ids_predict_from_mean_and_biases() -> None:
    pairs, ratings = planted_pairs()
    regressor = RatingRegressor(ExplicitMF(n_factors=3, random_state=0)).fit(pairs, ratings)
    model = regressor.model_
    both, user, item = regressor.predict([[999, 999], [5, 999], [999, 7]])
    assert both == pytest.approx(model.mean_)
    assert user == pytest.approx(model.mean_ + model.user_bias_[5], rel=1e-6)
    assert item == pytest.approx(model.mean_ + model.item_bias_[7], rel=1e-6)


def test_sample_weights_of_pairs_count_like_repeated_pairs_would() -> None:
    pairs, ratings = planted_pairs()
    rng = np.random.default_rng(1)
    weights = rng.integers(0, 3, len(pairs)).astype(float)
    estimator = RatingRegressor(ExplicitMF(n_factors=2, cg_steps=None, n_iter=30, random_state=0))
    weighted = clone(estimator).fit(pairs, ratings, sample_weight=weights)
    without = clone(estimator).fit(
        pairs[weights > 0], ratings[weights > 0], sample_weight=weights[weights > 0]
    )
    probe = pairs[weights > 0][:50]
    np.testing.assert_allclose(weighted.predict(probe), without.predict(probe), atol=0.05)


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 3)), np.zeros(4), [[1], [2]]], ids=["wide", "flat", "narrow"]
)
def test_pairs_of_another_width_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="two columns"):
        RatingRegressor().fit(bad, [1.0] * len(bad))


def test_parameters_survive_clone_and_do_not_change_in_fit() -> None:
    for estimator in ESTIMATORS:
        before = estimator.get_params()
        clone(estimator).fit(np.array([[1.0, 2.0], [3.0, np.nan]]))
        assert clone(estimator).get_params() == before


def test_no_default_score_on_a_matrix() -> None:
    """A score that folds users in from the entries it is scored on would always ask for more."""
    assert not hasattr(matfac.ExplicitMF(), "score")
    assert not hasattr(matfac.ImplicitMF(), "score")
    assert not hasattr(matfac.RankingMF(), "score")

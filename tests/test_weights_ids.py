"""Weights as Interactions: by ids, wherever a model takes weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from matfac import ExplicitMF, ImplicitMF, Interactions, datasets

RATINGS = datasets.planted_ratings(40, 30, 500, seed=0).train


def both() -> tuple[Interactions, Interactions, Any]:
    """Return ratings, and their weights as Interactions that know more ids and as a matrix."""
    users, items = (coords + 1 for coords in RATINGS.tocoo().coords)
    given = np.random.default_rng(0).uniform(0.5, 2, RATINGS.nnz)
    data = Interactions.from_arrays(users, items, RATINGS.data)
    more = [np.append(ids, 0) for ids in (users, items)]
    weights = Interactions.from_arrays(*more, np.append(given, 9.0))
    return data, weights, Interactions.from_arrays(users, items, given).matrix


@pytest.mark.parametrize("estimator", [ExplicitMF, ImplicitMF])
def test_weights_go_by_id(estimator: Any) -> None:
    data, weights, matrix = both()
    models = [
        estimator(n_factors=3, n_iter=3, random_state=0).fit(data, weights=given)
        for given in (weights, matrix)
    ]
    np.testing.assert_array_equal(models[0].item_factors_, models[1].item_factors_)
    for what in ("transform", "fold_in_items"):
        fold_in = getattr(models[0], what)
        np.testing.assert_array_equal(fold_in(data, weights=weights), fold_in(data, weights=matrix))
    for model, given in zip(models, (weights, matrix), strict=True):
        model.partial_fit(data, weights=given)
    np.testing.assert_array_equal(models[0].user_factors_, models[1].user_factors_)


def test_weights_that_do_not_fit() -> None:
    data, weights, _ = both()
    with pytest.raises(TypeError, match="weights is an Interactions, and X is none: give weights"):
        ExplicitMF(n_factors=2).fit(data.matrix, weights=weights)
    with pytest.raises(ValueError, match=r"weights has no weight for \d+ entries of X"):
        ExplicitMF(n_factors=2).fit(data, weights=weights >= 1)

"""RatingRegressor: kinds of tables, and errors in its caller's words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.model_selection import GridSearchCV, KFold

from matfac import ExplicitMF, ImplicitMF, LowRankMF, RankingMF, RatingRegressor

PAIRS = [["a", "x"], ["a", "y"], ["b", "x"]]
RATINGS = [5.0, 1.0, 4.0]


def small() -> RatingRegressor:
    return RatingRegressor(ExplicitMF(n_factors=2, n_iter=3, random_state=0))


@pytest.mark.parametrize("module", ["pandas", "polars", "pyarrow"])
def test_tables_of_pairs(module: str) -> None:
    library = pytest.importorskip(module)
    make = library.table if module == "pyarrow" else library.DataFrame
    users, items = zip(*PAIRS, strict=True)
    table = make({"u": list(users), "i": list(items)})
    found = small().fit(table, RATINGS).predict(table)
    np.testing.assert_array_equal(found, small().fit(PAIRS, RATINGS).predict(PAIRS))
    numbered = make({"u": [3, 3, 9], "i": [1, 2, 1]})
    assert small().fit(numbered, RATINGS).model_.user_ids_.tolist() == [3, 9]


@pytest.mark.parametrize("model", [ImplicitMF(), RankingMF(), LowRankMF(), ExplicitMF])
def test_other_models_are_refused(model: Any) -> None:
    with pytest.raises(TypeError, match="model must be an ExplicitMF or None, got "):
        RatingRegressor(model).fit(PAIRS, RATINGS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sample_weight": [1, 2]}, r"^sample_weight must have shape \(3,\), one per pair"),
        ({"sample_weight": [1, np.nan, 1]}, r"^sample_weight: the value in row 1 .*not finite"),
        ({"sample_weight": ["a", "b", "c"]}, "^sample_weight must hold numbers"),
        ({"sample_weight": [1, -1, 1]}, "^sample_weight must be at least 0 and .* from -1 to 1"),
        ({"sample_weight": [0, 0, 0]}, "^sample_weight must be at least 0 and not all 0"),
        ({"y": [1, 2]}, r"^y must have shape \(3,\)"),
        ({"y": [1, np.nan, 2]}, "^y: the value in row 1"),
        ({"y": [1, 1e39, 2]}, "^y: the value in row 1 .*does not fit in float32"),
        ({"y": ["1", "2", "3"]}, "^y must hold numbers"),
        ({"X": sp.csr_array(np.eye(3))}, "^X must hold pairs.* got the sparse csr_array"),
    ],
)
def test_errors_name_what_was_given(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        small().fit(**({"X": PAIRS, "y": RATINGS} | arguments))
    if "X" in arguments:
        with pytest.raises(TypeError, match=message):
            small().fit(PAIRS, RATINGS).predict(arguments["X"])


@pytest.mark.parametrize("module", ["pandas", "polars"])
def test_a_frame_with_its_columns_swapped_is_refused(module: str) -> None:
    library = pytest.importorskip(module)
    frame = library.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1]})
    regressor = small().fit(frame, RATINGS)
    assert regressor.feature_names_in_.tolist() == ["user", "item"]
    with pytest.raises(ValueError, match="feature names should match"):
        regressor.predict(frame[["item", "user"]])
    regressor.fit(PAIRS, RATINGS)
    assert not hasattr(regressor, "feature_names_in_")


def test_parameters_of_a_model_that_is_none() -> None:
    search = GridSearchCV(RatingRegressor(), {"model__reg": [0.1, 0.2]}, cv=KFold(2))
    search.fit([*PAIRS, ["b", "y"]], [*RATINGS, 1.0])
    assert search.best_estimator_.model.reg == search.best_params_["model__reg"]
    assert RatingRegressor(ExplicitMF(n_factors=7)).set_params(model__reg=3).model.n_factors == 7
    assert RatingRegressor().set_params(model=None, model__reg=3).model.reg == 3
    assert RatingRegressor().set_params(clip=True).model is None


def test_ids_in_lists_keep_their_kinds() -> None:
    mixed = [[3, "x"], [3, "y"], [9, "x"]]
    columns = np.array([3, 3, 9]), np.array(["x", "y", "x"])
    for pairs in (mixed, tuple(map(tuple, mixed)), list(zip(*columns, strict=True))):
        model = small().fit(pairs, RATINGS).model_
        assert model.user_ids_.tolist() == [3, 9]
        assert model.item_ids_.tolist() == ["x", "y"]

"""Explanations: contributions of the user's entries that add up to the score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone

from conftest import random_ratings, side_features
from matfac import ExplicitMF, ImplicitMF, Interactions, RankingMF

RATINGS = random_ratings(60, 50, 0.3, seed=1)
CLICKS = random_ratings(60, 50, 0.25, seed=2, implicit=True)
COUNTS = CLICKS.copy()
COUNTS.data *= np.random.default_rng(0).integers(1, 5, COUNTS.nnz)
WEIGHTS = RATINGS.copy()
WEIGHTS.data = np.random.default_rng(1).uniform(0.2, 3.0, RATINGS.nnz)
MODELS: dict[str, tuple[Any, sp.csr_array]] = {
    "als": (ExplicitMF(n_factors=4, random_state=0), RATINGS),
    "no-bias": (ExplicitMF(n_factors=4, fit_bias=False, random_state=0), RATINGS),
    "sgd": (ExplicitMF(n_factors=4, solver="sgd", random_state=0), RATINGS),
    "ials": (ImplicitMF(n_factors=4, random_state=0), COUNTS),
    "hu": (ImplicitMF(n_factors=4, alpha=3.0, reg=0.5, random_state=0), COUNTS),
}


@pytest.fixture(params=MODELS)
def case(request: pytest.FixtureRequest) -> tuple[Any, sp.csr_array]:
    """A fitted estimator, and its data."""
    model, X = MODELS[request.param]
    return clone(model).fit(X), X


def test_contributions_add_up_to_the_prediction(case: Any) -> None:
    model, X = case
    for user, item in ((0, 3), (7, 49), (59, 16)):
        why = model.explain(user, item, X)
        assert why.score == pytest.approx(float(model.predict(user, item)), abs=2e-5)
        assert why.score == pytest.approx(why.mean + why.item_bias + why.contributions.sum())
        assert sorted(why.items) == list(X[[user]].indices)
        np.testing.assert_array_equal(why.values, X[[user]].toarray()[0, why.items])
        assert (np.diff(why.contributions) <= 0).all()
        alone = model.explain(None, item, X[[user]])
        np.testing.assert_array_equal(alone.contributions, why.contributions)
        assert alone.user is None
        assert model.explain(user, item, X[[user]]).score == why.score


@pytest.mark.parametrize("name", ["als", "no-bias", "sgd"])
def test_an_entrys_contribution_is_what_its_value_adds(name: str) -> None:
    """The score is linear in an explicit rating: a change of one moves its own term alone."""
    model, X = clone(MODELS[name][0]).fit(RATINGS), RATINGS
    before = model.explain(0, 3, X[[0]])
    row = X[[0]].copy()
    row.data[2] += 1.0
    after = model.explain(0, 3, row)
    moved = dict(zip(after.items, after.contributions, strict=True))
    for item, part in zip(before.items, before.contributions, strict=True):
        if item == row.indices[2]:
            assert moved[item] != pytest.approx(part, abs=1e-6)
        else:
            assert moved[item] == pytest.approx(part, abs=1e-9)


def test_weights_count() -> None:
    model = ExplicitMF(n_factors=4, random_state=0).fit(RATINGS, weights=WEIGHTS)
    why = model.explain(5, 8, RATINGS, weights=WEIGHTS)
    assert why.score == pytest.approx(float(model.predict(5, 8)), abs=2e-5)


@pytest.mark.parametrize("loss", [{}, {"alpha": 4.0, "reg": 1.0}])
def test_weights_of_clicks_count(loss: dict[str, float]) -> None:
    weights = COUNTS.copy()
    weights.data = np.random.default_rng(1).uniform(0.2, 3.0, COUNTS.nnz)
    model = ImplicitMF(n_factors=4, random_state=0, **loss).fit(COUNTS, weights=weights)
    why = model.explain(5, 8, COUNTS, weights=weights)
    assert why.score == pytest.approx(float(model.predict(5, 8)), abs=2e-5)


@pytest.mark.parametrize("loss", [{}, {"alpha": 4.0, "reg": 1.0}])
def test_clicks_need_no_values(loss: dict[str, float]) -> None:
    model = ImplicitMF(n_factors=4, random_state=0, **loss).fit(CLICKS)
    why = model.explain(5, 8)
    np.testing.assert_allclose(why.contributions, model.explain(5, 8, CLICKS).contributions)
    assert model.explain(30, 8).score == 0  # a user without entries
    counted = ImplicitMF(n_factors=4, random_state=0, **loss).fit(COUNTS)
    with pytest.raises(ValueError, match=r"X is needed: .* other values"):
        counted.explain(5, 8)
    model._seen = None
    with pytest.raises(ValueError, match="X is needed"):
        model.explain(5, 8)


def test_ids_and_titles() -> None:
    data = Interactions.from_arrays(
        ["ann", "ann", "bob", "cid", "cid", "cid"],
        ["up", "jaws", "up", "alien", "up", "jaws"],
        [5, 2, 4, 5, 3.0, 1.0],
    )
    model = ExplicitMF(n_factors=2, random_state=0).fit(data)
    why = model.explain("ann", "alien", data)
    assert set(why.items) == {"up", "jaws"}
    assert why.score == pytest.approx(float(model.predict("ann", "alien")), abs=2e-5)
    text = why.text({"alien": "Alien (1979)", "up": "Up (2009)"}, k=1)
    assert text.splitlines()[0].endswith("Alien (1979) for ann")
    assert "1 other entries" in text
    assert str(why).splitlines()[1].endswith("mean")
    shown = [float(line.split()[0]) for line in str(why).splitlines()]
    assert sum(shown[1:]) == pytest.approx(shown[0], abs=5e-4)
    assert list(why.to_dict()) == ["item", "value", "contribution"]
    new = Interactions.from_arrays(["dee"], ["up"], [4.0])
    assert model.explain(None, "jaws", new).items.tolist() == ["up"]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({"user": 0, "item": 3}, "X is needed: the model does not keep the values"),
        ({"user": None, "item": 3, "X": RATINGS}, "X must be the user's row alone"),
        ({"user": 0, "item": 3, "X": RATINGS[:7]}, "X must be the user's row alone"),
        ({"user": 60, "item": 3, "X": RATINGS}, "users holds 60"),
        ({"user": 0, "item": 50, "X": RATINGS}, "items holds 50"),
        ({"user": 0, "item": [3], "X": RATINGS}, "one id or index each"),
        ({"user": 0, "item": 3, "X": RATINGS[:, :9]}, "X has 9 features"),
    ],
)
def test_bad_questions(ask: dict[str, Any], message: str) -> None:
    model = ExplicitMF(n_factors=4, random_state=0).fit(RATINGS)
    with pytest.raises(ValueError, match=message):
        model.explain(**ask)


@pytest.mark.parametrize("bound", [{"nonnegative": True}, {"l1_reg": 0.01}])
def test_no_sum_no_explanation(bound: dict[str, Any]) -> None:
    model = ExplicitMF(n_factors=4, random_state=0, n_iter=2, **bound).fit(RATINGS)
    with pytest.raises(TypeError, match="ExplicitMF has no explanations with nonnegative"):
        model.explain(0, 3, RATINGS)


FEATURES = side_features(61, 3, seed=4)  # of 60 users and one more
FEATURED: dict[str, tuple[Any, sp.csr_array]] = {
    "als": (ExplicitMF(n_factors=4, random_state=0), RATINGS),
    "no-bias": (ExplicitMF(n_factors=4, fit_bias=False, random_state=0), RATINGS),
    "ials": (ImplicitMF(n_factors=4, random_state=0), COUNTS),
    "hu": (ImplicitMF(n_factors=4, alpha=3.0, reg=0.5, random_state=0), COUNTS),
}


@pytest.mark.parametrize("name", FEATURED)
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_features_have_a_share_of_their_own(name: str, kind: Any) -> None:
    estimator, X = FEATURED[name]
    X = X.copy()
    X.data[X.indptr[8] : X.indptr[9]] = 0  # user 8 has no entries
    X.eliminate_zeros()
    features = kind(FEATURES[:60])
    items = side_features(50, 3, seed=5)  # of items: in their factors, no part of the sum
    model = clone(estimator).fit(X, user_features=features, item_features=items)
    for user, item in ((0, 3), (8, 7), (59, 16)):
        why = model.explain(user, item, X, user_features=features)
        assert why.score == pytest.approx(float(model.predict(user, item)), abs=2e-5)
        assert why.feature_contributions.shape == (3,)
        assert abs(why.features) > 1e-4
        total = why.mean + why.item_bias + why.features + why.contributions.sum()
        assert why.score == pytest.approx(total, abs=1e-12)
        shown = [float(line.split()[0]) for line in why.text(k=99).splitlines()]
        assert sum(shown[1:]) == pytest.approx(shown[0], abs=2e-3)
        assert f"{why.features:+8.4f}  the user's features" in str(why).splitlines()
        alone = model.explain(None, item, X[[user]], user_features=features[[user]])
        np.testing.assert_array_equal(alone.contributions, why.contributions)
    assert not len(model.explain(8, 7, X, user_features=features).items)


@pytest.mark.parametrize("name", FEATURED)
def test_a_features_contribution_is_what_it_adds(name: str) -> None:
    """The score is linear in a feature: a change of one moves its own term alone."""
    estimator, X = FEATURED[name]
    model = clone(estimator).fit(X, user_features=FEATURES[:60])
    row, own = X[[0]], FEATURES[[60]]
    before = model.explain(None, 3, row, user_features=own)
    other = own.copy()
    other[0, 1] *= 3
    after = model.explain(None, 3, row, user_features=other)
    np.testing.assert_allclose(
        after.feature_contributions, before.feature_contributions * [1, 3, 1], rtol=1e-6
    )
    np.testing.assert_allclose(after.contributions, before.contributions, rtol=1e-9)
    folded = model.transform(row, user_features=other)
    assert after.score == pytest.approx(model.inverse_transform(folded)[0, 3], abs=2e-5)
    unknown = model.explain(None, 3, row)  # as of fold-in: features of 0
    assert unknown.features == 0
    assert unknown.score == pytest.approx(model.predict(row)[0, 3], abs=2e-5)


def test_features_to_explain_by() -> None:
    ones = CLICKS.copy()
    ones.data[:] = 1
    model = ImplicitMF(n_factors=4, random_state=0).fit(ones, user_features=FEATURES[:60])
    why = model.explain(5, 8, user_features=FEATURES[:60])  # the clicks' positions are known
    assert why.score == pytest.approx(float(model.predict(5, 8)), abs=2e-5)
    with pytest.raises(ValueError, match="user_features is needed: the model was fitted with"):
        model.explain(5, 8, ones)
    with pytest.raises(ValueError, match="a row for each of the model's 60 users; got 61 rows"):
        model.explain(5, 8, ones, user_features=FEATURES)
    with pytest.raises(ValueError, match="2 columns, but the model was fitted on 3 features"):
        model.explain(5, 8, ones, user_features=FEATURES[:60, :2])
    plain = ImplicitMF(n_factors=4, random_state=0).fit(ones)
    with pytest.raises(ValueError, match="user_features: the model was fitted without"):
        plain.explain(5, 8, ones, user_features=FEATURES[:60])
    assert len(plain.explain(5, 8, ones).feature_contributions) == 0


def test_ranking_losses_are_refused() -> None:
    model = RankingMF(n_factors=4, n_iter=1, random_state=0).fit(np.eye(6))
    with pytest.raises(TypeError, match="RankingMF has no explanations: with the loss 'bpr'"):
        model.explain(0, 1, np.eye(6))

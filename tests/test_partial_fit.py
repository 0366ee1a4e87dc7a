"""partial_fit: new and changed rows on both sides, from their whole history alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone

import matfac
from conftest import random_ratings, side_features
from matfac import ExplicitMF, ImplicitMF, Interactions

RATINGS = random_ratings(60, 50, 0.3, seed=1)
CLICKS = random_ratings(60, 50, 0.25, seed=2, implicit=True)
MODELS: dict[str, tuple[Any, sp.csr_array]] = {
    "als": (ExplicitMF(n_factors=4, dtype="float64", random_state=0), RATINGS),
    "no-bias": (ExplicitMF(n_factors=4, fit_bias=False, dtype="float64", random_state=0), RATINGS),
    "sgd": (ExplicitMF(n_factors=4, solver="sgd", dtype="float64", random_state=0), RATINGS),
    "ials": (ImplicitMF(n_factors=4, dtype="float64", random_state=0), CLICKS),
    "hu": (ImplicitMF(n_factors=4, alpha=3.0, reg=0.5, dtype="float64", random_state=0), CLICKS),
}


@pytest.fixture(params=MODELS)
def case(request: pytest.FixtureRequest) -> tuple[Any, sp.csr_array]:
    """An unfitted estimator, and data for it."""
    model, X = MODELS[request.param]
    return clone(model), X


def state(model: Any) -> dict[str, Any]:
    """All that a model is, copied."""
    return {
        name: value.copy() if isinstance(value, np.ndarray) else value
        for name, value in vars(model).items()
    }


def same(before: dict[str, Any], after: dict[str, Any]) -> bool:
    return before.keys() == after.keys() and all(
        np.array_equal(value, after[name])
        if isinstance(value, np.ndarray)
        else value is after[name]
        for name, value in before.items()
    )


def only_rows(X: sp.csr_array, rows: Any, shape: tuple[int, int]) -> sp.csr_array:
    coo = X.tocoo()
    keep = np.isin(coo.coords[0], rows)
    at = coo.coords[0][keep], coo.coords[1][keep]
    return sp.csr_array((coo.data[keep], at), shape=shape)


def own(model: Any, side: str, rows: Any) -> np.ndarray:
    factors = getattr(model, f"{side}_factors_")[rows]
    bias = getattr(model, f"{side}_bias_")
    return factors if bias is None else np.column_stack((factors, bias[rows]))


def test_an_unfitted_estimator_is_fitted(case: Any) -> None:
    model, X = case
    fitted = clone(model).fit(X)
    assert model.partial_fit(X) is model
    if model.get_params().get("solver") != "sgd":
        np.testing.assert_array_equal(model.user_factors_, fitted.user_factors_)
    weighted = ExplicitMF(n_factors=2).partial_fit(RATINGS, weights=RATINGS)
    assert weighted.item_factors_.shape == (50, 2)


def test_new_and_changed_users_are_folded_in_and_stored(case: Any) -> None:
    model, X = case
    model.fit(X[:55])
    before = state(model)
    changed = only_rows(X, [3, 55, 56, 57, 58, 59], (60, 50))
    changed.data[: changed.indptr[4] // 2] = 0  # the first half of user 3's history is gone
    changed.eliminate_zeros()
    wanted = model.transform(changed[[3, 55, 58]])
    model.partial_fit(changed)
    assert model.user_factors_.shape == (60, 4)
    np.testing.assert_allclose(own(model, "user", [3, 55, 58]), wanted, atol=1e-12)
    untouched = np.setdiff1d(np.arange(55), [3])
    np.testing.assert_array_equal(
        model.user_factors_[untouched], before["user_factors_"][untouched]
    )
    np.testing.assert_array_equal(model.item_factors_, before["item_factors_"])
    lists, _ = model.recommend(k=50)
    for user in (3, 55, 7):
        row = changed[[user]] if user != 7 else X[[7]]
        assert set(row.indices) == set(range(50)) - set(lists[user])


def test_new_and_changed_items_and_users_reach_the_joint_solution(case: Any) -> None:
    """Both sides in turn, warm: at the end each touched row solves its own problem."""
    model, X = case
    old = X[:55, :46]
    model.fit(old)
    before = state(model)
    coo = X.tocoo()
    keep = (coo.coords[0] >= 55) | (coo.coords[1] >= 46) | (coo.coords[1] == 2)
    part = sp.csr_array((coo.data[keep], (coo.coords[0][keep], coo.coords[1][keep])), (60, 50))
    model.partial_fit(part, users=range(55, 60), items=[2, 46, 47, 48, 49], n_sweeps=200)
    assert model.user_factors_.shape == (60, 4)
    assert model.item_factors_.shape == (50, 4)
    assert model.n_features_in_ == 50
    np.testing.assert_allclose(
        model.transform(part[55:]), own(model, "user", slice(55, 60)), atol=1e-9
    )
    columns = [2, 46, 47, 48, 49]
    np.testing.assert_allclose(
        model.fold_in_items(part[:, columns]), own(model, "item", columns), atol=1e-5
    )
    np.testing.assert_array_equal(model.user_factors_[:55], before["user_factors_"])
    kept = np.setdiff1d(np.arange(46), [2])
    np.testing.assert_array_equal(model.item_factors_[kept], before["item_factors_"][kept])
    listed, _ = model.recommend([0, 58], k=50)
    for user, row in zip((0, 58), listed, strict=True):
        # Every entry of X is known now: by the fit, or by the partial fit.
        assert set(np.flatnonzero(X[[user]].toarray()[0])) == set(range(50)) - set(row)


@pytest.mark.parametrize("name", ["als", "ials", "hu"])
def test_all_rows_touched_continues_the_fit(name: str) -> None:
    """Given everything, partial_fit is alternating least squares from where the model stands."""
    model, X = MODELS[name]
    short = clone(model).set_params(n_iter=3, cg_steps=None).fit(X)
    long = clone(model).set_params(n_iter=5, cg_steps=None).fit(X)
    short.partial_fit(X, users=range(60), items=range(50), n_sweeps=2)
    np.testing.assert_allclose(
        short.predict(X), long.predict(X), atol=1e-7 * np.abs(long.predict(X)).max()
    )


def test_new_users_of_nothing_but_new_items_learn() -> None:
    model = ImplicitMF(n_factors=4, random_state=0).fit(CLICKS)
    block = np.zeros((64, 54))
    block[60:, 50:] = 1
    model.partial_fit(sp.csr_array(block), n_sweeps=5)
    assert (model.predict(np.repeat([60, 61], 2), [50, 51, 50, 51]) > 0.5).all()


def test_ids_are_appended_and_keep_working(tmp_path: Path) -> None:
    old = Interactions.from_arrays(
        ["ann", "ann", "bob", "cid", "cid"], ["up", "jaws", "up", "alien", "up"], [5, 2, 4, 5, 3.0]
    )
    model = ExplicitMF(n_factors=2, random_state=0).fit(old)
    file = tmp_path / "model.safetensors"
    model.save(file)
    model = matfac.load(file)  # read-only, memory-mapped arrays
    new = Interactions.from_arrays(
        ["a new one", "bob", "bob"], ["zodiac", "jaws", "a film"], [5.0, 1.0, 4.0]
    )
    model.partial_fit(new)
    assert model.user_ids_.tolist() == ["ann", "bob", "cid", "a new one"]
    assert model.item_ids_.tolist() == ["alien", "jaws", "up", "a film", "zodiac"]
    assert model.predict(["a new one", "bob"], ["zodiac", "a film"]).shape == (2,)
    lists, _ = model.recommend(["bob", "a new one"], k=5)
    assert set(lists[0]) == {"alien", "up", "zodiac", ""}  # bob's new history replaces the old
    assert set(lists[1]) == {"alien", "jaws", "up", "a film", ""}
    assert model.recommend_users(["zodiac"], k=1)[0][0, 0] in ("ann", "bob", "cid")
    model.save(file)
    again = matfac.load(file)
    assert again.user_ids_.tolist() == model.user_ids_.tolist()
    np.testing.assert_array_equal(again.transform(new), model.transform(new))
    model.partial_fit(Interactions.from_arrays(["bob"], ["up"], [1.0]), users=["bob", "ann"])
    assert not model.user_factors_[0].any()  # ann: an empty history
    numbered = ImplicitMF(n_factors=2, random_state=0).fit(Interactions.from_arrays([7, 3], [1, 2]))
    numbered.partial_fit(Interactions.from_arrays([5], [9]))
    assert numbered.user_ids_.tolist() == [3, 7, 5]


def test_without_stored_positions() -> None:
    model = ImplicitMF(n_factors=2, random_state=0).fit(CLICKS)
    model._seen = None
    model.partial_fit(only_rows(CLICKS, [1], (60, 50)))
    assert model.recommend([1], k=1, exclude_seen=False)[0].shape == (1, 1)


def test_weights_count() -> None:
    model = ExplicitMF(n_factors=3, dtype="float64", random_state=0).fit(RATINGS)
    part = only_rows(RATINGS, [4, 9], (60, 50))
    weights = part.copy()
    weights.data = np.random.default_rng(0).uniform(0.1, 3, part.nnz)
    wanted = model.transform(part, weights=weights)[[4, 9]]
    model.partial_fit(part, weights=weights)
    np.testing.assert_allclose(own(model, "user", [4, 9]), wanted, atol=1e-12)


@pytest.mark.parametrize(
    ("X", "options", "message"),
    [
        (RATINGS[:, :49], {}, "X has 49 features, but ExplicitMF is expecting 50 features"),
        (RATINGS[:59], {}, r"X has 59 rows, but ExplicitMF is expecting 60.*new ones behind"),
        (RATINGS, {"users": [3]}, r"X has \d+ entries whose user is not among users"),
        (RATINGS, {"users": [60]}, "users holds 60, but X has 60 users"),
        (RATINGS, {"items": [0.5]}, "items must be integer indices"),
        (RATINGS, {"n_sweeps": 0}, "n_sweeps must be at least 1"),
        (RATINGS, {"weights": RATINGS[:3]}, "weights must be a matrix of X's shape"),
        (sp.csr_array(np.full((60, 50), np.nan)), {}, "X contains NaN"),
        (Interactions.from_arrays([1], [1]), {}, "knows no ids"),
    ],
)
def test_failures_leave_the_model_as_it_was(X: Any, options: Any, message: str) -> None:
    model = ExplicitMF(n_factors=2, random_state=0).fit(RATINGS)
    before = state(model)
    with pytest.raises((ValueError, TypeError), match=message):
        model.partial_fit(X, **options)
    assert same(before, state(model))


def test_a_failure_between_the_sweeps_leaves_the_model_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = ExplicitMF(n_factors=2, random_state=0).fit(RATINGS)
    before = state(model)
    solve, calls = ExplicitMF._solve, []

    def interrupted(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return solve(*args)

    monkeypatch.setattr(ExplicitMF, "_solve", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(RATINGS, items=range(50))
    assert same(before, state(model))


def test_a_matrix_cannot_grow_a_model_with_ids() -> None:
    model = ImplicitMF(n_factors=2).fit(Interactions.from_arrays(["a", "b"], ["x", "y"]))
    model.partial_fit(np.array([[1, 1], [0, 1]]))
    with pytest.raises(ValueError, match="give new ones ids in an Interactions"):
        model.partial_fit(np.ones((3, 2)))


# ---------------------------------------------------------------- with side features

USERS, ITEMS = side_features(62, 3, seed=6), side_features(53, 4, seed=7)
FEATURED = {name: MODELS[name] for name in ("als", "no-bias", "ials", "hu")}


@pytest.mark.parametrize("name", FEATURED)
def test_featured_rows_solve_their_own_problem(name: str) -> None:
    estimator, X = FEATURED[name]
    model = clone(estimator).fit(X[:55, :46], user_features=USERS[:55], item_features=ITEMS[:46])
    before = state(model)
    coo = X.tocoo()
    keep = (coo.coords[0] >= 55) | (coo.coords[1] >= 46) | (coo.coords[1] == 2)
    part = sp.csr_array((coo.data[keep], (coo.coords[0][keep], coo.coords[1][keep])), (62, 53))
    items = [2, *range(46, 53)]
    model.partial_fit(
        part,
        users=range(55, 62),
        items=items,
        user_features=USERS,
        item_features=ITEMS,
        n_sweeps=200,
    )
    np.testing.assert_allclose(
        own(model, "user", slice(55, 62)),
        model.transform(part[55:], user_features=USERS[55:]),
        atol=1e-8,
    )
    np.testing.assert_allclose(
        own(model, "item", items),
        model.fold_in_items(part[:, items], item_features=ITEMS[items]),
        atol=1e-8,
    )
    # Neither of the last two users nor of the last three items is there an entry.
    said = model.transform(None, user_features=USERS[60:])
    np.testing.assert_allclose(own(model, "user", [60, 61]), said, atol=1e-12)
    assert np.abs(said).min(axis=1).all()
    said = model.fold_in_items(None, item_features=ITEMS[50:])
    np.testing.assert_allclose(own(model, "item", slice(50, 53)), said, atol=1e-12)
    for side, old in (("user", np.arange(55)), ("item", np.setdiff1d(np.arange(46), [2]))):
        known = before[f"{side}_factors_"][old]
        np.testing.assert_array_equal(getattr(model, f"{side}_factors_")[old], known)
        weights = before[f"{side}_feature_factors_"]
        np.testing.assert_array_equal(getattr(model, f"{side}_feature_factors_"), weights)


def test_features_go_with_the_ids_of_x() -> None:
    model = ImplicitMF(n_factors=4, dtype="float64", random_state=0)
    seen = Interactions.from_arrays(["ann", "ann", "bob", "cid"], ["up", "jaws", "up", "alien"])
    taste = {"ann": [1, 0], "bob": [0, 1], "cid": [1, 1], "dee": [0, 2], "abe": [2, 1]}
    kind = {"alien": [1.0], "jaws": [2.0], "up": [3.0], "coco": [-1.0]}
    model.fit(
        seen,
        user_features=np.array([taste[name] for name in seen.user_ids]),
        item_features=np.array([kind[name] for name in seen.item_ids]),
    )
    new = Interactions.from_arrays(["dee", "abe", "abe", "bob"], ["up", "coco", "jaws", "jaws"])
    features = np.array([taste[name] for name in new.user_ids])
    more = {"item_features": np.array([kind[name] for name in new.item_ids])}
    model.partial_fit(new, user_features=features, **more)
    assert list(model.user_ids_) == ["ann", "bob", "cid", *np.setdiff1d(new.user_ids, ["bob"])]
    at = [list(model.user_ids_).index(name) for name in new.user_ids]
    folded = model.transform(new, user_features=features)
    np.testing.assert_allclose(model.user_factors_[at], folded, atol=1e-12)
    with pytest.raises(ValueError, match="items names 'up', which is not among the items of X"):
        model.partial_fit(
            Interactions.from_arrays(["ann"], ["coco"]),
            items=["up", "coco"],
            user_features=np.ones((1, 2)),
            item_features=np.ones((1, 1)),
        )


def test_features_that_partial_fit_misses() -> None:
    model = ImplicitMF(n_factors=3, random_state=0).fit(
        CLICKS, user_features=USERS[:60], item_features=ITEMS[:50]
    )
    before = state(model)
    changed = only_rows(CLICKS, [3], (60, 50))
    with pytest.raises(ValueError, match=r"user_features is needed.*X touches 1 users"):
        model.partial_fit(changed)
    grown = only_rows(CLICKS, [3], (60, 52))
    with pytest.raises(ValueError, match=r"item_features is needed.*X touches 2 items"):
        model.partial_fit(grown, user_features=USERS[:60])
    with pytest.raises(ValueError, match="user_features has 59 rows, but X has users: 60"):
        model.partial_fit(changed, user_features=USERS[:59])
    assert same(before, state(model))
    model.partial_fit(changed, user_features=USERS[:60])  # no item is touched
    wanted = model.transform(changed[[3]], user_features=USERS[[3]])
    np.testing.assert_allclose(model.user_factors_[[3]], wanted, atol=1e-6)
    plain = ImplicitMF(n_factors=3, random_state=0).fit(CLICKS)
    with pytest.raises(ValueError, match="user_features: the model was fitted without"):
        plain.partial_fit(changed, user_features=USERS[:60])
    fitted = ImplicitMF(n_factors=3, random_state=0).partial_fit(CLICKS, item_features=ITEMS[:50])
    assert fitted.item_feature_factors_.shape == (4, 3)

"""Top-k lists under rules: the core against brute force, for every instruction set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import FACTOR_LENGTHS, random_ratings, table
from matfac import ExplicitMF, ImplicitMF, Interactions, _core, reference

RATINGS = random_ratings(40, 300, 0.2, seed=1)
MODELS = {
    "explicit": ExplicitMF(n_factors=5, random_state=0).fit(RATINGS),
    "sgd": ExplicitMF(n_factors=5, solver="sgd", n_iter=3, random_state=0).fit(RATINGS),
    "implicit": ImplicitMF(n_factors=5, random_state=0).fit(RATINGS),
}


def integers(rng: np.random.Generator, n: int, k: int, dtype: str) -> np.ndarray:
    """Small whole factors: every order of summation gives the same score, and many are equal."""
    return table(rng.integers(-2, 3, (n, k)).astype(np.float64), dtype)


def pattern(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    indptr = np.concatenate(([0], np.cumsum(mask.sum(axis=1)))).astype(np.int64)
    return indptr, np.nonzero(mask)[1].astype(np.int32)


@pytest.mark.parametrize("size", [1e-18, 1e-24, 1e-32])
def test_tiny_factors_are_told_apart(size: float, isa: str) -> None:
    """Squares of such are 0 in float32: many queries, whose search ends early, get what few get."""
    rng = np.random.default_rng(0)
    items = table(rng.normal(size=(3000, 8)) * rng.lognormal(size=(3000, 1)) * size, "float32")
    queries = table(rng.normal(size=(600, 8)), "float32")
    together, _ = _core.top_k(k=8, queries=queries, items=items, n_best=5, n_threads=2)
    for row in range(0, 600, 50):
        alone, _ = _core.top_k(
            k=8, queries=queries[row : row + 1], items=items, n_best=5, n_threads=1
        )
        np.testing.assert_array_equal(together[row], alone[0])


@pytest.mark.parametrize("k", FACTOR_LENGTHS)
@pytest.mark.parametrize("n_queries", [1, 5, 70])
@pytest.mark.parametrize("n_items", [1, 241, 700])
def test_core_lists_are_brute_force_lists(
    n_items: int, n_queries: int, k: int, dtype: str, isa: str
) -> None:
    rng = np.random.default_rng(k)
    queries, items = integers(rng, n_queries, k, dtype), integers(rng, n_items, k, dtype)
    bias = rng.integers(-3, 4, n_items).astype(dtype)
    scores = (queries @ items.T + bias).astype(np.float64)
    seen, other = rng.random((2, n_queries, n_items)) < 0.3
    allowed = np.flatnonzero(rng.random(n_items) < 0.7).astype(np.int32)
    closed = np.ones(n_items, np.bool_)
    closed[allowed] = False
    for share in (None, 0.05, 0.5):  # of the items in a row's include list
        mine = None if share is None else rng.random((n_queries, n_items)) < share
        for rules in ({}, {"candidates": allowed}, {"exclude": [pattern(seen), pattern(other)]}):
            wanted = scores.copy()
            if "candidates" in rules:
                wanted[:, closed] = -np.inf
            if "exclude" in rules:
                wanted[seen | other] = -np.inf
            if mine is not None:
                wanted[~mine] = -np.inf
            lists, best = _core.top_k(
                k=k,
                queries=queries,
                items=items,
                item_bias=bias,
                include=None if mine is None else pattern(mine),
                n_best=7,
                n_threads=2,
                **rules,
            )
            ids, values = reference.top_k(wanted, 7)
            np.testing.assert_array_equal(lists, ids)
            np.testing.assert_array_equal(best, values.astype(dtype))


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("n_queries", [150, 600])
def test_short_rows_are_left_out_only_where_they_cannot_be_listed(
    n_queries: int, biased: bool, dtype: str, isa: str
) -> None:
    rng = np.random.default_rng(n_queries)
    queries, items = integers(rng, n_queries, 16, dtype), integers(rng, 3000, 16, dtype)
    queries *= 2.0 ** rng.integers(-9, 9, (n_queries, 1))
    items *= 2.0 ** np.minimum(0, rng.integers(-6, 2, (3000, 1)))
    queries[::7] = 0  # everything is equal
    bias = rng.integers(-3, 4, 3000).astype(dtype) if biased else np.zeros(3000, dtype)
    seen = rng.random((n_queries, 3000)) < 0.2
    seen[1] = True
    seen[1, [17, 2900]] = False
    wanted = queries.astype(np.float64) @ items.T.astype(np.float64) + bias
    wanted[seen] = -np.inf
    lists, best = _core.top_k(
        k=16,
        queries=queries,
        items=items,
        item_bias=bias if biased else None,
        exclude=[pattern(seen)],
        n_best=7,
        n_threads=2,
    )
    ids, values = reference.top_k(wanted, 7)
    np.testing.assert_array_equal(lists, ids)
    np.testing.assert_array_equal(best, values.astype(dtype))


@pytest.mark.parametrize("n_queries", [2, 20])
def test_nan_and_infinite_scores(n_queries: int, dtype: str, isa: str) -> None:
    items = table(np.array([[1.0], [np.nan], [np.inf], [-np.inf], [2.0]]), dtype)
    lists, scores = _core.top_k(
        k=1, queries=table(np.ones((n_queries, 1)), dtype), items=items, n_best=5, n_threads=1
    )
    assert (lists == [2, 4, 0, -1, -1]).all()
    assert (scores == [np.inf, 2, 1, -np.inf, -np.inf]).all()


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"candidates": np.array([1, 1], np.int32)}, "candidates must rise"),
        ({"candidates": np.array([9], np.int32)}, r"candidates must lie in 0\.\.8"),
        ({"include": (np.array([0, 2]), np.array([2, 1], np.int32))}, "include must be sorted"),
        ({"exclude": [(np.array([0, 1]), np.array([-1], np.int32))]}, r"exclude must lie in 0\.\."),
        ({"exclude": [(np.array([1, 1]), np.array([0], np.int32))]}, "exclude must start with 0"),
        ({"exclude": [(np.array([0]), np.array([], np.int32))]}, "exclude must be a vector of 2"),
        ({"exclude": [(np.array([0, 0]), np.array([], np.int32))] * 3}, "at most two"),
    ],
)
def test_core_refuses_unsound_lists(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _core.top_k(
            k=1,
            queries=table(np.ones((1, 1)), "float32"),
            items=table(np.ones((9, 1)), "float32"),
            n_best=1,
            n_threads=1,
            **rules,
        )


# ---------------------------------------------------------------- the estimators' calls


def brute_force(
    scores: np.ndarray, k: int, lists: np.ndarray, values: np.ndarray, forbidden: np.ndarray
) -> None:
    """Check lists against scores; items may change places only where rounding has them equal."""
    scores = np.where(forbidden, -np.inf, scores)
    _, wanted = reference.top_k(scores, k)
    assert lists.shape == values.shape == wanted.shape
    np.testing.assert_allclose(values, wanted, rtol=2e-5, atol=2e-5)
    padding = np.isneginf(wanted)
    assert ((lists == -1) == padding).all()
    own = np.take_along_axis(scores, np.where(padding, 0, lists), axis=1)
    np.testing.assert_allclose(own[~padding], wanted[~padding], rtol=2e-5, atol=2e-5)
    for row in lists:
        listed = row[row >= 0]
        assert len(set(listed)) == len(listed)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_recommendations_under_random_rules_are_brute_force(data: st.DataObject) -> None:
    model = MODELS[data.draw(st.sampled_from(sorted(MODELS)))]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    k = data.draw(st.sampled_from([1, 5, 400]))
    users = rng.integers(0, 40, data.draw(st.sampled_from([1, 3, 30])))
    by = data.draw(st.sampled_from(["users", "X", "vectors"]))
    rows = RATINGS[users]
    ask = {"users": users, "X": rows, "vectors": model.transform(rows)}[by]
    forbidden = np.zeros((len(users), 300), np.bool_)
    rules: dict[str, Any] = {"exclude_seen": data.draw(st.booleans())}
    if rules["exclude_seen"] and by != "vectors":
        forbidden |= rows.toarray() != 0
    for name in ("include", "exclude"):
        if data.draw(st.booleans()):
            mask = rng.random(forbidden.shape) < data.draw(st.sampled_from([0.0, 0.02, 0.5, 1.0]))
            forbidden |= mask if name == "exclude" else ~mask
            rules[name] = sp.csr_array(mask) if data.draw(st.booleans()) else mask
    for name in ("items", "exclude_items"):
        if data.draw(st.booleans()):
            listed = np.flatnonzero(rng.random(300) < data.draw(st.sampled_from([0.0, 0.5, 1.0])))
            rules[name] = rng.permutation(np.repeat(listed, 2))
            forbidden[:, np.isin(np.arange(300), listed) == (name == "exclude_items")] = True
    lists, values = model.recommend(**{by: ask}, k=k, **rules)
    brute_force(model.predict(rows).astype(np.float64), k, lists, values, forbidden)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("by", ["items", "X", "vectors"])
def test_users_for_items_are_brute_force(name: str, by: str) -> None:
    model = MODELS[name]
    items = np.array([7, 3, 299, 8, 9, 10])
    columns = RATINGS[:, items]
    factors = model.fold_in_items(columns)
    if by == "items":
        factors = model.item_factors_[items]
        if model.item_bias_ is not None:
            factors = np.column_stack((factors, model.item_bias_[items]))
    users = model.user_factors_
    if model.user_bias_ is not None:
        users = np.column_stack((users, np.ones(40)))
    scores = factors.astype(np.float64) @ users.T + model.mean_
    if model.user_bias_ is not None:
        scores += model.user_bias_
    ask = {"items": items, "X": columns, "vectors": factors}[by]
    never = np.random.default_rng(0).random((40, 6)) < 0.3
    forbidden = never.T | (by != "vectors") & (columns.toarray().T != 0)
    forbidden[:, 11] = True
    lists, values = model.recommend_users(**{by: ask}, k=5, exclude=never, exclude_users=[11])
    brute_force(scores, 5, lists, values, forbidden)
    lists, values = model.recommend_users(**{by: ask}, k=2, exclude_seen=False, users=[4, 2])
    brute_force(scores, 2, lists, values, ~np.isin(np.arange(40), [2, 4])[None, :] | (scores > 1e9))


def test_rules_speak_the_models_ids() -> None:
    coo = RATINGS.tocoo()
    names = np.array([f"u{u:02d}" for u in range(40)]), np.array([f"i{i:03d}" for i in range(300)])
    data = Interactions.from_arrays(names[0][coo.coords[0]], names[1][coo.coords[1]], coo.data)
    model = ExplicitMF(n_factors=5, random_state=0).fit(data)
    users = ["u07", "u07", "u03"]
    rows = data.user_index(users)
    disliked = Interactions.from_arrays(
        ["u03", "u03", "u07", "zed", "u03"], ["i005", "i009", "i010", "i001", "never"]
    )
    liked = model.recommend(users, k=300, exclude_seen=False)[0]
    lists, scores = model.recommend(
        users, k=300, exclude_seen=False, exclude=disliked, exclude_items=["i020", "sold out"]
    )
    for all_of_them, left, lost in zip(
        liked, lists, ({"i010", "i020"}, {"i010", "i020"}, {"i005", "i009", "i020"}), strict=True
    ):
        assert set(all_of_them) - set(left) == lost
        assert [item for item in all_of_them if item not in {*lost, ""}] == [i for i in left if i]
    assert np.isneginf(scores[:, -1]).all()
    assert (lists[:, -1] == "").all()
    only, _ = model.recommend(users, k=2, exclude_seen=False, include=disliked)
    assert [set(row) for row in only] == [{"i010", ""}, {"i010", ""}, {"i005", "i009"}]
    folded = Interactions(data.matrix[rows[1:]], ["n1", "n2"], data.item_ids)
    mine = Interactions.from_arrays(["n2"], ["i005"])
    only, _ = model.recommend(X=folded, k=1, exclude_seen=False, include=mine)
    assert only.tolist() == [[""], ["i005"]]
    fans, _ = model.recommend_users(["i005", "i009"], k=40, exclude_seen=False, exclude=disliked)
    assert ["u03" in row for row in fans] == [False, False]
    assert ["u07" in row for row in fans] == [True, True]
    new = Interactions.from_arrays(["u03", "u05", "who"], ["new", "new", "new"], [5.0, 1.0, 3.0])
    fans, _ = model.recommend_users(X=new, k=40)
    assert not {"u03", "u05"} & set(fans[0])
    assert (fans[0] != "").sum() == 37  # of 39, less the two


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            {"exclude": np.zeros((3, 300))},
            r"exclude must have shape \(2, 300\).*got \(3",
        ),
        ({"include": sp.csr_array((300, 2))}, r"include must have shape \(2, 300\).*transposed"),
        ({"include": [["a"] * 300] * 2}, "include must hold numbers or booleans"),
        ({"exclude": Interactions.from_arrays([1], [2])}, "exclude is an Interactions"),
        ({"items": [300]}, "items holds 300, but the model has 300 items"),
        ({"exclude_items": [-1]}, "exclude_items holds -1"),
        ({"exclude_items": ["a"]}, "exclude_items must be integer"),
        ({"X": RATINGS}, "users and X exclude each other"),
        ({"vectors": np.zeros((2, 6))}, "users and vectors exclude each other"),
        ({"users": None, "vectors": np.zeros((2, 5))}, r"vectors must have shape \(n, 6\).*a bias"),
        ({"users": None, "vectors": np.full((2, 6), np.nan)}, "vectors must be finite"),
    ],
)
def test_bad_rules(rules: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        MODELS["explicit"].recommend(**{"users": [0, 1], **rules})


def test_columns_to_fold_in_need_every_user() -> None:
    model = MODELS["explicit"]
    with pytest.raises(ValueError, match=r"a row for each of the model's 40 users.*pass X\.T"):
        model.fold_in_items(RATINGS[:, [1]].T)
    with pytest.raises(ValueError, match="knows no ids"):
        model.fold_in_items(Interactions.from_arrays([1], [2]))
    with pytest.raises(ValueError, match="NaN"):
        model.fold_in_items(sp.csr_array(np.full((40, 1), np.nan)))


def test_scores_are_never_nan_where_rows_are_degenerate() -> None:
    """Fewer entries than factors and no ridge: the normal equations are singular."""
    for dtype in ("float32", "float64"):
        for model in (
            ExplicitMF(n_factors=8, reg=0.0, dtype=dtype, random_state=0),
            ExplicitMF(n_factors=8, reg=0.0, cg_steps=None, dtype=dtype, random_state=0),
            ImplicitMF(n_factors=8, reg=0.0, alpha0=0.0, dtype=dtype, random_state=0),
            ImplicitMF(n_factors=8, reg=0.0, cg_steps=None, dtype=dtype, random_state=0),
        ):
            X = random_ratings(12, 10, 0.15, seed=3)
            model.fit(X)
            empty = np.full((1, 10), np.nan)
            one = empty.copy()
            one[0, 4] = 3.0
            for rows in (X, sp.csr_array((2, 10)), empty, one):
                _, scores = model.recommend(X=rows, k=12)
                assert not np.isnan(scores).any()
            assert not np.isnan(model.recommend(k=12)[1]).any()

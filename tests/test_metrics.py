"""Ranking metrics against the NumPy twin, brute force and scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    mean_absolute_error,
    mean_squared_error,
    ndcg_score,
    roc_auc_score,
)

import matfac
from conftest import DTYPES
from matfac import ExplicitMF, ImplicitMF, Interactions, _core, metrics, reference

NAMES = (*_core.LIST_METRICS, "auc", "novelty")
FUNCTIONS = {
    "hit_rate": metrics.hit_rate,
    "precision": metrics.precision,
    "recall": metrics.recall,
    "recall_capped": metrics.recall_capped,
    "ndcg": metrics.ndcg,
    "map": metrics.average_precision,
    "mrr": metrics.reciprocal_rank,
}


def triplet(matrix: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    csr = sp.csr_array(matrix)
    csr.sort_indices()
    return csr.indptr, csr.indices, csr.data


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Any]:
    """Small integer factors, so that scores are exact and ties abound."""
    n_users, n_items = draw(st.integers(1, 9)), draw(st.integers(1, 40))
    k, width = draw(st.integers(1, 45)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = rng.random((n_users, n_items))
    dtype = draw(st.sampled_from(DTYPES))
    return {
        "users": rng.integers(-2, 3, (n_users, width)).astype(dtype),
        "items": rng.integers(-2, 3, (n_items, width)).astype(dtype),
        "bias": rng.integers(-2, 3, n_items).astype(dtype) if draw(st.booleans()) else None,
        "test": sp.csr_array((kind < draw(st.sampled_from([0.05, 0.3, 0.8]))).astype(float)),
        "train": sp.csr_array((kind > draw(st.sampled_from([0.25, 0.6, 1.0]))).astype(float)),
        "k": k,
        "n_threads": draw(st.integers(1, 2)),
    }


def brute_force(p: dict[str, Any]) -> dict[str, np.ndarray]:
    """Each metric from sorted scores and plain loops, by its definition."""
    scores = (p["users"] @ p["items"].T).astype(float) + (0 if p["bias"] is None else p["bias"])
    test, train, k = p["test"].toarray() > 0, p["train"].toarray() > 0, p["k"]
    holders = train.sum(axis=0)
    out: dict[str, list[float]] = {name: [] for name in NAMES}
    for u in np.flatnonzero(test.any(axis=1)):
        open_items = [i for i in range(test.shape[1]) if not train[u, i]]
        ranked = sorted(open_items, key=lambda i: (-scores[u, i], i))[:k]
        wanted = set(np.flatnonzero(test[u]))
        places = [j for j, i in enumerate(ranked, 1) if i in wanted]
        most = min(k, len(wanted))
        out["hit_rate"].append(float(bool(places)))
        out["precision"].append(len(places) / k)
        out["recall"].append(len(places) / len(wanted))
        out["recall_capped"].append(len(places) / most)
        ideal = sum(1 / np.log2(j + 1) for j in range(1, most + 1))
        out["ndcg"].append(sum(1 / np.log2(j + 1) for j in places) / ideal)
        out["map"].append(sum(n / j for n, j in enumerate(places, 1)) / most)
        out["mrr"].append(1 / places[0] if places else 0.0)
        pairs = [
            (scores[u, a] > scores[u, b]) + 0.5 * (scores[u, a] == scores[u, b])
            for a in wanted & set(open_items)
            for b in set(open_items) - wanted
        ]
        out["auc"].append(float(np.mean(pairs)) if pairs else np.nan)
        bits = [-np.log2(max(holders[i], 1) / len(train)) for i in ranked]
        out["novelty"].append(float(np.mean(bits)) if bits else np.nan)
    return {name: np.array(values) for name, values in out.items()}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=20))
def test_errors_of_ratings_are_those_of_scikit_learn(pairs: list[tuple[float, float]]) -> None:
    truth, predicted = np.array(pairs).T
    assert metrics.mae(truth, predicted) == pytest.approx(mean_absolute_error(truth, predicted))
    squares = mean_squared_error(truth, predicted)
    assert metrics.rmse(truth, predicted) == pytest.approx(np.sqrt(squares))


@given(problems())
def test_evaluate_is_brute_force(p: dict[str, Any]) -> None:
    tables = (p["users"], p["items"]) + (() if p["bias"] is None else (p["bias"],))
    arguments = {"train": p["train"], "k": p["k"], "n_threads": p["n_threads"]}
    overlap = int((p["test"] * p["train"]).nnz)
    if overlap == p["test"].nnz:
        with pytest.raises(ValueError, match="test"):
            metrics.evaluate(tables, p["test"], **arguments)
        return
    expected = brute_force(p)
    found = metrics.evaluate(tables, p["test"], metrics=NAMES, per_user=True, **arguments)
    np.testing.assert_array_equal(found["users"], np.flatnonzero(np.diff(p["test"].indptr)))
    for name, values in expected.items():
        key = name if name == "auc" else f"{name}@{p['k']}"
        np.testing.assert_allclose(found[key], values, rtol=1e-12, atol=1e-12, err_msg=name)
    means = metrics.evaluate(tables, p["test"], metrics=(*NAMES, "coverage"), **arguments)
    assert means["n_users"] + means["n_skipped"] == p["test"].shape[0]
    assert means["n_seen"] == overlap
    for name, values in expected.items():
        key = name if name == "auc" else f"{name}@{p['k']}"
        known = values[~np.isnan(values)]
        if len(known):
            assert means[key] == pytest.approx(known.mean(), rel=1e-12, abs=1e-12)
        else:
            assert np.isnan(means[key])


@settings(max_examples=60, deadline=None)
@given(problems())
def test_functions_of_lists_are_the_twin(p: dict[str, Any]) -> None:
    scores = (p["users"] @ p["items"].T).astype(float)
    lists, _ = reference.top_k(np.where(p["train"].toarray() > 0, -np.inf, scores), p["k"])
    expected = reference.list_metrics(lists, triplet(p["test"]), p["k"])
    for name, function in FUNCTIONS.items():
        found = function(lists, p["test"])
        np.testing.assert_allclose(found, expected[name], rtol=1e-12, atol=1e-12, err_msg=name)
    n_items = p["test"].shape[1]
    np.testing.assert_allclose(
        metrics.novelty(lists, p["train"]), reference.novelty(lists, triplet(p["train"]), n_items)
    )
    listed = {i for row in lists for i in row if i >= 0}
    assert metrics.coverage(lists, n_items) == len(listed) / n_items


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("isa")
def test_real_scores_over_many_panels_are_the_twin(dtype: str) -> None:
    rng = np.random.default_rng(3)
    users, items = (rng.normal(size=(n, 19)).astype(dtype) for n in (130, 1000))
    items[500:700] = items[:200]  # equal rows tie, wherever they stand
    bias = np.where(np.arange(1000) < 500, 0.5, 0.0).astype(dtype)
    bias[500:700] = bias[:200]
    kind = rng.random((130, 1000))
    test, train = sp.csr_array(kind < 0.03), sp.csr_array(kind > 0.9)
    scores = users.astype(float) @ items.T.astype(float) + bias
    found = metrics.evaluate(
        (users, items, bias), test, train=train, metrics=("auc", "ndcg"), per_user=True, n_threads=2
    )
    expected = reference.auc(scores, triplet(test), triplet(train))
    np.testing.assert_allclose(found["auc"], expected, rtol=1e-6)
    lists, _ = reference.top_k(np.where(train.toarray(), -np.inf, scores), 10)
    expected = reference.list_metrics(lists, triplet(test), 10)["ndcg"]
    np.testing.assert_allclose(found["ndcg@10"], expected, rtol=1e-6)
    alone = metrics.evaluate(
        (users, items, bias), test, train=train, metrics=("auc", "ndcg"), per_user=True, n_threads=1
    )
    assert all(np.array_equal(alone[name], found[name]) for name in found)


@pytest.mark.parametrize("n_relevant", [20, 300])
@pytest.mark.usefixtures("isa")
def test_ties_between_real_scores_count_half_in_auc(n_relevant: int) -> None:
    rng = np.random.default_rng(0)
    users, half = rng.normal(size=(5, 33)), rng.normal(size=(n_relevant, 33))
    tables = users.astype("float32"), np.concatenate((half, half)).astype("float32")
    test = sp.csr_array(np.tile(np.arange(2 * n_relevant) < n_relevant, (5, 1)))
    found = metrics.evaluate(tables, test, exclude_seen=False, metrics="auc", per_user=True)
    np.testing.assert_array_equal(found["auc"], 0.5)


def test_scikit_learn_where_the_definitions_meet() -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(12, 30))
    wanted = rng.random((12, 30)) < 0.2
    wanted[:, 0] = True
    n_items = scores.shape[1]
    model = (scores, np.eye(n_items))
    test = sp.csr_array(wanted)
    found = metrics.evaluate(
        model, test, exclude_seen=False, k=(5, n_items), metrics=("ndcg", "map", "auc"),
        per_user=True,
    )  # fmt: skip
    for u in range(len(scores)):
        for k in (5, n_items):
            theirs = ndcg_score(wanted[u : u + 1], scores[u : u + 1], k=k)
            assert found[f"ndcg@{k}"][u] == pytest.approx(theirs)
        theirs = average_precision_score(wanted[u], scores[u])
        assert found[f"map@{n_items}"][u] == pytest.approx(theirs)
        assert found["auc"][u] == pytest.approx(roc_auc_score(wanted[u], scores[u]))
    tied = np.round(scores)
    found = metrics.evaluate((tied, model[1]), test, exclude_seen=False, metrics="auc")
    theirs = np.mean([roc_auc_score(wanted[u], tied[u]) for u in range(len(tied))])
    assert found["auc"] == pytest.approx(theirs)


# ---------------------------------------------------------------- models, ids, fold-in


CLICKS = matfac.datasets.planted_clicks(200, 80, 4000, seed=4)


@pytest.fixture(scope="module")
def model() -> ImplicitMF:
    return ImplicitMF(n_factors=6, random_state=0).fit(CLICKS.train)


def test_a_model_is_ranked_as_it_recommends(model: ImplicitMF) -> None:
    lists, _ = model.recommend(k=7)
    found = metrics.evaluate(model, CLICKS.test, k=(3, 7), metrics=(*FUNCTIONS, "coverage"))
    for k in (3, 7):
        for name, function in FUNCTIONS.items():
            expected = np.nanmean(function(lists[:, :k], CLICKS.test))
            assert found[f"{name}@{k}"] == pytest.approx(expected)
    rows = np.diff(CLICKS.test.indptr) > 0
    assert found["coverage@7"] == metrics.coverage(lists[rows], 80)
    assert found["n_users"] == rows.sum()
    everything = metrics.evaluate(model, CLICKS.test, exclude_seen=False, metrics="recall")
    lists, _ = model.recommend(k=10, exclude_seen=False)
    assert everything["recall@10"] == pytest.approx(np.nanmean(metrics.recall(lists, CLICKS.test)))


def test_rows_to_fold_in_are_ranked_as_they_recommend(model: ImplicitMF) -> None:
    lists, _ = model.recommend(X=CLICKS.train[:50], k=5)
    found = metrics.evaluate(model, CLICKS.test[:50], X=CLICKS.train[:50], k=5, metrics="ndcg")
    assert found["ndcg@5"] == pytest.approx(np.nanmean(metrics.ndcg(lists, CLICKS.test[:50])))


def test_ids_are_matched_and_what_is_unknown_is_counted() -> None:
    train = Interactions.from_arrays(list("aabbcc"), [1, 2, 2, 3, 1, 4])
    test = Interactions.from_arrays(list("ccbaz"), [3, 9, 1, 9, 1])
    model = ImplicitMF(n_factors=2, random_state=0).fit(train)
    found = metrics.evaluate(model, test, k=1, metrics="hit_rate", per_user=True)
    assert found["users"].tolist() == ["b", "c"]
    best, _ = model.recommend(["b", "c"], k=1)
    np.testing.assert_array_equal(found["hit_rate@1"], best[:, 0] == [1, 3])
    counts = metrics.evaluate(model, test, metrics="recall")
    assert (counts["n_users"], counts["n_skipped"], counts["n_dropped"]) == (2, 2, 3)
    fold_in = Interactions.from_arrays(["n", "m"], [1, 2])
    target = Interactions.from_arrays(["m", "n"], [3, 4])
    found = metrics.evaluate(model, target, X=fold_in, k=1, metrics="recall", per_user=True)
    assert found["users"].tolist() == ["m", "n"]
    best, _ = model.recommend(X=fold_in, k=1)
    np.testing.assert_array_equal(found["recall@1"], best[:, 0] == [3, 4])


def test_a_ratings_model_is_ranked_too() -> None:
    data = matfac.datasets.planted_ratings(100, 60, 2000, seed=0)
    model = ExplicitMF(n_factors=4, random_state=0).fit(data.train)
    found = metrics.evaluate(model, data.test >= 4, k=5, metrics="recall")
    lists, _ = model.recommend(k=5)
    assert found["recall@5"] == pytest.approx(np.nanmean(metrics.recall(lists, data.test >= 4)))


# ---------------------------------------------------------------- corners and bad input


def test_a_list_longer_than_the_catalogue_ends_early() -> None:
    test = sp.csr_array([[0, 0, 1, 1]])
    tables = (np.ones((1, 1)), np.array([[4.0], [3.0], [2.0], [1.0]]))
    train = sp.csr_array([[1, 0, 0, 0]])
    found = metrics.evaluate(tables, test, train=train, k=10**9, metrics=("precision", "recall"))
    assert found["recall@1000000000"] == 1.0
    assert found["precision@1000000000"] == 2e-9


def test_values_of_test_do_not_count_and_stored_zeros_are_no_entries() -> None:
    tables = (np.eye(2), np.eye(2))
    graded = sp.csr_array((np.array([5.0, 0.0, 0.1]), ([0, 0, 1], [0, 1, 0])), shape=(2, 2))
    found = metrics.evaluate(tables, graded, exclude_seen=False, k=1, metrics="recall")
    assert (found["recall@1"], found["n_users"]) == (0.5, 2)
    assert metrics.recall([[0], [1]], graded).tolist() == [1.0, 0.0]


def test_an_item_listed_twice_is_one_hit() -> None:
    relevant = sp.csr_array([[1, 0, 1]])
    assert metrics.recall([[2, 2, 2]], relevant).tolist() == [0.5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": sp.csr_array((3, 2))}, r"test must have shape \(2, 3\).*transposed"),
        ({"test": np.ones((2, 3))}, "test must be a SciPy sparse matrix or an Interactions"),
        ({"test": sp.csr_array([[0, -1.0, 0], [0, 0, 0]])}, r"test\[0, 1\] = -1.0"),
        ({"test": sp.csr_array([[0, np.nan, 0], [0, 0, 0]])}, r"test\[0, 1\] = nan"),
        ({"test": sp.csr_array((2, 3))}, "no relevant item"),
        ({"test": Interactions.from_arrays([0], [0])}, "no ids to match"),
        ({"train": sp.csr_array((2, 2))}, r"train must have shape \(2, 3\)"),
        ({"train": None}, "give train"),
        ({"train": sp.csr_array([[0, 1, 0], [0, 0, 0]])}, "every entry of test is among the seen"),
        ({"k": 0}, "k must be at least 1"),
        ({"k": 2.5}, "k must be an integer"),
        ({"k": []}, "at least one cut-off"),
        ({"metrics": "accuracy"}, "metrics must be of hit_rate.*got 'accuracy'"),
        ({"metrics": ["rmse"]}, "compares ratings with model.predict"),
        ({"metrics": []}, "got none"),
        ({"metrics": "coverage", "per_user": True}, "coverage has no value per user"),
        ({"train": None, "exclude_seen": False, "metrics": "novelty"}, "novelty needs the train"),
        ({"model": np.eye(3)}, "model must be a fitted estimator or a tuple"),
        ({"model": (np.ones((2, 2)), np.ones((3, 3)))}, r"got \(2, 2\) and \(3, 3\)"),
        ({"model": (np.full((2, 2), np.inf), np.ones((3, 2)))}, "user_factors holds values"),
        ({"model": (np.ones((2, 2)), np.ones((3, 2)), np.ones(2))}, "item_bias must hold"),
        ({"X": sp.csr_array((2, 3))}, "X is folded in by a fitted estimator"),
        ({"n_threads": 0}, "n_threads must not be 0"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "model": (np.ones((2, 2)), np.ones((3, 2))),
        "test": sp.csr_array([[0, 1.0, 0], [0, 0, 0]]),
        "train": sp.csr_array([[1.0, 0, 0], [0, 0, 1]]),
        **change,
    }
    with pytest.raises((ValueError, TypeError), match=message):
        metrics.evaluate(**arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.recall([[0.5]], sp.csr_array((1, 1))), "lists must be item indices"),
        (lambda: metrics.recall([0], sp.csr_array((1, 1))), "lists must be item indices"),
        (lambda: metrics.recall([[-2]], sp.csr_array((1, 1))), "or -1 for padding"),
        (lambda: metrics.recall([[0]], sp.csr_array((2, 1))), "relevant has 2 rows"),
        (lambda: metrics.coverage([[5]], 5), "lists holds item 5"),
        (lambda: metrics.novelty([[5]], sp.csr_array((2, 5))), "lists holds item 5"),
        (lambda: metrics.rmse([1], [1, 2]), "one shape"),
        (lambda: metrics.rmse([1, 2], [1, np.nan]), "predicted must be finite, got nan"),
        (lambda: metrics.mae([np.inf, 2], [1, 2]), "truth must be finite, got inf"),
    ],
)
def test_bad_lists_are_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_an_unfitted_model_and_one_without_its_training_entries(
    model: ImplicitMF, tmp_path: Any
) -> None:
    with pytest.raises(ValueError, match="not fitted"):
        metrics.evaluate(ImplicitMF(), CLICKS.test)
    model.save(tmp_path / "m", with_seen=False)
    with pytest.raises(ValueError, match="give train"):
        metrics.evaluate(matfac.load(tmp_path / "m"), CLICKS.test)


@pytest.mark.parametrize(
    "metric",
    [
        metrics.hit_rate, metrics.precision, metrics.recall, metrics.recall_capped, metrics.ndcg,
        metrics.average_precision, metrics.reciprocal_rank,
    ],
)  # fmt: skip
def test_lists_hold_no_item_that_there_is_not(metric: Any) -> None:
    with pytest.raises(ValueError, match="lists holds item 50, but there are 3 items"):
        metric([[0, 50]], sp.csr_array([[1, 0, 0]]))


def test_errors_of_ratings_name_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="truth must hold numbers"):
        metrics.rmse(["a"], [1])
    with pytest.raises(ValueError, match="predicted must hold numbers"):
        metrics.mae([1], ["a"])

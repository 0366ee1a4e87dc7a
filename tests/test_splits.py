"""Splits: every entry in one part, nothing of the held-out side in training."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GridSearchCV, cross_val_score

from matfac import ExplicitMF, ImplicitMF, Interactions, RatingRegressor, datasets, metrics, splits


@st.composite
def timed(draw: st.DrawFn) -> tuple[sp.csr_array, np.ndarray]:
    """A matrix of ratings, 0 among them, and times with ties."""
    n_users, n_items = draw(st.integers(2, 12)), draw(st.integers(2, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    known = rng.random((n_users, n_items)) < draw(st.sampled_from([0.2, 0.6, 1.0]))
    known[0, :2] = True
    rows, columns = np.nonzero(known)
    values = rng.integers(0, 6, len(rows)).astype("float32")
    X = sp.csr_array((values, (rows, columns)), shape=known.shape)
    return X, rng.integers(0, draw(st.sampled_from([3, 1000])), X.nnz)


def cells(matrix: Any) -> dict[tuple[int, int], float]:
    coo = matrix.tocoo()
    return dict(
        zip(zip(*(c.tolist() for c in coo.coords), strict=True), coo.data.tolist(), strict=True)
    )


def as_interactions(X: sp.csr_array, times: np.ndarray) -> Interactions:
    users = [f"u{i:02d}" for i in range(X.shape[0])]
    return Interactions(X, users, range(100, 100 + X.shape[1]), times)


def check_parts(X: sp.csr_array, times: np.ndarray, split: Any) -> tuple[Any, Any]:
    """Parts are disjoint and together everything, for a matrix and for an Interactions alike."""
    train, test = split(X, timestamps=times)
    whole, one, other = cells(X), cells(train), cells(test)
    assert train.shape == test.shape == X.shape
    assert not set(one) & set(other)
    assert {**one, **other} == whole
    named, named_test = split(as_interactions(X, times))
    assert cells(named.matrix) == one
    assert cells(named_test.matrix) == other
    assert named.user_ids.tolist() == as_interactions(X, times).user_ids.tolist()
    when = dict(zip(cells(X), times.tolist(), strict=True))
    for part in (named, named_test):
        assert part.timestamps.tolist() == [when[cell] for cell in cells(part.matrix)]
    return one, other


@settings(max_examples=60, deadline=None)
@given(timed(), st.sampled_from([1, 2, 0.2, 0.5, 0.9]), st.booleans(), st.integers(0, 5))
def test_per_user(data: Any, size: float, latest: bool, seed: int) -> None:
    X, times = data
    counts = np.diff(X.indptr)
    if isinstance(size, int) and counts.max() <= size:
        with pytest.raises(ValueError, match="takes no entry"):
            splits.per_user(X, size, random_state=seed)
        return

    def split(X: Any, **more: Any) -> Any:
        return splits.per_user(X, size, latest=latest, random_state=seed, **more)

    train, test = check_parts(X, times, split)
    when = dict(zip(cells(X), times, strict=True))
    for user, count in enumerate(counts):
        mine = [cell for cell in test if cell[0] == user]
        rest = [cell for cell in train if cell[0] == user]
        assert bool(rest) == (count > 0)
        if isinstance(size, int):
            assert len(mine) == (size if count > size else 0)
        elif count > 1:
            assert len(mine) == min(max(int(size * count + 0.5), 1), count - 1)
        if latest and mine:
            assert max((when[c], c[1]) for c in rest) < min((when[c], c[1]) for c in mine)


@settings(max_examples=60, deadline=None)
@given(timed(), st.sampled_from([1, 0.1, 0.5]))
def test_temporal(data: Any, size: float) -> None:
    X, times = data
    wanted = size if isinstance(size, int) else round(size * X.nnz)
    if wanted == 0 or np.sort(times)[-wanted] == times.min():
        with pytest.raises(ValueError, match=r"all entries on one side|both sides need some"):
            splits.temporal(X, size, timestamps=times)
        return
    train, test = check_parts(X, times, lambda X, **more: splits.temporal(X, size, **more))
    when = dict(zip(cells(X), times, strict=True))
    assert max(when[cell] for cell in train) < min(when[cell] for cell in test)
    assert len(test) >= wanted
    later = np.unique(times)[np.unique(times) > min(when[cell] for cell in test)]
    assert not len(later) or (times >= later[0]).sum() < wanted


def test_temporal_cut_by_number_and_by_datetime() -> None:
    X = sp.csr_array([[1.0, 2.0], [3.0, 4.0]])
    days = np.array(["2020-01-01", "2020-01-03", "2020-01-02", "2020-01-04"], "datetime64[D]")
    zone = dt.timezone(dt.timedelta(hours=1))
    for cut in (
        "2020-01-03", days[1], dt.date(2020, 1, 3), pd.Timestamp("2020-01-03"),
        dt.datetime(2020, 1, 3, 1, tzinfo=zone), 1578009600,
    ):  # fmt: skip
        train, test = splits.temporal(X, cut=cut, timestamps=days)
        assert (sorted(train.data), sorted(test.data)) == ([1, 3], [2, 4])


@settings(max_examples=40, deadline=None)
@given(timed(), st.sampled_from([1, 0.3]), st.integers(0, 5))
def test_entries(data: Any, size: float, seed: int) -> None:
    X, times = data

    def split(X: Any, timestamps: Any = None) -> Any:
        return splits.entries(X, size, random_state=seed)

    _, test = check_parts(X, times, split)
    assert len(test) == (size if isinstance(size, int) else round(size * X.nnz))


@settings(max_examples=60, deadline=None)
@given(timed(), st.sampled_from([1, 0.4]), st.sampled_from([1, 0.5]), st.booleans())
def test_held_out_users(data: Any, size: float, target: float, latest: bool) -> None:
    X, times = data
    arguments = {"target_size": target, "latest": latest, "random_state": 0}
    try:
        split = splits.held_out_users(X, size, timestamps=times, **arguments)
    except ValueError as error:
        if not any(w in str(error) for w in ("enough entries", "no entries to", "both sides")):
            raise
        return
    train_users, test_users = split.train_users, split.test_users
    assert sorted([*train_users, *test_users]) == list(range(X.shape[0]))
    assert (split.train != X[train_users]).nnz == 0
    assert split.train.nnz == X[train_users].nnz
    one, other = cells(split.fold_in), cells(split.target)
    assert not set(one) & set(other)
    assert {**one, **other} == cells(X[test_users])
    assert (np.diff(split.fold_in.indptr) > 0).all()
    assert (np.diff(split.target.indptr) > 0).all()
    named = splits.held_out_users(as_interactions(X, times), size, **arguments)
    ids = as_interactions(X, times).user_ids
    assert not set(named.train.user_ids) & set(named.target.user_ids)
    for part, plain, rows in (
        (named.train, split.train, train_users),
        (named.fold_in, split.fold_in, test_users),
        (named.target, split.target, test_users),
    ):
        assert part.user_ids.tolist() == ids[rows].tolist()
        assert part.item_ids.tolist() == list(range(100, 100 + X.shape[1]))
        assert cells(part.matrix) == cells(plain)
        when = dict(zip(cells(X), times, strict=True))
        assert part.timestamps.tolist() == [when[rows[u], i] for u, i in cells(part.matrix)]
    if latest:
        for row in range(len(test_users)):
            seen, asked = (
                [when[test_users[row], i] for u, i in cells(part) if u == row]
                for part in (split.fold_in, split.target)
            )
            assert max(seen) <= min(asked)


def test_leave_one_out_takes_the_latest_of_equal_times_by_item() -> None:
    X = sp.csr_array([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]])
    _, test = splits.leave_one_out(X, timestamps=[5, 7, 7, 9])
    assert test.data.tolist() == [3.0]
    drawn = {
        splits.leave_one_out(X, latest=False, random_state=seed)[1].data.item()
        for seed in range(20)
    }
    assert drawn == {1.0, 2.0, 3.0}


def test_seeds_give_the_same_split_again_and_other_seeds_another() -> None:
    X = datasets.planted_clicks(100, 80, 2000, seed=0).train
    for split in (splits.entries, splits.per_user):
        one, again, other = (split(X, 0.3, random_state=seed)[1] for seed in (1, 1, 2))
        assert cells(one) == cells(again)
        assert cells(one) != cells(other)


def test_the_matrix_given_is_left_as_it_was_and_its_dtype_kept() -> None:
    X = sp.coo_array(([1, 2, 4, 8], ([1, 0, 1, 0], [0, 1, 0, 0])), shape=(2, 2))
    train, test = splits.entries(X, 1, random_state=0)
    assert X.nnz == 4
    assert train.dtype == test.dtype == X.dtype
    assert {**cells(train), **cells(test)} == {(0, 0): 8, (0, 1): 2, (1, 0): 5}


def test_held_out_users_of_interactions_are_folded_in_and_evaluated() -> None:
    clicks = datasets.planted_clicks(400, 100, 10_000, seed=1).train
    data = Interactions(clicks, [f"u{i}" for i in range(400)], range(100))
    split = splits.held_out_users(data, 0.25, random_state=0)
    model = ImplicitMF(n_factors=8, random_state=0).fit(split.train)
    found = metrics.evaluate(model, split.target, X=split.fold_in, metrics=("auc", "recall"))
    assert found["n_users"] == 100
    assert found["n_seen"] == 0
    assert found["auc"] > 0.7


# ---------------------------------------------------------------- pairs, for scikit-learn


def test_pairs_of_a_user_are_dealt_evenly_and_repeated_pairs_stay_together() -> None:
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 9, 200), rng.integers(0, 15, 200)
    pairs = np.array([[f"u{u}", f"i{i}"] for u, i in zip(users, items, strict=True)])
    cv = splits.PerUserKFold(4, random_state=0)
    folds = list(cv.split(pairs))
    assert len(folds) == cv.get_n_splits() == 4
    tested = np.concatenate([test for _, test in folds])
    np.testing.assert_array_equal(np.sort(tested), np.arange(200))
    sizes = []
    for train, test in folds:
        assert sorted([*train, *test]) == list(range(200))
        assert not {tuple(p) for p in pairs[train]} & {tuple(p) for p in pairs[test]}
        distinct = {tuple(p) for p in pairs[test]}
        sizes.append([sum(p[0] == f"u{u}" for p in distinct) for u in range(9)])
    assert (np.ptp(np.array(sizes), axis=0) <= 1).all()


def test_temporal_folds_train_on_the_past() -> None:
    rng = np.random.default_rng(0)
    times = rng.integers(0, 40, 100)
    pairs = np.column_stack((rng.integers(0, 9, 100), rng.integers(0, 9, 100)))
    before = 0
    for train, test in splits.TemporalKFold(4).split(pairs, groups=times):
        assert times[train].max() < times[test].min()
        assert len(train) >= before
        before = len(train) + len(test)
    assert before == 100


def test_both_run_in_scikit_learns_tools() -> None:
    data = datasets.planted_ratings(150, 60, 4000, seed=0).train.tocoo()
    pairs = np.column_stack(data.coords)
    times = np.random.default_rng(0).permutation(len(pairs))
    model = RatingRegressor(ExplicitMF(n_factors=4, random_state=0))
    scores = cross_val_score(
        model, pairs, data.data, cv=splits.TemporalKFold(2), groups=times, scoring="r2"
    )
    assert len(scores) == 2
    search = GridSearchCV(
        model, {"model__reg": [0.05, 10.0]}, cv=splits.PerUserKFold(3, random_state=0)
    ).fit(pairs, data.data)
    assert search.best_params_ == {"model__reg": 0.05}


# ---------------------------------------------------------------- bad input

X = sp.csr_array([[1.0, 2.0], [3.0, 0.0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: splits.entries([[1, 2]]), "X must be a SciPy sparse matrix or an Interactions"),
        (lambda: splits.entries(sp.csr_array((2, 2))), "X has no stored entries"),
        (lambda: splits.entries(X, 3), "takes 3 of the 3 entries: both sides"),
        (lambda: splits.entries(X, 0.01), "takes 0 of the 3 entries"),
        (lambda: splits.entries(X, 1.0), "test_size must be less than 1"),
        (lambda: splits.entries(X, 0), "test_size must be at least 1"),
        (lambda: splits.entries(X, True), "test_size must be a number"),
        (lambda: splits.entries(X, "half"), "test_size must be a number"),
        (lambda: splits.per_user(X, 5), "no user of X has more, the longest row holds 2"),
        (lambda: splits.per_user(X, latest=True), "X has no timestamps.*or latest=False"),
        (lambda: splits.leave_one_out(X), "X has no timestamps"),
        (lambda: splits.leave_one_out(X, timestamps=[1, 2]), "2 values, but X has 3 entries"),
        (lambda: splits.leave_one_out(X, timestamps=[1, np.nan, 3]), "timestamps.*not finite"),
        (lambda: splits.temporal(X.tocoo(), timestamps=[1, 2, 3]), "timestamps need a CSR"),
        (lambda: splits.temporal(X), "X has no timestamps"),
        (lambda: splits.temporal(X, cut=9, timestamps=[1, 2, 3]), "cut leaves all.*from 1 to 3"),
        (lambda: splits.temporal(X, timestamps=[1, 1, 1]), "test_size takes|test_size leaves"),
        (lambda: splits.temporal(X, cut="now", timestamps=[1, 2, 3]), "cut must be a number or"),
        (lambda: splits.temporal(X, cut=[1], timestamps=[1, 2, 3]), "cut must be a number or"),
        (
            lambda: splits.temporal(Interactions.from_arrays([1], [1]), timestamps=[1]),
            "an Interactions has its own",
        ),
        (lambda: splits.held_out_users(X, 2), "takes 2 of the 2 users"),
        (lambda: splits.held_out_users(X, 1, target_size=2), "only 0 users of X have enough"),
        (lambda: next(splits.PerUserKFold(1).split([[1, 2]])), "n_splits must be at least 2"),
        (lambda: next(splits.PerUserKFold(3).split([[1, 2]])), "more than the 1 distinct"),
        (lambda: next(splits.PerUserKFold(2).split([1, 2])), "exactly two columns"),
        (lambda: next(splits.TemporalKFold(2).split([[1, 2]])), "pass groups=timestamps"),
        (lambda: next(splits.TemporalKFold(2).split([[1, 2]], groups=[1, 2])), "but X has 1"),
        (
            lambda: next(splits.TemporalKFold(2).split([[1, 2]] * 4, groups=[1, 1, 1, 2])),
            "do not part into as many",
        ),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call()


@pytest.mark.parametrize("cut", [np.nan, np.inf, np.datetime64("NaT")])
def test_a_cut_that_is_no_time(cut: Any) -> None:
    with pytest.raises(ValueError, match=r"^cut must be finite, got"):
        splits.temporal(sp.csr_array(np.eye(3)), cut=cut, timestamps=range(3))

"""LowRankMF: closed forms, weighted ALS against the reference, holes, and bad input."""

from __future__ import annotations

import sys
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize

from matfac import LowRankMF, _dense_als, _engine, _truncated, reference
from matfac._cells import check_cells


def decaying(m: int, n: int, seed: int = 0, rate: float = 0.8) -> np.ndarray:
    """A matrix whose singular values fall geometrically."""
    rng = np.random.default_rng(seed)
    k = min(m, n)
    left = np.linalg.qr(rng.normal(size=(m, k)))[0]
    right = np.linalg.qr(rng.normal(size=(n, k)))[0]
    return 10 * (left * rate ** np.arange(k)) @ right.T


def holes(X: np.ndarray, share: float, seed: int = 1) -> np.ndarray:
    missing = np.random.default_rng(seed).random(X.shape) < share
    return np.where(missing, np.nan, X)


def best_error(X: np.ndarray, rank: int) -> float:
    return float(np.sqrt((scipy.linalg.svdvals(X)[rank:] ** 2).sum()))


# ---------------------------------------------------------------- truncated SVD


@pytest.mark.parametrize("shape", [(60, 25), (25, 60), (40, 40)])
@pytest.mark.parametrize("rank", [1, 5, 25])
def test_truncated_svd_is_optimal(shape: tuple[int, int], rank: int, dtype: str) -> None:
    X = decaying(*shape).astype(dtype)
    left, singular, right = _truncated.truncated_svd(X, rank)
    tight = 1e-5 if dtype == "float32" else 1e-9
    assert singular == pytest.approx(scipy.linalg.svdvals(X)[:rank], rel=tight, abs=tight)
    error = np.linalg.norm(X - (left * singular) @ right)
    assert error == pytest.approx(best_error(X, rank), rel=1e-4, abs=10 * tight)
    assert left.dtype == right.dtype == X.dtype


@pytest.mark.parametrize("rank", [3, 6, 12, 30])
def test_what_a_gram_cannot_resolve_goes_to_the_svd(rank: int) -> None:
    X = decaying(50, 30, rate=0.05)  # the sixth value is 1e-7 of the first
    left, singular, right = _truncated.truncated_svd(X, rank)
    error = np.linalg.norm(X - (left * singular) @ right)
    assert error == pytest.approx(best_error(X, rank), rel=1e-4, abs=1e-13)


def test_randomized_svd_comes_close_and_repeats() -> None:
    X = decaying(300, 200, rate=0.95)
    one, two = (_truncated.truncated_svd(X, 20, randomized=True, seed=3) for _ in range(2))
    assert np.linalg.norm(X - (one.left * one.singular) @ one.right) < 1.001 * best_error(X, 20)
    assert (one.right == two.right).all()
    exact = _truncated.truncated_svd(X, 20)
    assert np.abs(np.sum(one.right[:5] * exact.right[:5], axis=1)).min() > 0.999


def test_spectrum_of_both_orientations() -> None:
    X = decaying(40, 15)
    wanted = scipy.linalg.svdvals(X)
    assert _truncated.spectrum(X) == pytest.approx(wanted, rel=1e-6)
    assert _truncated.spectrum(X.T) == pytest.approx(wanted, rel=1e-6)


# ---------------------------------------------------------------- the closed form


def test_leading_eigenpairs_with_and_without_lapack(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(0).standard_normal((60, 30))
    values, vectors = _engine.leading_eigen(X.T @ X, 4)
    np.testing.assert_allclose(values[::-1], np.linalg.svd(X)[1][:4] ** 2)
    np.testing.assert_allclose(X.T @ X @ vectors, vectors * values, atol=1e-10)
    monkeypatch.setitem(sys.modules, "matfac._blas", None)
    others, _ = _engine.leading_eigen(X.T @ X, 4)
    np.testing.assert_allclose(others, values)


def test_complete_matrix_gets_the_truncated_svd() -> None:
    X = decaying(50, 30)
    model = LowRankMF(n_factors=6).fit(X)
    assert np.linalg.norm(X - model.inverse_transform(model.transform(X))) == pytest.approx(
        best_error(X, 6), rel=1e-9
    )
    assert model.objective_ == pytest.approx(best_error(X, 6) ** 2, rel=1e-9)
    assert model.n_iter_ == 0


@pytest.mark.parametrize("exponent", [0.0, 1.0])
@pytest.mark.parametrize("weight", [None, 2.5])
def test_ridge_of_the_closed_form_is_its_minimum(exponent: float, weight: float | None) -> None:
    X = decaying(30, 20)
    w = np.full(X.shape, 1.0 if weight is None else weight)
    reg = 0.8 if exponent == 0 else 0.03
    model = LowRankMF(n_factors=20, reg=reg, reg_exponent=exponent)
    model.fit(X, weights=None if weight is None else w)
    ridges = reg * w.sum(axis=1) ** exponent, reg * w.sum(axis=0) ** exponent
    users = model.transform(X, weights=None if weight is None else w)
    value = reference.weighted_objective(X, w, users, model.components_, ridges)
    assert value == pytest.approx(model.objective_, rel=1e-8)
    # Neither side can be bettered: each is what the other's exact solution is.
    again = reference.weighted_half_sweep(X, w, model.components_.T, ridges[0])
    assert again == pytest.approx(users, abs=1e-7)
    columns = reference.weighted_half_sweep(X.T, w.T, users, ridges[1])
    assert pytest.approx(model.components_, abs=1e-7) == columns.T
    assert np.linalg.matrix_rank(users @ model.components_, tol=1e-8) < 20


# ---------------------------------------------------------------- weighted ALS


def problem(m: int, n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    weights = rng.exponential(size=(m, n)) * (rng.random((m, n)) < 0.8)
    return rng.normal(size=(m, n)), weights, rng.normal(size=(n, k))


@cache  # of every instruction set
def solved_problem(
    shape: tuple[int, int], k: int, nonnegative: bool, dtype: str
) -> tuple[np.ndarray, ...]:
    X, weights, fixed = problem(*shape, k, seed=k)
    if nonnegative:
        X, fixed = np.abs(X), np.abs(fixed)
    X, weights, fixed = (array.astype(dtype) for array in (X, weights, fixed))
    ridge = 0.1 * weights.sum(axis=1, dtype=float)
    wanted = reference.weighted_half_sweep(X, weights, fixed, ridge, nonnegative=nonnegative)
    return X, weights, fixed, wanted


@pytest.mark.parametrize("shape", [(16, 90), (70, 270)], ids=["one by one", "together"])
@pytest.mark.parametrize("k", [1, 7, 33, 64])
@pytest.mark.parametrize("nonnegative", [False, True])
def test_rows_agree_with_the_reference(
    isa: str, dtype: str, shape: tuple[int, int], k: int, nonnegative: bool
) -> None:
    X, weights, fixed, wanted = solved_problem(shape, k, nonnegative, dtype)
    cells = check_cells(LowRankMF(), X, weights, reset=True).ratings
    found = _dense_als.solve_rows(
        cells, fixed, reg=0.1, reg_exponent=1.0, nonnegative=nonnegative, n_threads=2
    )
    assert found == pytest.approx(wanted, abs=3e-4 if dtype == "float32" else 1e-6)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5], ids="{} missing".format)
def test_same_bits_for_any_thread_count(isa: str, share: float) -> None:
    X, weights, _ = problem(200, 130, 1, seed=3)
    weights = np.where(np.random.default_rng(4).random(X.shape) < share, 0, weights + 0.1)
    fits = [
        LowRankMF(n_factors=9, n_iter=3, n_threads=n).fit(X, weights=weights) for n in (1, 2, 4)
    ]
    for fit in fits[1:]:
        assert (fit.components_ == fits[0].components_).all()
        objectives = [[e["objective"] for e in model.history_] for model in (fit, fits[0])]
        assert objectives[0] == objectives[1]


def test_nonnegative_rows_are_those_of_scipy() -> None:
    X, weights, fixed = problem(20, 50, 6, seed=2)
    cells = check_cells(LowRankMF(), X, weights, reset=True).ratings
    found = _dense_als.solve_rows(
        cells, fixed, reg=0.0, reg_exponent=1.0, nonnegative=True, n_threads=1
    )
    assert (found == 0).any()
    for row, x, w in zip(found, X, weights, strict=True):
        root = np.sqrt(w)
        assert row == pytest.approx(
            scipy.optimize.nnls(fixed * root[:, None], x * root)[0], abs=1e-6
        )


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("reg", [0.0, 0.05])
def test_als_is_monotone_and_never_above_its_start(
    dtype: str, nonnegative: bool, reg: float
) -> None:
    rng = np.random.default_rng(5)
    X = decaying(60, 45) + 0.1 * rng.normal(size=(60, 45))
    X = holes(np.abs(X) if nonnegative else X, 0.3).astype(dtype)
    weights = rng.exponential(size=X.shape)
    model = LowRankMF(n_factors=7, reg=reg, nonnegative=nonnegative, tol=0.0, n_iter=30)
    model.fit(X, weights=weights)
    path = [model.start_objective_, *(record["objective"] for record in model.history_)]
    noise = 1e-5 if dtype == "float32" else 1e-12
    assert all(later <= earlier * (1 + noise) for earlier, later in pairwise(path))
    assert path[-1] < 0.9 * path[0]
    assert model.objective_ == pytest.approx(path[-1], rel=1e-6)
    assert model.components_.dtype == np.dtype(dtype)
    w = np.where(np.isnan(X), 0, weights)
    ridges = reg * w.sum(axis=1), reg * w.sum(axis=0)
    users = model.transform(X, weights=weights)
    value = reference.weighted_objective(X, w, users, model.components_, ridges)
    assert value == pytest.approx(model.objective_, rel=1e-3)
    assert not nonnegative or (users.min() >= 0 and model.components_.min() >= 0)


def test_start_is_the_minimum_for_weights_of_rank_one() -> None:
    """There, ``sum d_i s_j (X - A B)_ij^2`` is the plain error of ``sqrt(d_i s_j) X_ij``."""
    X, rng = decaying(60, 45), np.random.default_rng(6)
    weights = np.outer(rng.exponential(size=60), rng.exponential(size=45))
    model = LowRankMF(n_factors=7, tol=0.0, n_iter=1).fit(X, weights=weights)
    minimum = best_error(np.sqrt(weights) * X, 7) ** 2
    assert model.start_objective_ == pytest.approx(minimum, rel=1e-9)
    assert model.objective_ == pytest.approx(minimum, rel=1e-9)


def test_plain_ridge_at_full_rank_is_soft_impute() -> None:
    X = holes(decaying(25, 20, rate=0.6), 0.3)
    threshold = 0.5
    convex = reference.soft_impute(X, threshold, n_iter=3000, tol=1e-14)
    model = LowRankMF(n_factors=20, reg=threshold, reg_exponent=0, n_iter=2000, tol=1e-12).fit(X)
    assert model.inverse_transform(model.transform(X)) == pytest.approx(convex, abs=2e-3)


def test_weight_zero_is_missing() -> None:
    X = decaying(30, 20)
    missing = np.random.default_rng(0).random(X.shape) < 0.3
    one = LowRankMF(n_factors=3, n_iter=5).fit(np.where(missing, np.nan, X))
    two = LowRankMF(n_factors=3, n_iter=5).fit(np.where(missing, 99.0, X), weights=~missing)
    assert (one.components_ == two.components_).all()


def test_planted_rank_is_recovered_through_holes() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 4)) @ rng.normal(size=(4, 80))
    model = LowRankMF(n_factors=4, n_iter=300, tol=1e-12).fit(holes(X, 0.5))
    filled = model.impute(holes(X, 0.5))
    assert np.linalg.norm(filled - X) < 1e-3 * np.linalg.norm(X)
    newcomers = rng.normal(size=(5, 4)) @ np.linalg.lstsq(model.transform(X), X, rcond=None)[0]
    assert model.impute(holes(newcomers, 0.5)) == pytest.approx(newcomers, abs=1e-2)


def test_impute_keeps_what_is_known() -> None:
    X = holes(decaying(30, 20), 0.2)
    filled = LowRankMF(n_factors=3).fit(X).impute(X)
    known = ~np.isnan(X)
    assert (filled[known] == X[known]).all()
    assert np.isfinite(filled).all()


@pytest.mark.parametrize("nonnegative", [False, True])
def test_fit_transform_is_fit_then_transform(nonnegative: bool) -> None:
    X = holes(np.abs(decaying(30, 20)), 0.2)
    weights = np.random.default_rng(0).random(X.shape) + 0.1
    model = LowRankMF(n_factors=3, nonnegative=nonnegative)
    together = model.fit_transform(X, weights=weights)
    assert together == pytest.approx(model.transform(X, weights=weights))


def test_components_are_orthogonal_longest_first() -> None:
    for X in (decaying(30, 20), holes(decaying(30, 20), 0.2)):
        rows = LowRankMF(n_factors=4).fit(X).components_
        gram = rows @ rows.T
        assert gram - np.diag(np.diag(gram)) == pytest.approx(0, abs=1e-8 * gram.max())
        assert (np.diff(np.diag(gram)) <= 0).all()


def test_callback_ends_the_fit() -> None:
    seen = []
    model = LowRankMF(n_factors=2, tol=0.0, callback=lambda n, r: seen.append(n) or n == 3)
    model.fit(holes(decaying(30, 20), 0.2))
    assert seen == [1, 2, 3]
    assert model.n_iter_ == len(model.history_) == 3


@pytest.mark.parametrize(
    ("parameters", "X"),
    [
        ({"n_factors": 9}, decaying(8, 12)),
        ({"reg": -1.0}, decaying(8, 12)),
        ({"n_threads": 0}, decaying(8, 12)),
        ({}, np.full((8, 12), np.nan)),
        ({"callback": lambda *_: 1 / 0}, holes(decaying(8, 12), 0.2)),
    ],
)
def test_a_fit_that_fails_leaves_the_model_as_it_was(parameters: dict[str, Any], X: Any) -> None:
    model = LowRankMF(n_factors=2).fit(decaying(30, 20))
    before = dict(vars(model.set_params(**parameters)))
    with pytest.raises((ValueError, ZeroDivisionError)):
        model.fit(X)
    assert vars(model) == before
    assert model.n_features_in_ == model.components_.shape[1] == 20


def test_an_interrupted_refit_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    model = LowRankMF(n_factors=2, callback=interrupt).fit(decaying(30, 20))
    with pytest.raises(KeyboardInterrupt):
        model.fit(holes(decaying(8, 12), 0.2))
    assert model.n_features_in_ == model.components_.shape[1] == 12
    assert model.n_iter_ == len(model.history_) == 1
    before = dict(vars(model))
    monkeypatch.setattr(_dense_als, "closed_form_start", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(holes(decaying(30, 20), 0.2))
    assert vars(model) == before


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("parameters", "X", "weights", "message"),
    [
        ({"n_factors": 0}, np.eye(4), None, "n_factors must be at least 1"),
        ({"n_factors": 5}, np.eye(4), None, "at most the shorter side of X, got n_factors = 5"),
        ({"reg": -1.0}, np.eye(4), None, "reg must be finite and at least 0"),
        ({"svd_solver": "fast"}, np.eye(4), None, "svd_solver must be one of"),
        ({}, np.full((4, 4), np.nan), None, "no known cell in row 0 and 3 more"),
        ({}, [[1, np.nan], [2, np.nan]], None, "no known cell in column 1 .*drop that column"),
        ({}, np.eye(4), np.diag([1, 1, 1, 0]), "no known cell in row 3"),
        ({}, np.eye(4), -np.eye(4), "weights must be finite and not negative"),
        ({}, np.eye(4), np.full((4, 4), np.nan), "weights must be finite and not negative"),
        ({}, np.eye(4), np.ones((4, 3)), r"weights must have shape \(4, 4\), got \(4, 3\)"),
        ({"nonnegative": True}, -np.eye(4), None, "Negative values in data"),
        ({}, [[1, np.inf], [2, 3]], None, "infinity"),
    ],
)
def test_bad_input_is_refused(
    parameters: dict[str, Any], X: Any, weights: Any, message: str
) -> None:
    model = LowRankMF(**{"n_factors": 1, **parameters})
    with pytest.raises(ValueError, match=message):
        model.fit(X, weights=weights)
    assert not hasattr(model, "components_")


def test_bad_rows_are_refused_by_a_fitted_model() -> None:
    model = LowRankMF(n_factors=2).fit(decaying(10, 6))
    with pytest.raises(ValueError, match="no known cell in row 1"):
        model.transform([[1.0] * 6, [np.nan] * 6])
    with pytest.raises(ValueError, match=r"T must have shape \(n_samples, 2\)"):
        model.inverse_transform(np.ones((3, 5)))
    with pytest.raises(TypeError, match="weights must be real numbers"):
        model.transform(np.ones((1, 6)), weights=np.full((1, 6), "heavy"))

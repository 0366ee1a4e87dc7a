"""Rows whose normal equations float32 cannot tell from singular ones: more factors than entries, a
ridge below rounding, sizes that overflow. What is asked of them is the loss, not the answer."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import random_ratings
from matfac import ExplicitMF, ImplicitMF, LowRankMF
from matfac._als import Objective, fold_in
from matfac._ratings import Ratings

RATINGS = random_ratings(300, 200, 0.1, seed=0)


def least_loss(A: np.ndarray, y: np.ndarray, w: np.ndarray, ridge: float) -> float:
    """The least of sum w (y - A x)^2 + ridge |x|^2, by a decomposition that squares nothing."""
    k = A.shape[1]
    tall = np.vstack([A * np.sqrt(w)[:, None], np.sqrt(ridge) * np.eye(k)])
    right = np.concatenate([y * np.sqrt(w), np.zeros(k)])
    x = np.linalg.lstsq(tall, right, rcond=None)[0]
    return float(np.sum((tall @ x - right) ** 2))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reg", [0.0, 1e-6])
@pytest.mark.parametrize("spread", [0, 2], ids=["like factors", "factors over two decades"])
@pytest.mark.parametrize(("k", "entries"), [(16, 14), (33, 30), (64, 60), (128, 60), (128, 125)])
def test_a_row_is_fitted_as_well_as_it_can_be(
    k: int, entries: int, spread: float, reg: float, weighted: bool, dtype: str, isa: str
) -> None:
    rng = np.random.default_rng(k)
    fixed = rng.normal(size=(entries, k)) * 10 ** rng.uniform(-spread, 0, (entries, 1))
    y, w = rng.normal(size=entries), rng.uniform(0.2, 3, entries)
    if not weighted:
        w[:] = 1
    rows = sp.csr_array(np.tile(y, (5, 1)).astype(dtype))  # rows side by side, and one alone
    ratings = Ratings(
        rows.shape, rows.indptr.astype(np.int64), rows.indices.astype(np.int32), rows.data,
        np.tile(w, 5).astype(dtype) if weighted else None,
    )  # fmt: skip
    objective = Objective("ratings", reg, 0.0)
    found, _ = fold_in(ratings, objective, fixed.astype(dtype), None, 1)
    least = least_loss(fixed, y, w, reg)
    hard = spread and entries > 0.9 * k  # the Gram's condition is a million and more
    for x in found.astype(float):
        loss = np.sum(w * (y - fixed @ x) ** 2) + reg * x @ x
        assert loss <= least + (2e-2 if hard else 1e-5) * np.sum(w * y**2)


@pytest.mark.parametrize(
    ("scale", "parameters"),
    [
        (1e5, {"cg_steps": None}), (1e8, {"n_factors": 128}),
        (1, {"n_factors": 128, "reg": 1e-6, "cg_steps": None}),
        (1, {"n_factors": 64, "reg": 1e-5, "reg_exponent": 0, "cg_steps": None}),
        (1, {"n_factors": 129, "reg": 1e-9}),
    ],
)  # fmt: skip
def test_a_ridge_below_rounding(scale: float, parameters: dict[str, Any]) -> None:
    X = RATINGS * scale
    coo = X.tocoo()
    fits = {
        kind: ExplicitMF(random_state=0, dtype=kind, **parameters).fit(X)
        for kind in ("float32", "float64")
    }
    wanted = fits["float64"].objective_
    assert fits["float32"].objective_ == pytest.approx(
        wanted, rel=0.3, abs=1e-6 * (coo.data @ coo.data)
    )
    for model in fits.values():
        history = [record["objective"] for record in model.history_]
        size = 1e-6 * float(coo.data @ coo.data)
        assert all(b <= a * 1.001 + size for a, b in pairwise(history))
        assert model.objective_ <= history[-1] * 1.001 + size
        error = model.predict(*coo.coords) - coo.data
        assert np.sqrt(np.mean(error**2)) < 0.05 * coo.data.std()


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e9, 1e14])
@pytest.mark.parametrize("cg_steps", [3, None])
def test_ratings_and_ridge_of_any_scale_give_the_same_model(
    scale: float, cg_steps: int | None
) -> None:
    plain = ExplicitMF(fit_bias=False, reg=0.05, cg_steps=cg_steps, random_state=0)
    scaled = ExplicitMF(fit_bias=False, reg=0.05 * scale, cg_steps=cg_steps, random_state=0)
    one, other = plain.fit(RATINGS), scaled.fit(RATINGS * scale)
    pairs = RATINGS.tocoo().coords
    np.testing.assert_allclose(other.predict(*pairs) / scale, one.predict(*pairs), atol=2e-3)


@pytest.mark.parametrize("cg_steps", [3, None])
@pytest.mark.parametrize("alpha0", [0.0, 1e-6])
def test_clicks_without_a_ridge(alpha0: float, cg_steps: int | None) -> None:
    X = random_ratings(300, 200, 0.1, seed=0, implicit=True)
    model = ImplicitMF(
        alpha0=alpha0, reg=0, n_factors=64, n_iter=30, cg_steps=cg_steps, random_state=0
    ).fit(X)
    assert model.objective_ < 0.02 * X.nnz
    assert np.abs(model.user_factors_).max() < 1e4


@pytest.mark.parametrize(("rank", "known"), [(25, 0.4), (40, 0.4), (56, 0.8)])
def test_dense_rows_with_fewer_cells_than_the_rank(rank: int, known: float, dtype: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 60)).astype(dtype)
    X[rng.random(X.shape) > known] = np.nan
    model = LowRankMF(rank, random_state=0).fit(X)
    fitted = model.transform(X).astype(float) @ model.components_
    assert np.nansum((X - fitted) ** 2) <= model.objective_ + 1e-4
    assert np.abs(fitted).max() < 1e3

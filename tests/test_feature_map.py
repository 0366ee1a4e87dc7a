"""Half sweeps towards a prior, and the map from features to factors, against the NumPy twin."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import core_csr, random_ratings, side_features, table
from matfac import _core, _features, reference
from matfac._engine import empty_table
from matfac._features import FeatureMap, prior_of

M, N, P = 60, 80, 5
TOLERANCE = {"float32": 5e-5, "float64": 1e-10}
LOSSES = ("ratings", "ials", "hu")


def triplet(matrix: sp.csr_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return matrix.indptr, matrix.indices, matrix.data


# ---------------------------------------------------------------- the half sweep with a prior


@pytest.mark.parametrize("k", [1, 7, 16, 33])
@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("loss", LOSSES)
def test_half_sweep_towards_a_prior_equals_twin(
    loss: str, steps: int, k: int, dtype: str, isa: str
) -> None:
    matrix = random_ratings(M, N, 0.2, seed=1)
    rng = np.random.default_rng(2)
    x, y, prior = (rng.normal(size=(n, k)) * 0.3 for n in (M, N, M))
    biased = loss == "ratings"
    bias, item_bias, prior_bias = (rng.normal(size=n) * 0.1 for n in (M, N, M))
    ridge = np.linspace(0.4, 0.9, M)
    counts = reference.entry_counts(triplet(matrix), N)[1]
    solved, solved_bias = table(x, dtype), bias.astype(dtype)
    value, ridge_part = _core.half_sweep(
        core_csr(matrix, dtype),
        loss=loss,
        mean=3.1 if biased else 0.0,
        alpha=0.3,
        k=k,
        fixed=table(y, dtype),
        solved=solved,
        fixed_bias=item_bias.astype(dtype) if biased else None,
        solved_bias=solved_bias if biased else None,
        prior=table(prior, dtype),
        prior_bias=prior_bias.astype(dtype) if biased else None,
        ridge=ridge.astype(dtype),
        fixed_weight=counts.astype(dtype),
        cg_steps=steps,
        tolerance=1e-20,
        keep_basis=True,
        n_threads=2,
    )
    if biased:
        wanted, wanted_bias = reference.explicit_half_sweep(
            triplet(matrix), y, item_bias, x, bias, mean=3.1, ridge=ridge, fixed_counts=counts,
            cg_steps=steps or None, prior=np.column_stack((prior, prior_bias)),
        )  # fmt: skip
        np.testing.assert_allclose(solved_bias, wanted_bias, atol=TOLERANCE[dtype])
    else:
        wanted = reference.implicit_half_sweep(
            triplet(matrix), y, x, ridge=ridge, cg_steps=steps or None, prior=prior,
            **({"alpha0": 0.3} if loss == "ials" else {"alpha": 0.3}),
        )  # fmt: skip
    np.testing.assert_allclose(solved[:, :k], wanted, atol=TOLERANCE[dtype])
    np.testing.assert_allclose(solved[M // 2, :k], prior[M // 2], atol=TOLERANCE[dtype])
    assert not solved[:, k:].any()
    deviation = solved[:, :k] - prior
    squares = (deviation.astype(np.float64) ** 2).sum(axis=1)
    if biased:
        squares += (solved_bias.astype(np.float64) - prior_bias) ** 2
    own = _core.loss_value(
        core_csr(matrix, dtype), loss=loss, mean=3.1 if biased else 0.0, alpha=0.3, k=k,
        users=without_the_empty(solved), items=table(y, dtype),
        user_bias=solved_bias if biased else None,
        item_bias=item_bias.astype(dtype) if biased else None, n_threads=1,
    )  # fmt: skip
    assert ridge_part == pytest.approx(ridge @ squares, rel=1e-4)
    assert value == pytest.approx(own + ridge @ squares, rel=1e-5)


def without_the_empty(solved: np.ndarray) -> np.ndarray:
    """The rows that the half sweep's value counts: those with entries."""
    counted = empty_table(*solved.shape, solved.dtype)
    counted[:] = solved
    counted[M // 2] = 0
    return counted


@pytest.mark.parametrize("loss", LOSSES)
def test_a_prior_moves_the_problem_and_nothing_else(loss: str) -> None:
    """Solving for the deviation from the prior by hand gives the same rows."""
    matrix = random_ratings(M, N, 0.2, seed=3)
    rng = np.random.default_rng(4)
    y, prior = rng.normal(size=(N, 4)) * 0.3, rng.normal(size=(M, 4))
    dense, known = matrix.toarray(), matrix.toarray() != 0
    solved = table(np.zeros((M, 4)), "float64")
    _core.half_sweep(
        core_csr(matrix, "float64"), loss=loss, mean=0.0, alpha=0.3, k=4, fixed=table(y, "float64"),
        solved=solved, prior=table(prior, "float64"), ridge=np.full(M, 0.5), cg_steps=0,
        keep_basis=True, n_threads=1,
    )  # fmt: skip
    for u in np.flatnonzero(known.any(axis=1)):
        if loss == "ratings":
            c, target = known[u].astype(float), dense[u]
        elif loss == "ials":
            c, target = 0.3 + dense[u], dense[u] / (0.3 + dense[u])
        else:
            c, target = 1 + 0.3 * dense[u], known[u].astype(float)
        left = (y * c[:, None]).T @ y + 0.5 * np.eye(4)
        z = np.linalg.solve(left, y.T @ (c * (target - y @ prior[u])))
        np.testing.assert_allclose(solved[u, :4], prior[u] + z, atol=1e-9)


def test_giant_rows_have_priors_too() -> None:
    rng = np.random.default_rng(6)
    matrix = sp.csr_array(rng.integers(1, 6, (2, 40_000)).astype(np.float64))
    y, prior = rng.normal(size=(40_000, 3)) * 0.3, rng.normal(size=(2, 3))
    solved = table(np.zeros((2, 3)), "float64")
    _core.half_sweep(
        core_csr(matrix, "float64"), loss="ratings", mean=3.0, k=3, fixed=table(y, "float64"),
        solved=solved, prior=table(prior, "float64"), ridge=np.full(2, 1e4), cg_steps=0,
        n_threads=2,
    )  # fmt: skip
    wanted = np.linalg.solve(
        y.T @ y + 1e4 * np.eye(3), (y.T @ (matrix.toarray() - 3).T) + 1e4 * prior.T
    )
    np.testing.assert_allclose(solved[:, :3], wanted.T, atol=1e-9)


# ---------------------------------------------------------------- the map


def a_map(f: np.ndarray, dtype: str, seed: int = 0) -> tuple[FeatureMap, np.ndarray, np.ndarray]:
    """A map over f, and the ridge and factors (with a bias) that its twin takes."""
    rng = np.random.default_rng(seed)
    known = rng.random(len(f)) < 0.8
    ridge = rng.uniform(0.5, 3.0, len(f))
    made = FeatureMap(sp.csr_array(f.astype(dtype)), ridge.astype(dtype), known, 2.0, 2)
    assert made.penalty == pytest.approx(2 * ridge[known].mean())
    return made, np.where(known, ridge, 0), rng.normal(size=(len(f), 8))


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("n", [40, 3000])
def test_map_equals_twin(direct: bool, n: int, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not direct:
        monkeypatch.setattr(_features, "DIRECT_UP_TO", 0)
    f = side_features(n, P, seed=1)
    made, ridge, y = a_map(f, dtype)
    weights = made.fit(table(y[:, :7], dtype), 7, y[:, 7].astype(dtype))
    wanted = reference.feature_weights(f, y, ridge, made.penalty)
    assert weights.bias is not None
    found = np.column_stack(weights)
    np.testing.assert_allclose(found, wanted, atol=20 * TOLERANCE[dtype])
    prior = made.prior(weights, everyone=False)
    assert prior.bias is not None
    expected = np.where(ridge[:, None] > 0, f @ wanted, 0)
    np.testing.assert_allclose(prior.table[:, :7], expected[:, :7], atol=50 * TOLERANCE[dtype])
    np.testing.assert_allclose(prior.bias, expected[:, 7], atol=50 * TOLERANCE[dtype])
    value = reference.feature_objective(f, found.astype(np.float64), y, ridge, made.penalty)
    least = reference.feature_objective(f, wanted, y, ridge, made.penalty)
    assert value == pytest.approx(least, rel=1e-5)


def test_sparse_and_dense_features_make_the_same_normal_matrix() -> None:
    rng = np.random.default_rng(2)
    f = np.where(rng.random((500, 40)) < 0.05, rng.normal(size=(500, 40)), 0)
    made, ridge, y = a_map(f, "float64")
    thin = made.fit(table(y, "float64"), 8, None).factors
    np.testing.assert_allclose(
        thin, reference.feature_weights(f, y, ridge, made.penalty), atol=1e-10
    )


def test_twins_map_is_where_finite_differences_vanish() -> None:
    f = side_features(30, P, seed=3)
    _, ridge, y = a_map(f, "float64")
    best = reference.feature_weights(f, y, ridge, 1.5)
    step = 1e-5
    for at in np.ndindex(best.shape):
        nudge = np.zeros_like(best)
        nudge[at] = step
        up, down = (
            reference.feature_objective(f, best + s * nudge, y, ridge, 1.5) for s in (1, -1)
        )
        assert abs(up - down) / (2 * step) < 1e-6
        assert up + down > 2 * reference.feature_objective(f, best, y, ridge, 1.5)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_products_with_long_rows_are_summed_in_double(n_threads: int, isa: str) -> None:
    rng = np.random.default_rng(4)
    matrix = sp.csr_array(rng.uniform(1, 2, (3, 200_000)).astype(np.float32))
    y = table(rng.uniform(1, 2, (200_000, 5)), "float32")
    out = empty_table(3, 5, "float32")
    _core.multiply(core_csr(matrix, "float32"), k=5, table=y, out=out, n_threads=n_threads)
    wanted = matrix.toarray().astype(np.float64) @ y[:, :5].astype(np.float64)
    np.testing.assert_allclose(out[:, :5], wanted, rtol=3e-6)


def test_prior_of_new_rows() -> None:
    made, _, y = a_map(side_features(40, P, seed=9), "float64")
    weights = made.fit(table(y, "float64"), 8, None)
    new = side_features(7, P, seed=10)
    prior = prior_of(sp.csr_array(new), weights, 2)
    np.testing.assert_allclose(prior.table[:, :8], new @ weights.factors, atol=1e-12)
    assert prior.bias is None

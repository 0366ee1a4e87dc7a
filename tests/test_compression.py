"""compress(): every norm's closed form is its minimum, sizes, and bad input."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.linalg

from matfac import compress
from matfac.compression import break_even_rank

RNG = np.random.default_rng(0)
M, N, RANK = 60, 45, 8


def trained(m: int = M, n: int = N, seed: int = 0) -> np.ndarray:
    """A weight matrix with a decaying spectrum."""
    rng = np.random.default_rng(seed)
    k = min(m, n)
    left, right = (np.linalg.qr(rng.normal(size=(side, k)))[0] for side in (m, n))
    return (left * 0.9 ** np.arange(k)) @ right.T


def inputs(n: int = N, seed: int = 1) -> np.ndarray:
    """Rows of unequal directions."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(n, n)))[0]
    return rng.normal(size=(400, n)) * 0.8 ** np.arange(n) @ turn


def tail(matrix: np.ndarray, rank: int) -> float:
    return float(np.sqrt(np.sum(scipy.linalg.svdvals(matrix)[rank:] ** 2)))


@pytest.mark.parametrize("shape", [(60, 45), (45, 60), (50, 50)])
def test_plain_error_is_that_of_eckart_and_young(shape: tuple[int, int], dtype: str) -> None:
    W = trained(*shape).astype(dtype)
    small = compress(W, rank=RANK)
    assert small.error == pytest.approx(tail(W, RANK), rel=1e-4)
    assert np.linalg.norm(W - small.A @ small.B) == pytest.approx(small.error, rel=1e-5)
    assert small.relative_error == pytest.approx(small.error / np.linalg.norm(W), rel=1e-5)
    assert small.A.dtype == small.B.dtype == W.dtype
    assert (small.A.shape, small.B.shape) == ((shape[0], RANK), (RANK, shape[1]))
    assert small.parameters_after == RANK * sum(shape) < small.parameters_before == W.size
    # A half of the singular values each.
    halves = np.linalg.norm(small.A, axis=0), np.linalg.norm(small.B, axis=1)
    assert halves[0] == pytest.approx(halves[1], rel=1e-4)


def test_row_and_column_weights_give_the_tail_of_the_scaled_matrix() -> None:
    W, d, s = trained(), RNG.exponential(size=M), RNG.exponential(size=N)
    for rows, columns in ((d, None), (None, s), (d, s)):
        small = compress(W, rank=RANK, row_weights=rows, col_weights=columns)
        left = np.ones(M) if rows is None else np.sqrt(rows)
        right = np.ones(N) if columns is None else np.sqrt(columns)
        wanted = tail(left[:, None] * W * right, RANK)
        error = np.linalg.norm(left[:, None] * (W - small.A @ small.B) * right)
        assert error == pytest.approx(wanted, rel=1e-8)
        assert small.error == pytest.approx(wanted, rel=1e-8)


def test_weights_of_zero_take_the_best_fit_there_is() -> None:
    W, d, s = trained(), np.ones(M), np.ones(N)
    d[3] = s[5] = 0
    small = compress(W, rank=RANK, row_weights=d, col_weights=s)
    rest = np.delete(np.delete(W, 3, axis=0), 5, axis=1)
    assert small.error == pytest.approx(tail(rest, RANK), rel=1e-6)
    rows = np.linalg.lstsq(np.delete(small.B, 5, axis=1).T, np.delete(W, 5, axis=1).T, rcond=None)[
        0
    ]
    assert small.A[3] == pytest.approx(rows[:, 3], abs=1e-5)
    columns = np.linalg.lstsq(np.delete(small.A, 3, axis=0), np.delete(W, 3, axis=0), rcond=None)[0]
    assert small.B[:, 5] == pytest.approx(columns[:, 5], abs=1e-5)


@pytest.mark.parametrize("shape", [(60, 45), (20, 45)])
def test_whitened_loss_is_the_sum_of_the_cut_values_squared(shape: tuple[int, int]) -> None:
    W, X = trained(*shape), inputs()
    wanted = tail(W @ X.T, RANK)
    by_inputs = compress(W, rank=RANK, inputs=X)
    by_covariance = compress(W, rank=RANK, input_cov=X.T @ X)
    for small in (by_inputs, by_covariance):
        assert np.linalg.norm((W - small.A @ small.B) @ X.T) == pytest.approx(wanted, rel=1e-4)
        assert small.error == pytest.approx(wanted, rel=1e-3)
    plain = compress(W, rank=RANK)
    assert np.linalg.norm((W - plain.A @ plain.B) @ X.T) > 1.1 * wanted


def test_whitening_stands_inputs_of_few_directions() -> None:
    # 12 inputs of 45 directions: their covariance is singular, its Cholesky does not exist.
    W, X = trained(), inputs()[:12]
    for small in (compress(W, rank=15, inputs=X), compress(W, rank=15, input_cov=X.T @ X)):
        assert np.linalg.norm((W - small.A @ small.B) @ X.T) < 1e-2 * np.linalg.norm(W @ X.T)
        assert np.linalg.norm(W - small.A @ small.B) < np.linalg.norm(W)


def test_rows_and_inputs_go_together() -> None:
    W, X, d = trained(), inputs(), RNG.exponential(size=M)
    small = compress(W, rank=RANK, row_weights=d, inputs=X)
    root = np.sqrt(d)[:, None]
    error = np.linalg.norm(root * ((W - small.A @ small.B) @ X.T))
    assert error == pytest.approx(tail(root * (W @ X.T), RANK), rel=1e-4)


@pytest.mark.parametrize("zeros", [False, True])
def test_element_weights_are_monotone_and_beat_every_start(dtype: str, zeros: bool) -> None:
    W = trained().astype(dtype)
    F = RNG.exponential(size=(M, N)) ** 2 * RNG.exponential(size=M)[:, None]
    if zeros:
        F[RNG.random(F.shape) < 0.3] = 0
        F[4] = F[:, 7] = 0
    small = compress(W, rank=RANK, element_weights=F, n_iter=40, tol=0.0)
    noise = 1e-5 if dtype == "float32" else 1e-12
    assert all(later <= earlier * (1 + noise) for earlier, later in pairwise(small.history))
    assert small.error == pytest.approx(np.sqrt(np.vdot(F, (W - small.A @ small.B) ** 2)), rel=1e-4)
    assert small.error < 0.95 * small.history[0]
    starts = {
        "FWSVD": compress(W, rank=RANK, row_weights=F.sum(axis=1)),
        "margins": compress(W, rank=RANK, row_weights=F.sum(axis=1), col_weights=F.sum(axis=0)),
        "plain": compress(W, rank=RANK),
    }
    for start in starts.values():
        assert small.error < np.sqrt(np.vdot(F, (W - start.A @ start.B) ** 2))
    assert np.isfinite(small.A).all()
    assert small.relative_error == pytest.approx(
        small.error / np.sqrt(np.vdot(F, W.astype(float) ** 2)), rel=1e-4
    )


def test_equal_element_weights_stay_at_the_optimum() -> None:
    W = trained()
    small = compress(W, rank=RANK, element_weights=np.full(W.shape, 3.0))
    assert small.error == pytest.approx(np.sqrt(3) * tail(W, RANK), rel=1e-9)


def test_rank_by_energy_is_the_smallest_that_keeps_it() -> None:
    W = trained()
    energies = np.cumsum(scipy.linalg.svdvals(W) ** 2) / np.linalg.norm(W) ** 2
    for share in (0.5, 0.9, 0.97):
        small = compress(W, energy=share)
        assert energies[small.rank - 1] >= share > energies[small.rank - 2]
    assert compress(W, energy=1.0, allow_larger=True).rank == N


def test_rank_by_budget_stays_within_it() -> None:
    W = trained()
    for budget in (0.1, 0.5, 0.99):
        small = compress(W, budget=budget)
        assert small.parameters_after <= budget * W.size < small.parameters_after + M + N


@pytest.mark.parametrize(("m", "n"), [(60, 45), (2, 2), (1, 9), (30522, 384)])
def test_break_even(m: int, n: int) -> None:
    rank = break_even_rank(m, n)
    assert rank * (m + n) < m * n <= (rank + 1) * (m + n)


def test_ranks_beyond_break_even_are_refused_or_asked_for() -> None:
    W = trained()
    with pytest.raises(ValueError, match=r"rank 26 would make .* 2730 parameters for 2700; .* 25"):
        compress(W, rank=26)
    with pytest.raises(ValueError, match="lower energy"):
        compress(W, energy=0.99999)
    large = compress(W, rank=26, allow_larger=True)
    assert large.parameters_after > large.parameters_before
    assert large.break_even_rank == 25


def test_randomized_is_close() -> None:
    W = trained(300, 200)
    small = compress(W, rank=20, svd_solver="randomized")
    assert small.error == pytest.approx(tail(W, 20), rel=0.01)


SCALES = [("float32", 2.0**k) for k in (-120, -83, -73, 63, 66, 124)]
SCALES += [("float64", 2.0**k) for k in (-990, -664, 664, 1000)]
NORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "randomized": {"svd_solver": "randomized"},
    "rows": {"row_weights": RNG.exponential(size=M)},
    "columns": {"col_weights": RNG.exponential(size=N)},
    "inputs": {"inputs": inputs()},
    "elements": {"element_weights": RNG.exponential(size=(M, N)), "n_iter": 3, "n_threads": 1},
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("dtype", "scale"), SCALES)
def test_any_scale_gives_the_same(dtype: str, scale: float, norm: str) -> None:
    W = trained().astype(dtype)
    usual = compress(W, energy=0.8, **NORMS[norm])
    small = compress(W * W.dtype.type(scale), energy=0.8, **NORMS[norm])
    assert small.rank == usual.rank
    assert small.relative_error == pytest.approx(usual.relative_error, rel=1e-4)
    assert small.error == pytest.approx(usual.error * scale, rel=1e-4)
    whole = (small.A / scale**0.5) @ (small.B / scale**0.5)
    assert whole == pytest.approx(usual.A @ usual.B, abs=1e-4)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1e170, 1e300])
def test_weights_of_any_scale(scale: float) -> None:
    W = trained()
    for name, weights in (("row_weights", NORMS["rows"]), ("element_weights", NORMS["elements"])):
        usual = compress(W, rank=RANK, **weights)
        small = compress(W, rank=RANK, **(weights | {name: weights[name] * scale}))
        assert small.relative_error == pytest.approx(usual.relative_error, rel=1e-6)
        assert small.error == pytest.approx(usual.error * scale**0.5, rel=1e-6)
    usual, small = (compress(W, rank=RANK, inputs=inputs() * by) for by in (1, scale))
    np.testing.assert_allclose(small.A @ small.B, usual.A @ usual.B, rtol=1e-6, atol=1e-9)


@pytest.mark.filterwarnings("error")
def test_a_norm_that_float64_does_not_hold_is_refused() -> None:
    huge = np.full((20, 20), 1.7e308)
    for weights in ({}, {"row_weights": np.full(20, 1e300)}, {"inputs": np.full((30, 20), 1e10)}):
        with pytest.raises(ValueError, match="W, with its weights, has a norm beyond"):
            compress(huge, rank=2, **weights)  # type: ignore[arg-type]


def test_other_kinds_of_numbers() -> None:
    W = trained()
    assert compress(W.astype(np.float16), rank=3).A.dtype == np.float32
    assert compress(np.arange(100).reshape(10, 10), rank=2).error < 1e-9
    assert compress(np.zeros((10, 10)), rank=2).relative_error == 0


ONES = np.ones((M, N))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "exactly one of rank, energy and budget"),
        ({"rank": 3, "budget": 0.5}, ValueError, "exactly one of"),
        ({"rank": 0}, ValueError, "rank must be at least 1"),
        ({"rank": 2.0}, TypeError, "rank must be an integer"),
        ({"rank": 46}, ValueError, "rank must be at most 45"),
        ({"budget": 0.0}, ValueError, "budget must be finite and greater than 0"),
        ({"budget": 1.0}, ValueError, "budget must be less than 1"),
        ({"budget": 0.001}, ValueError, "less than rank 1 takes"),
        ({"energy": 1.1}, ValueError, "energy must be at most 1"),
        ({"row_weights": np.ones(M - 1)}, ValueError, r"row_weights must have shape \(60,\)"),
        ({"row_weights": -np.ones(M)}, ValueError, "row_weights must be at least 0"),
        ({"col_weights": np.zeros(N)}, ValueError, "col_weights must be at least 0 and not all 0"),
        ({"col_weights": np.full(N, np.nan)}, ValueError, "col_weights must be finite"),
        ({"inputs": np.ones((3, N + 1))}, ValueError, r"inputs must have shape \(n_inputs, 45\)"),
        ({"inputs": np.zeros((3, N))}, ValueError, "inputs are all 0"),
        ({"input_cov": np.ones((N, M))}, ValueError, r"input_cov must have shape \(45, 45\)"),
        ({"input_cov": np.triu(np.ones((N, N)))}, ValueError, "input_cov must be symmetric"),
        ({"input_cov": -np.eye(N)}, ValueError, "positive semi-definite"),
        ({"inputs": np.ones((3, N)), "col_weights": np.ones(N)}, ValueError, "give one of"),
        ({"element_weights": ONES, "row_weights": np.ones(M)}, ValueError, "must come alone"),
        ({"element_weights": -ONES}, ValueError, "element_weights must be finite and not negative"),
        ({"element_weights": 0 * ONES}, ValueError, "not be all 0"),
        ({"element_weights": ONES[1:]}, ValueError, r"must have shape \(60, 45\)"),
        ({"svd_solver": "quick"}, ValueError, "svd_solver must be one of"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    if not {"rank", "energy", "budget"} & set(arguments) and arguments:
        arguments = {"rank": 3, **arguments}
    with pytest.raises(error, match=message):
        compress(trained(), **arguments)


@pytest.mark.parametrize(
    ("W", "error", "message"),
    [
        (np.ones(4), ValueError, "must be a matrix"),
        (np.ones((0, 4)), ValueError, "must be a matrix with rows"),
        ([["a", "b"]], TypeError, "W must hold real numbers"),
        (np.diag([1.0, np.nan]), ValueError, r"W\[1, 1\] = nan"),
    ],
)
def test_bad_matrices(W: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        compress(W, rank=1)

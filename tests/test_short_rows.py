"""Rows of few entries, solved in a lane each, and tables that stay in their basis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import core_csr, table
from matfac import _core, reference

N = 90
LENGTHS = [*range(21), *range(20, 0, -1), 0, 16, 3]
M = len(LENGTHS)
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}


def short_rows(seed: int) -> sp.csr_array:
    rng = np.random.default_rng(seed)
    columns = [np.sort(rng.choice(N, n, replace=False)) for n in LENGTHS]
    bounds = np.concatenate([[0], np.cumsum(LENGTHS)])
    values = rng.integers(1, 6, bounds[-1]).astype(np.float64)
    return sp.csr_array((values, np.concatenate(columns), bounds), shape=(M, N))


def case(k: int, loss: str, seed: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    matrix = short_rows(seed)
    weights = rng.uniform(0.2, 2.0, matrix.nnz)
    weights[::7] = 0.0
    return {
        "matrix": matrix,
        "weights": weights,
        "x": rng.normal(size=(M, k)) * 0.3,
        "y": rng.normal(size=(N, k)) * 0.3,
        "bias": (rng.normal(size=M) * 0.1, rng.normal(size=N) * 0.1) if loss == "ratings" else None,
        "ridge": np.linspace(0.4, 0.9, M),
    }


def solve(
    c: dict[str, Any], loss: str, dtype: str, rows: slice = slice(None), **settings: Any
) -> tuple[np.ndarray, np.ndarray | None, float]:
    """Return the factors, biases and value that a half sweep over some of the rows gives."""
    matrix = c["matrix"][rows]
    begin = c["matrix"].indptr[rows.start or 0]
    weights = c["weights"][begin : begin + matrix.nnz]
    solved = table(c["x"][rows], dtype)
    biases = [None, None] if c["bias"] is None else [b.astype(dtype) for b in c["bias"]]
    own = None if biases[0] is None else biases[0][rows].copy()
    options: dict[str, Any] = {"cg_steps": 3, "relaxation": 1.4, "n_threads": 2, **settings}
    value, _ = _core.half_sweep(
        core_csr(matrix, dtype, weights),
        loss=loss,
        mean=3.0 if loss == "ratings" else 0.0,
        alpha=0.5,
        k=c["x"].shape[1],
        fixed=table(c["y"], dtype),
        solved=solved,
        fixed_bias=biases[1],
        solved_bias=own,
        ridge=np.ascontiguousarray(c["ridge"][rows].astype(dtype)),
        fixed_weight=np.ones(N, dtype) if loss == "ratings" else None,
        keep_basis=True,
        **options,
    )
    return solved[:, : c["x"].shape[1]], own, value


def twin(c: dict[str, Any], loss: str, **settings: Any) -> tuple[np.ndarray, np.ndarray | None]:
    csr = c["matrix"].indptr, c["matrix"].indices, c["matrix"].data
    shared: dict[str, Any] = {"ridge": c["ridge"], "weights": c["weights"], **settings}
    if loss == "ratings":
        return reference.explicit_half_sweep(
            csr,
            c["y"],
            c["bias"][1],
            c["x"],
            c["bias"][0],
            mean=3.0,
            fixed_counts=np.ones(N),
            **shared,
        )
    alpha = {"alpha0" if loss == "ials" else "alpha": 0.5}
    return reference.implicit_half_sweep(csr, c["y"], c["x"], **alpha, **shared), None


def objective(c: dict[str, Any], loss: str, x: np.ndarray, bias: np.ndarray | None) -> float:
    value = _core.loss_value(
        core_csr(c["matrix"], "float64", c["weights"]),
        loss=loss,
        mean=3.0 if loss == "ratings" else 0.0,
        alpha=0.5,
        k=x.shape[1],
        users=table(x, "float64"),
        items=table(c["y"], "float64"),
        user_bias=None if bias is None else bias.astype("float64"),
        item_bias=None if bias is None else c["bias"][1],
        n_threads=1,
    )
    own = None if bias is None else bias.astype("float64")
    return value + _core.ridge_value(table(x, "float64"), x.shape[1], own, c["ridge"])


@pytest.mark.parametrize("k", [3, 16, 64, 100, 128])
@pytest.mark.parametrize(("steps", "relaxation"), [(0, 1.0), (1, 1.0), (3, 1.4)])
@pytest.mark.parametrize("loss", ["ials", "hu", "ratings"])
def test_short_rows_equal_the_twin(
    loss: str, steps: int, relaxation: float, k: int, dtype: str, isa: str
) -> None:
    c = case(k, loss)
    got, bias, value = solve(c, loss, dtype, cg_steps=steps, relaxation=relaxation)
    wanted, wanted_bias = twin(c, loss, cg_steps=steps or None, relaxation=relaxation)
    np.testing.assert_allclose(got, wanted, atol=TOLERANCE[dtype])
    if bias is not None:
        np.testing.assert_allclose(bias, wanted_bias, atol=TOLERANCE[dtype])
    assert value == pytest.approx(objective(c, loss, got, bias), rel=1e-5)


@pytest.mark.parametrize("loss", ["ials", "ratings"])
def test_a_short_row_gets_the_bits_it_gets_alone(loss: str, dtype: str, isa: str) -> None:
    c = case(24, loss)
    together, biases, _ = solve(c, loss, dtype)
    for row in range(M):
        alone, bias, _ = solve(c, loss, dtype, slice(row, row + 1), n_threads=1)
        np.testing.assert_array_equal(alone[0], together[row])
        if bias is not None and biases is not None:
            assert bias[0] == biases[row]


@pytest.mark.parametrize("ridge", [0.0, 1e-30, 1e-9])
@pytest.mark.parametrize("loss", ["hu", "ratings"])
def test_too_little_ridge_for_the_lanes(loss: str, ridge: float, dtype: str, isa: str) -> None:
    """Steps solve such a row, as one with a prior: finite, and no worse than the start."""
    c = case(24, loss)
    c["ridge"] = np.full(M, ridge)
    c["matrix"].data *= 1e4
    x, bias, _ = solve(c, loss, dtype)
    if ridge < 1e-9 or (dtype, loss) == ("float32", "ratings"):
        by_steps, _, _ = solve(c, loss, dtype, prior=table(np.zeros((M, 24)), dtype))
        filled = np.diff(c["matrix"].indptr) > 0
        np.testing.assert_allclose(x[filled], by_steps[filled], rtol=1e-4, atol=1e-6)
    assert np.isfinite(x).all()
    start = objective(c, loss, c["x"], None if c["bias"] is None else c["bias"][0])
    assert objective(c, loss, x.astype("float64"), bias) <= start * (1 + 1e-6)


@pytest.mark.parametrize("turned", [False, True])
def test_explicit_sweeps_turn_a_table_where_its_columns_are_alike(turned: bool, dtype: str) -> None:
    rng = np.random.default_rng(3)
    k, matrix = 20, short_rows(3)
    basis = np.linalg.qr(rng.normal(size=(N, k)))[0] * np.linspace(0.5, 3.0, k)
    mixed = basis @ np.linalg.qr(rng.normal(size=(k, k)))[0] if turned else basis
    y, x = table(mixed, dtype), table(np.zeros((M, k)), dtype)
    before = y.copy()
    shared: dict[str, Any] = {"ridge": np.full(M, 0.5), "cg_steps": 2, "relaxation": 1.4}
    _core.half_sweep(
        core_csr(matrix, dtype),
        loss="ratings",
        mean=3.0,
        k=k,
        fixed=y,
        solved=x,
        **{**shared, "ridge": shared["ridge"].astype(dtype)},
        fixed_weight=np.ones(N, dtype),
        n_threads=2,
    )
    assert np.array_equal(y, before) != turned
    wanted, _ = reference.explicit_half_sweep(
        (matrix.indptr, matrix.indices, matrix.data), mixed, None, np.zeros((M, k)), None,
        mean=3.0, fixed_counts=np.ones(N), fit_bias=False, **shared,
    )  # fmt: skip
    np.testing.assert_allclose(x[:, :k] @ y[:, :k].T, wanted @ mixed.T, atol=10 * TOLERANCE[dtype])

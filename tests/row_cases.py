"""Half sweeps over rows of given lengths: the core's, the NumPy twin's and their objective."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import core_csr, table
from matfac import _core, reference

N = 90
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}


def rows_of(lengths: list[int], seed: int) -> sp.csr_array:
    rng = np.random.default_rng(seed)
    columns = [np.sort(rng.choice(N, n, replace=False)) for n in lengths]
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    values = rng.integers(1, 6, bounds[-1]).astype(np.float64)
    return sp.csr_array((values, np.concatenate(columns), bounds), shape=(len(lengths), N))


def case(lengths: list[int], k: int, loss: str, seed: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    matrix = rows_of(lengths, seed)
    n_rows = len(lengths)
    weights = rng.uniform(0.2, 2.0, matrix.nnz)
    weights[::7] = 0.0
    biases = rng.normal(size=n_rows) * 0.1, rng.normal(size=N) * 0.1
    return {
        "matrix": matrix,
        "weights": weights,
        "x": rng.normal(size=(n_rows, k)) * 0.3,
        "y": rng.normal(size=(N, k)) * 0.3,
        "bias": biases if loss == "ratings" else None,
        "ridge": np.linspace(0.4, 0.9, n_rows),
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


def assert_equal_to_twin(
    c: dict[str, Any], loss: str, dtype: str, *, cg_steps: int, **settings: Any
) -> None:
    """Compare answers with the twin's, and the value with the answers' objective."""
    got, bias, value = solve(c, loss, dtype, cg_steps=cg_steps, **settings)
    wanted, wanted_bias = twin(c, loss, cg_steps=cg_steps or None, **settings)
    np.testing.assert_allclose(got, wanted, atol=TOLERANCE[dtype])
    if bias is not None:
        np.testing.assert_allclose(bias, wanted_bias, atol=TOLERANCE[dtype])
    assert value == pytest.approx(objective(c, loss, got, bias), rel=1e-5)

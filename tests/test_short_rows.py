"""Rows of few entries, solved in a lane each, and tables that stay in their basis."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import core_csr, table
from matfac import ImplicitMF, _core, reference
from row_cases import TOLERANCE, N, assert_equal_to_twin, case, objective, rows_of, solve

LENGTHS = [*range(21), *range(20, 0, -1), 0, 16, 3]
M = len(LENGTHS)


@pytest.mark.parametrize("k", [3, 16, 64, 100, 128])
@pytest.mark.parametrize(("steps", "relaxation"), [(0, 1.0), (1, 1.0), (3, 1.4)])
@pytest.mark.parametrize("loss", ["ials", "hu", "ratings"])
def test_short_rows_equal_the_twin(
    loss: str, steps: int, relaxation: float, k: int, dtype: str, isa: str
) -> None:
    c = case(LENGTHS, k, loss)
    assert_equal_to_twin(c, loss, dtype, cg_steps=steps, relaxation=relaxation)


@pytest.mark.parametrize("loss", ["ials", "ratings"])
def test_a_short_row_gets_the_bits_it_gets_alone(loss: str, dtype: str, isa: str) -> None:
    c = case(LENGTHS, 24, loss)
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
    c = case(LENGTHS, 24, loss)
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


@pytest.mark.parametrize("k", [16, 24, 64])
@pytest.mark.parametrize(("steps", "relaxation"), [(0, 1.0), (3, 1.4)])
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-6, 0.02, 0.3])
def test_entries_that_weigh_little_more_than_other_cells(
    scale: float, steps: int, relaxation: float, k: int, dtype: str, isa: str
) -> None:
    """alpha r is 0 or little: such an entry still asks for 1, and the value is right."""
    c = case(LENGTHS, k, "hu")
    c["matrix"].data *= scale
    c["matrix"].data[::11] = 5.0
    assert_equal_to_twin(c, "hu", dtype, cg_steps=steps, relaxation=relaxation)


@pytest.mark.parametrize("cg_steps", [None, 2])
def test_alpha_of_zero_fits_the_pattern(cg_steps: int | None) -> None:
    X = sp.random_array((30, 20), density=0.2, rng=np.random.default_rng(0), format="csr")
    settings: dict[str, Any] = {"n_factors": 8, "reg": 0.1, "cg_steps": cg_steps, "n_iter": 8}
    zero, tiny = (
        ImplicitMF(alpha=alpha, random_state=0, **settings).fit(X) for alpha in (0.0, 1e-9)
    )
    known = X.toarray() > 0
    users, items = (t.astype(np.float64) for t in (zero.user_factors_, zero.item_factors_))
    objective = ((users @ items.T - known) ** 2).sum() + 0.1 * (users**2).sum()
    assert zero.objective_ == pytest.approx(objective + 0.1 * (items**2).sum(), rel=1e-5)
    assert zero.objective_ < 0.6 * known.sum()
    assert zero.objective_ == pytest.approx(tiny.objective_, rel=1e-4)
    values = [record["objective"] for record in zero.history_]
    assert all(b <= a * (1 + 1e-5) for a, b in itertools.pairwise(values))


@pytest.mark.parametrize("turned", [False, True])
def test_explicit_sweeps_turn_a_table_where_its_columns_are_alike(turned: bool, dtype: str) -> None:
    rng = np.random.default_rng(3)
    k, matrix = 20, rows_of(LENGTHS, 3)
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


def test_a_sample_of_a_long_table_serves_the_preconditioner(dtype: str, isa: str) -> None:
    """What two steps reach hardly depends on it, what many do not at all."""
    k, n_items = 12, 512 * 16 * 3 + 5
    rng = np.random.default_rng(0)
    y = rng.normal(size=(n_items, k)) @ rng.normal(size=(k, k)) * 0.3
    columns = rng.integers(0, n_items // 40, (20, 40)) + n_items // 40 * np.arange(40)
    values = rng.integers(1, 6, columns.size).astype(np.float64)
    matrix = sp.csr_array((values, columns.ravel(), np.arange(0, 801, 40)), shape=(20, n_items))
    counts = rng.integers(1, 30, n_items).astype(np.float64)
    shared: dict[str, Any] = {"ridge": np.full(20, 0.5)}
    for steps in (2, 60):
        x = table(np.zeros((20, k)), dtype)
        _core.half_sweep(
            core_csr(matrix, dtype),
            loss="ratings",
            k=k,
            fixed=table(y, dtype),
            solved=x,
            ridge=shared["ridge"].astype(dtype),
            fixed_weight=counts.astype(dtype),
            cg_steps=steps,
            tolerance=1e-20,
            keep_basis=True,
            n_threads=2,
        )
        wanted, _ = reference.explicit_half_sweep(
            (matrix.indptr, matrix.indices, matrix.data), y, None, np.zeros((20, k)), None,
            mean=0.0, fixed_counts=counts, cg_steps=steps, fit_bias=False, **shared,
        )  # fmt: skip
        near = 0.05 if steps == 2 else 30 * TOLERANCE[dtype]
        np.testing.assert_allclose(x[:, :k], wanted, atol=near * np.abs(wanted).max())

"""The NumPy row solvers against textbook solvers that take one row at a time."""

from __future__ import annotations

import numpy as np
import pytest

from matfac import reference

M, N, K = 200, 60, 4


def random_csr(n_rows: int, n_cols: int, seed: int) -> reference.Csr:
    """Rows of all lengths from 0 to n_cols."""
    rng = np.random.default_rng(seed)
    known = rng.random((n_rows, n_cols)) < rng.random((n_rows, 1)) ** 2
    known[0], known[1] = True, False
    indptr = np.concatenate([[0], np.cumsum(known.sum(axis=1))])
    return indptr, np.nonzero(known)[1].astype(np.int32), rng.uniform(0.5, 5.0, known.sum())


def textbook_pcg(
    a: np.ndarray, b: np.ndarray, m: np.ndarray, x: np.ndarray, steps: int
) -> np.ndarray:
    r = b - a @ x
    z = np.linalg.solve(m, r)
    p, rz = z, r @ z
    for _ in range(steps):
        alpha = rz / (p @ a @ p)
        x, r = x + alpha * p, r - alpha * (a @ p)
        z = np.linalg.solve(m, r)
        rz, beta = r @ z, (r @ z) / rz
        p = z + beta * p
    return x


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
@pytest.mark.parametrize("has_bias", [False, True])
def test_cg_steps_are_those_of_the_textbook(steps: int, has_bias: bool) -> None:
    # The solver works in the eigenbasis of S; here every system is written out as it stands.
    rng = np.random.default_rng(2)
    indptr, indices, values = random_csr(M, N, seed=0)
    fixed, shared = rng.normal(size=(N, K)), rng.normal(size=(K, K))
    shared = shared @ shared.T
    ridge, scales = rng.uniform(0.2, 2.0, M), rng.uniform(0.1, 4.0, M)
    linear, start = rng.normal(size=len(indices)), rng.normal(size=(M, K + has_bias))
    problems = reference.RowProblems(
        indptr, indices, values, linear, fixed, ridge, shared, 0.6, has_bias
    )
    got = reference.solve_rows_cg(problems, start, steps, scales)
    size = K + has_bias
    for u in range(M):
        entries = slice(indptr[u], indptr[u + 1])
        if indptr[u] == indptr[u + 1]:
            np.testing.assert_array_equal(got[u], 0)
            continue
        y = np.column_stack([fixed, np.ones(N)])[indices[entries], :size]
        c, g = values[entries], linear[entries]
        a, m = (y.T * c) @ y + ridge[u] * np.eye(size), ridge[u] * np.eye(size)
        a[:K, :K] += 0.6 * shared
        m[:K, :K] += scales[u] * shared
        if has_bias:
            m[K, K] += c.sum()
        expected = textbook_pcg(a, y.T @ g, m, start[u], steps)
        np.testing.assert_allclose(got[u], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cg_steps", [None, 3])
@pytest.mark.parametrize("block", [1, 100, 10**6])
def test_blocks_of_rows_give_what_single_rows_give(
    cg_steps: int | None, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, csr = np.random.default_rng(4), random_csr(M, N, seed=1)
    items, users = rng.normal(size=(N, K)), rng.normal(size=(M, K))
    ridge = rng.uniform(0.1, 1.0, M)
    expected = np.empty_like(users)
    for u in range(M):
        entries = slice(csr[0][u], csr[0][u + 1])
        row = np.array([0, entries.stop - entries.start]), csr[1][entries], csr[2][entries]
        expected[u] = reference.implicit_half_sweep(
            row, items, users[u : u + 1], ridge=ridge[u], alpha=3.0, cg_steps=cg_steps
        )
    monkeypatch.setattr("matfac._reference_rows._BLOCK", block)
    got = reference.implicit_half_sweep(
        csr, items, users, ridge=ridge, alpha=3.0, cg_steps=cg_steps
    )
    np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-10)


def test_transpose_is_the_transpose() -> None:
    csr = random_csr(M, N, seed=2)
    indptr, indices, values = reference.transpose(csr, N)
    dense, turned = np.zeros((M, N)), np.zeros((N, M))
    dense[np.repeat(np.arange(M), np.diff(csr[0])), csr[1]] = csr[2]
    turned[np.repeat(np.arange(N), np.diff(indptr)), indices] = values
    np.testing.assert_array_equal(turned, dense.T)
    assert indices.dtype == csr[1].dtype
    assert all(np.all(np.diff(row) > 0) for row in np.split(indices, indptr[1:-1]))


def test_entry_counts_are_those_of_rows_and_columns() -> None:
    csr = random_csr(M, N, seed=3)
    dense = np.zeros((M, N))
    dense[np.repeat(np.arange(M), np.diff(csr[0])), csr[1]] = csr[2]
    for weights, table in ((None, dense > 0), (csr[2], dense)):
        rows, cols = reference.entry_counts(csr, N, weights)
        np.testing.assert_allclose(rows, table.sum(axis=1))
        np.testing.assert_allclose(cols, table.sum(axis=0))

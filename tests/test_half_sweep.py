"""The core's ALS half sweeps against the NumPy twin, over the whole table of cases."""

from __future__ import annotations

import functools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import FACTOR_LENGTHS, core_csr, random_ratings, table
from matfac import _core, reference

M, N = 60, 80
# The largest entry of the answers is about 1; systems have condition numbers up to about 1e3.
TOLERANCE = {"float32": 2e-5, "float64": 1e-10}


def factors(k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(M, k)) * 0.3, rng.normal(size=(N, k)) * 0.3


def triplet(matrix: sp.csr_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return matrix.indptr, matrix.indices, matrix.data


def relaxation(steps: int) -> float:
    """Return how far steps go: past the minimum where there is more than one."""
    return 1.5 if steps > 1 else 1.0


def implicit_case(weighted: bool) -> tuple[sp.csr_array, np.ndarray | None]:
    matrix = random_ratings(M, N, 0.2, seed=1)
    rng = np.random.default_rng(9)
    return matrix, rng.uniform(0.0, 2.0, matrix.nnz) if weighted else None


@functools.cache
def implicit_twin(loss: str, alpha: float, weighted: bool, steps: int, k: int) -> np.ndarray:
    (x, y), (matrix, weights) = factors(k, seed=2), implicit_case(weighted)
    return reference.implicit_half_sweep(
        triplet(matrix),
        y,
        x,
        ridge=np.linspace(0.4, 0.9, M),
        weights=weights,
        cg_steps=steps or None,
        relaxation=relaxation(steps),
        **({"alpha0": alpha} if loss == "ials" else {"alpha": alpha}),
    )


@pytest.mark.parametrize("k", FACTOR_LENGTHS)
@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("loss", "alpha"), [("ials", 0.3), ("hu", 2.0)])
def test_implicit_half_sweep_equals_twin(
    loss: str, alpha: float, weighted: bool, steps: int, k: int, dtype: str, isa: str
) -> None:
    matrix, weights = implicit_case(weighted)
    csr = core_csr(matrix, dtype, weights)
    x, y = factors(k, seed=2)
    ridge = np.linspace(0.4, 0.9, M)
    solved = table(x, dtype)
    value, ridge_part = _core.half_sweep(
        csr,
        loss=loss,
        alpha=alpha,
        k=k,
        fixed=table(y, dtype),
        solved=solved,
        ridge=ridge.astype(dtype),
        cg_steps=steps,
        tolerance=1e-20,
        relaxation=relaxation(steps),
        keep_basis=True,
        n_threads=2,
    )
    wanted = implicit_twin(loss, alpha, weighted, steps, k)
    np.testing.assert_allclose(solved[:, :k], wanted, atol=TOLERANCE[dtype])
    assert not solved[:, k:].any()
    own = _core.loss_value(
        csr, loss=loss, alpha=alpha, k=k, users=solved, items=table(y, dtype), n_threads=1
    )
    ridges = _core.ridge_value(solved, k, None, ridge.astype(dtype))
    assert ridge_part == pytest.approx(ridges, rel=1e-5)
    assert value == pytest.approx(own + ridges, rel=1e-5)


def explicit_case(biases: bool, weighted: bool, k: int) -> dict[str, Any]:
    matrix = random_ratings(M, N, 0.2, seed=3)
    rng = np.random.default_rng(4)
    weights = rng.uniform(0.5, 2.0, matrix.nnz) if weighted else None
    return {
        "matrix": matrix,
        "weights": weights,
        "factors": factors(k, seed=5),
        "user_bias": rng.normal(size=M) * 0.1 if biases else np.zeros(M),
        "item_bias": rng.normal(size=N) * 0.1 if biases else np.zeros(N),
        "counts": reference.entry_counts(triplet(matrix), N, weights)[1],
    }


@functools.cache
def explicit_twin(
    biases: bool, weighted: bool, steps: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    case = explicit_case(biases, weighted, k)
    x, y = case["factors"]
    return reference.explicit_half_sweep(
        triplet(case["matrix"]),
        y,
        case["item_bias"],
        x,
        case["user_bias"],
        mean=3.1,
        ridge=np.linspace(0.4, 0.9, M),
        weights=case["weights"],
        fixed_counts=case["counts"],
        cg_steps=steps or None,
        relaxation=relaxation(steps),
        fit_bias=biases,
    )


@pytest.mark.parametrize("k", FACTOR_LENGTHS)
@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("biases", [False, True])
def test_explicit_half_sweep_equals_twin(
    biases: bool, weighted: bool, steps: int, k: int, dtype: str, isa: str
) -> None:
    case = explicit_case(biases, weighted, k)
    csr = core_csr(case["matrix"], dtype, case["weights"])
    (x, y), user_bias, item_bias = case["factors"], case["user_bias"], case["item_bias"]
    ridge = np.linspace(0.4, 0.9, M)
    solved, solved_bias = table(x, dtype), user_bias.astype(dtype)
    value, _ = _core.half_sweep(
        csr,
        loss="ratings",
        mean=3.1,
        k=k,
        fixed=table(y, dtype),
        solved=solved,
        fixed_bias=item_bias.astype(dtype) if biases else None,
        solved_bias=solved_bias if biases else None,
        ridge=ridge.astype(dtype),
        fixed_weight=case["counts"].astype(dtype),
        cg_steps=steps,
        tolerance=1e-20,
        relaxation=relaxation(steps),
        keep_basis=True,
        n_threads=2,
    )
    wanted, wanted_bias = explicit_twin(biases, weighted, steps, k)
    np.testing.assert_allclose(solved[:, :k], wanted, atol=5 * TOLERANCE[dtype])
    if biases:
        np.testing.assert_allclose(solved_bias, wanted_bias, atol=5 * TOLERANCE[dtype])
    own = _core.loss_value(
        csr,
        loss="ratings",
        mean=3.1,
        k=k,
        users=solved,
        items=table(y, dtype),
        user_bias=solved_bias if biases else None,
        item_bias=item_bias.astype(dtype) if biases else None,
        n_threads=2,
    ) + _core.ridge_value(solved, k, solved_bias if biases else None, ridge.astype(dtype))
    assert value == pytest.approx(own, rel=1e-5)


@pytest.mark.parametrize("loss", ["ials", "hu", "ratings"])
def test_giant_rows_are_shared_out_and_equal_many_steps_of_cg(loss: str, dtype: str) -> None:
    """A row of 40,000 entries: its Gram is made in pieces, by all threads."""
    rng = np.random.default_rng(6)
    matrix = sp.csr_array(rng.integers(1, 6, (3, 40_000)).astype(np.float64))
    matrix = sp.csr_array(sp.vstack([matrix, random_ratings(5, 40_000, 0.001, seed=7)]))
    k, n = 5, matrix.shape[1]
    y = rng.normal(size=(n, k)) * 0.3
    csr = core_csr(matrix, dtype)
    ridge = np.full(matrix.shape[0], 0.5, dtype)

    def solve(cg_steps: int, n_threads: int) -> np.ndarray:
        solved = table(np.zeros((matrix.shape[0], k)), dtype)
        _core.half_sweep(
            csr,
            loss=loss,
            mean=3.0,
            alpha=0.5,
            k=k,
            fixed=table(y, dtype),
            solved=solved,
            ridge=ridge,
            fixed_weight=np.ones(n, dtype),
            cg_steps=cg_steps,
            keep_basis=True,
            n_threads=n_threads,
        )
        return solved

    exact = solve(cg_steps=0, n_threads=2)
    np.testing.assert_array_equal(exact, solve(cg_steps=0, n_threads=1))
    by_cg = solve(cg_steps=40, n_threads=2)
    np.testing.assert_allclose(exact, by_cg, atol=1e-3 if dtype == "float32" else 1e-9)


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("loss", ["ials", "hu", "ratings"])
def test_same_bits_for_any_thread_count(loss: str, steps: int, dtype: str) -> None:
    matrix = random_ratings(700, 300, 0.1, seed=8)
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(700, 24)) * 0.1, rng.normal(size=(300, 24)) * 0.1
    answers = []
    for n_threads in (1, 2, 3):
        solved, fixed = table(x, dtype), table(y, dtype)
        bias = np.zeros(700, dtype) if loss == "ratings" else None
        value = _core.half_sweep(
            core_csr(matrix, dtype),
            loss=loss,
            mean=3.0,
            alpha=0.5,
            k=24,
            fixed=fixed,
            solved=solved,
            solved_bias=bias,
            fixed_bias=np.zeros(300, dtype) if loss == "ratings" else None,
            ridge=np.full(700, 0.5, dtype),
            fixed_weight=np.ones(300, dtype),
            cg_steps=steps,
            n_threads=n_threads,
        )
        answers.append((solved.tobytes(), fixed.tobytes(), value))
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("loss", ["ials", "ratings"])
def test_long_rows_solved_together_get_the_bits_they_get_alone(loss: str, dtype: str) -> None:
    """At 32 MiB of items one thread has entries enough for batches here, and seven have not."""
    k, m = 256, 40
    n = (1 << 25) // (k * np.dtype(dtype).itemsize) + 1
    rng = np.random.default_rng(10)
    lengths = np.append(rng.integers(n // 3, n, m - 2), [0, 20])
    matrix = sp.vstack(
        [
            sp.csr_array((np.ones(s), (np.zeros(s, int), rng.choice(n, s, False))), (1, n))
            for s in lengths
        ],
        format="csr",
    )
    matrix.data = rng.integers(1, 6, matrix.nnz).astype(float)
    x, y = table(rng.normal(size=(m, k)) * 0.1, dtype), table(rng.normal(size=(n, k)) * 0.1, dtype)
    csr, ratings = core_csr(matrix, dtype), loss == "ratings"
    answers = []
    for n_threads in (1, 7):
        solved, bias = x.copy(), np.zeros(m, dtype)
        value = _core.half_sweep(
            csr,
            loss=loss,
            mean=3.0,
            alpha=0.5,
            k=k,
            fixed=y,
            solved=solved,
            fixed_bias=np.full(n, 0.1, dtype) if ratings else None,
            solved_bias=bias if ratings else None,
            ridge=np.full(m, 0.5, dtype),
            fixed_weight=np.ones(n, dtype),
            cg_steps=2,
            keep_basis=True,
            n_threads=n_threads,
        )
        answers.append((solved.tobytes(), bias.tobytes(), value))
    assert answers[0] == answers[1]


def test_exact_rows_of_many_entries_and_more_factors() -> None:
    """Solved by the products of their entries, all of which have to have room."""
    n, k = 2090, 4224
    rng = np.random.default_rng(11)
    y, ratings = rng.normal(size=(n, k)) * 0.1, rng.normal(size=n)
    solved = table(np.zeros((1, k)), "float32")
    _core.half_sweep(
        core_csr(sp.csr_array(ratings[None]), "float32"),
        loss="ratings",
        k=k,
        fixed=table(y, "float32"),
        solved=solved,
        ridge=np.ones(1, "float32"),
        cg_steps=0,
        n_threads=2,
    )
    wanted = y.T @ np.linalg.solve(y @ y.T + np.eye(n), ratings)
    np.testing.assert_allclose(solved[0], wanted, atol=5 * TOLERANCE["float32"])


def test_without_scipys_lapack_jacobi_gives_the_same_answer() -> None:
    """The built-in eigensolver is what a core without SciPy's table uses."""
    script = """
import sys
if sys.argv[1] == "none":
    sys.modules["matfac._blas"] = None
import numpy as np, matfac
rng = np.random.default_rng(0)
X = (rng.random((40, 30)) < 0.2).astype(float)
model = matfac.ImplicitMF(n_factors=6, random_state=0, dtype="float64", n_iter=3).fit(X)
print(matfac.show_config()["blas"].split()[0], repr(float(model.objective_)))
"""
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script, which], check=True, capture_output=True, text=True
        ).stdout.split()
        for which in ("scipy", "none")
    ]
    assert outputs[0][0] == "SciPy's,"
    assert outputs[1][0] == "none"
    assert float(outputs[0][1]) == pytest.approx(float(outputs[1][1]), rel=1e-9)

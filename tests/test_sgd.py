"""The core's SGD: against the NumPy twin, its order, its determinism."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import FACTOR_LENGTHS, core_csr, random_ratings, table
from matfac import _core, reference

M, N = 50, 40


def plan_of(matrix, dtype: str, k: int, seed: int = 3, weights=None, n_threads: int = 1):
    plan = _core.SgdPlanFloat32 if dtype == "float32" else _core.SgdPlanFloat64
    return plan(core_csr(matrix, dtype, weights), k, seed, n_threads)


def start(m: int, n: int, k: int, dtype: str, seed: int = 5):
    rng = np.random.default_rng(seed)
    rows = []
    for size in (m, n):
        row = np.zeros((size, 4), dtype)
        row[:, 0] = rng.normal(size=size) * 0.1
        row[:, 1] = rng.uniform(5, 10, size)
        row[:, 2] = rng.uniform(0.01, 0.1, size)
        rows.append(row)
    std = 0.8 / np.sqrt(k)
    x, y = rng.normal(size=(m, k)) * std, rng.normal(size=(n, k)) * std
    return table(x, dtype), table(y, dtype), *rows


@pytest.mark.parametrize("k", FACTOR_LENGTHS + (144,))
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("nonnegative", [False, True])
def test_epoch_equals_twin(
    nonnegative: bool, bias: bool, weighted: bool, k: int, dtype: str, isa: str
) -> None:
    matrix = random_ratings(M, N, 0.15, seed=1)
    rng = np.random.default_rng(2)
    weights = rng.uniform(0.5, 2, matrix.nnz) if weighted else None
    plan = plan_of(matrix, dtype, k, weights=weights)
    users, items, user_rows, item_rows = start(M, N, k, dtype)
    if nonnegative:
        np.abs(users, out=users)
        np.abs(items, out=items)
    state = reference.SgdState(
        *(a[:, :k].astype(np.float64) for a in (users, items)),
        *(r[:, c].astype(np.float64) for c in range(3) for r in (user_rows, item_rows)),
    )
    losses = []
    for number in range(2):
        loss = plan.epoch(
            k=k,
            users=users,
            items=items,
            user_rows=user_rows,
            item_rows=item_rows,
            mean=3.0,
            rate=0.5,
            bias_rate=1.2,
            bias=bias,
            nonnegative=nonnegative,
            number=number,
            deterministic=False,
            n_threads=1,
        )
        twin = reference.sgd_epoch(
            plan.visits(number),
            state,
            mean=3.0,
            rate=0.5,
            bias_rate=1.2,
            fit_bias=bias,
            nonnegative=nonnegative,
        )
        losses.append((loss, twin))
    tolerance = 3e-5 if dtype == "float32" else 1e-11
    for loss, twin in losses:
        assert loss == pytest.approx(twin, rel=tolerance)
    np.testing.assert_allclose(users[:, :k], state.users, atol=tolerance)
    np.testing.assert_allclose(items[:, :k], state.items, atol=tolerance)
    assert not users[:, k:].any()
    assert not nonnegative or min(users.min(), items.min()) == 0
    for rows, values in (
        (user_rows, (state.user_bias, state.user_sums)),
        (item_rows, (state.item_bias, state.item_sums)),
    ):
        for column, wanted in enumerate(values):
            np.testing.assert_allclose(rows[:, column], wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("density", [0.01, 0.5])
def test_an_epoch_visits_every_rating_once_and_epochs_differ(density: float) -> None:
    matrix = random_ratings(300, 200, density, seed=4)
    plan = plan_of(matrix, "float32", 8)
    orders = []
    for number in (0, 1):
        users, items, values, weights = plan.visits(number)
        assert weights is None
        dense = np.zeros(matrix.shape)
        np.add.at(dense, (users, items), values)
        np.testing.assert_array_equal(dense, matrix.toarray())
        orders.append(users.astype(np.int64) * 200 + items)
    assert not np.array_equal(*orders)


def epochs(matrix, dtype: str, *, deterministic: bool, n_threads: int, seed: int = 3):
    plan = plan_of(matrix, dtype, 16, seed, n_threads=n_threads)
    users, items, user_rows, item_rows = start(*matrix.shape, 16, dtype)
    for number in range(3):
        loss = plan.epoch(
            k=16,
            users=users,
            items=items,
            user_rows=user_rows,
            item_rows=item_rows,
            mean=3.0,
            rate=0.5,
            bias_rate=1.0,
            bias=True,
            number=number,
            deterministic=deterministic,
            n_threads=n_threads,
        )
    return loss, users.tobytes(), items.tobytes(), user_rows.tobytes(), item_rows.tobytes()


def many_users() -> sp.csr_array:
    """Users whose table is larger than what takes one turn."""
    matrix = sp.random_array((50_000, 90), density=0.04, rng=np.random.default_rng(7), format="csr")
    matrix.data[:] = np.arange(matrix.nnz) % 5 + 1
    return matrix


@pytest.mark.parametrize("turns", [False, True])
def test_deterministic_gives_the_same_bits_for_any_thread_count(turns: bool, dtype: str) -> None:
    matrix = many_users() if turns else random_ratings(900, 500, 0.2, seed=6)
    assert (plan_of(matrix, dtype, 16).turns > 1) == turns
    answers = [epochs(matrix, dtype, deterministic=True, n_threads=n) for n in (1, 2, 3, 4)]
    assert all(answer == answers[0] for answer in answers)


def test_users_take_turns_where_their_rows_are_many(dtype: str) -> None:
    matrix = many_users()
    plan = plan_of(matrix, dtype, 16)
    assert plan.turns > 1
    begin = []
    for number in range(6):
        users, items, values, _ = plan.visits(number)
        visited = sp.coo_array((values, (users, items)), matrix.shape).tocsr()
        assert (visited != matrix).nnz == 0
        at = np.arange(len(users))
        first, last = np.full(len(matrix.indptr), len(users)), np.zeros(len(matrix.indptr), int)
        np.minimum.at(first, users, at)
        np.maximum.at(last, users, at)
        assert (last - first).max() < 1.1 * len(users) / plan.turns  # about as long as a turn
        begin.append(set(users[:1000].tolist()))
    # Not every epoch begins with the same turn.
    assert any(begin[0].isdisjoint(other) for other in begin[1:])


def test_one_thread_is_reproducible_by_seed(dtype: str) -> None:
    matrix = random_ratings(900, 500, 0.1, seed=6)
    first, again, other = (
        epochs(matrix, dtype, deterministic=False, n_threads=1, seed=s) for s in (3, 3, 4)
    )
    assert first == again
    assert first != other


def test_hogwild_with_threads_reaches_the_same_loss() -> None:
    matrix = random_ratings(900, 500, 0.2, seed=6)
    one = epochs(matrix, "float32", deterministic=False, n_threads=1)[0]
    two = epochs(matrix, "float32", deterministic=False, n_threads=2)[0]
    assert two == pytest.approx(one, rel=0.02)

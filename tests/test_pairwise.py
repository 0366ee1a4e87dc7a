"""The core's pairwise SGD: against the NumPy twin, its draws, its determinism."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from conftest import FACTOR_LENGTHS, core_csr, random_ratings, table
from matfac import _core, reference

M, N = 50, 40
FEW = random_ratings(25, 20, 0.2, seed=1)
LOSSES = {"bpr": 1, "warp": 6, "logistic": 5, "softmax": 19}


def plan_of(
    matrix, dtype: str, k: int, seed: int = 3, by_popularity: bool = False, threads: int = 1
):
    plan = _core.PairwisePlanFloat32 if dtype == "float32" else _core.PairwisePlanFloat64
    return plan(core_csr(matrix, dtype), k, seed, by_popularity, threads)


def start(m: int, n: int, k: int, dtype: str, seed: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    arrays = {}
    for side, size in (("user", m), ("item", n)):
        rows = np.zeros((size, 4), dtype)
        rows[:, 0] = rng.normal(size=size) * 0.1
        rows[:, 1] = rng.uniform(5, 10, size)
        rows[:, 2] = rng.uniform(0.01, 0.1, size)
        arrays[f"{side}s"] = table(rng.normal(size=(size, k)) / np.sqrt(k), dtype)
        arrays[f"{side}_rows"] = rows
    return arrays


def twin_of(arrays: dict[str, np.ndarray], k: int) -> reference.SgdState:
    tables = (arrays[name][:, :k].astype(np.float64) for name in ("users", "items"))
    rows = (
        arrays[f"{side}_rows"][:, c].astype(np.float64)
        for c in range(3)
        for side in ("user", "item")
    )
    return reference.SgdState(*tables, *rows)


@cache  # of every instruction set
def twin_epochs(
    loss: str, negatives: int, bias: bool, k: int, dtype: str
) -> tuple[reference.SgdState, list[tuple[float, int]]]:
    plan = plan_of(FEW, dtype, k)
    state = twin_of(start(*FEW.shape, k, dtype), k)
    epochs = [
        reference.pairwise_epoch(
            plan.samples(number, negatives), state, **options_of(loss), fit_bias=bias
        )
        for number in range(2)
    ]
    return state, epochs


def options_of(loss: str) -> dict[str, Any]:
    return {"mean": -0.7 if loss == "logistic" else 0.0, "loss": loss, "rate": 0.5}


@pytest.mark.parametrize("k", FACTOR_LENGTHS + (144,))
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("loss", [*LOSSES, "bpr-3"])
def test_epoch_equals_twin(loss: str, bias: bool, k: int, dtype: str, isa: str) -> None:
    negatives = 3 if loss == "bpr-3" else LOSSES[loss]
    loss = loss.split("-", maxsplit=1)[0]
    plan = plan_of(FEW, dtype, k)
    arrays = start(*FEW.shape, k, dtype)
    state, wanted = twin_epochs(loss, negatives, bias, k, dtype)
    tolerance = 5e-5 if dtype == "float32" else 1e-11
    for number in range(2):
        value, n = plan.epoch(
            k=k, **arrays, **options_of(loss), bias=bias, negatives=negatives, number=number,
            deterministic=False, n_threads=1,
        )  # fmt: skip
        assert value == pytest.approx(wanted[number][0], rel=tolerance)
        assert n == wanted[number][1]
    for name, twin in zip(("users", "items"), state[:2], strict=True):
        np.testing.assert_allclose(arrays[name][:, :k], twin, atol=tolerance)
        assert not arrays[name][:, k:].any()
    for at, side in enumerate(("user", "item")):
        for column in range(3):
            np.testing.assert_allclose(
                arrays[f"{side}_rows"][:, column], state[2 + 2 * column + at],
                rtol=tolerance, atol=tolerance,
            )  # fmt: skip


@pytest.mark.parametrize(("loss", "n"), [("bpr", 2), ("warp", 2), ("logistic", 6), ("softmax", 9)])
def test_slopes_are_minus_the_gradient(loss: str, n: int) -> None:
    rng = np.random.default_rng(0)
    for scale in (0.3, 3.0, 30.0):
        scores = rng.normal(size=n) * scale
        if loss == "warp":
            scores[1] = scores[0] - 0.5
        value, slopes = reference.pairwise_slopes(loss, scores)
        assert value >= 0
        step = 1e-6
        numeric = [
            (reference.pairwise_slopes(loss, scores - step * e)[0]
             - reference.pairwise_slopes(loss, scores + step * e)[0]) / (2 * step)
            for e in np.eye(n)
        ]  # fmt: skip
        np.testing.assert_allclose(slopes, numeric, atol=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_small_step_follows_the_gradient_of_the_rows(loss: str, dtype: str) -> None:
    """One sample's step by the core is rate / root(sum) times minus the numeric gradient."""
    k, negatives = 5, LOSSES[loss]
    matrix = random_ratings(3, 30, 0.2, seed=2)
    matrix = type(matrix)(([1.0], ([0], [4])), shape=matrix.shape)
    plan = plan_of(matrix, "float64", k)
    arrays = start(*matrix.shape, k, "float64", seed=1)
    for side in ("user", "item"):
        arrays[f"{side}_rows"][:, 1] = 1.0
        arrays[f"{side}_rows"][:, 2] = 0.0
    _, items, drawn = plan.samples(0, negatives)
    before = twin_of(arrays, k)

    def value(x: np.ndarray, rows: np.ndarray) -> float:
        scores = rows @ x + before.item_bias
        if loss != "warp":
            return reference.pairwise_slopes(loss, scores[[items[0], *drawn[0]]])[0]
        weights = reference.trial_weights(negatives, len(rows))
        violated = [(1 - scores[items[0]] + scores[j]) for j in drawn[0]]
        first = next(t for t, v in enumerate(violated) if v > 0)
        return weights[first] * violated[first]

    def gradient(at: np.ndarray, f) -> np.ndarray:
        out = np.zeros_like(at)
        for index in np.ndindex(at.shape):
            step = np.zeros_like(at)
            step[index] = 1e-6
            out[index] = (f(at + step) - f(at - step)) / 2e-6
        return out

    bias = before.user_bias[0]
    before.item_bias[:] += bias if loss == "logistic" else 0.0  # as an offset of all scores
    rate = 1e-3
    plan.epoch(
        k=k, **arrays, mean=0.0, loss=loss, rate=rate, bias=False, negatives=negatives, number=0,
        deterministic=False, n_threads=1,
    )  # fmt: skip
    moved = (arrays["users"][0, :k] - before.users[0]) / rate
    np.testing.assert_allclose(
        -moved, gradient(before.users[0], lambda x: value(x, before.items)), atol=1e-3
    )
    moved = (arrays["items"][:, :k] - before.items) / rate
    np.testing.assert_allclose(
        -moved, gradient(before.items, lambda y: value(before.users[0], y)), atol=1e-2
    )


@pytest.mark.parametrize("density", [0.02, 0.5])
@pytest.mark.parametrize("by_popularity", [False, True])
def test_samples_are_every_positive_once_and_true_negatives(
    by_popularity: bool, density: float
) -> None:
    matrix = random_ratings(300, 200, density, seed=4, implicit=True)
    plan = plan_of(matrix, "float32", 8, by_popularity=by_popularity)
    dense = matrix.toarray()
    orders = []
    for number in (0, 1):
        users, items, drawn = plan.samples(number, 4)
        seen = np.zeros(matrix.shape)
        np.add.at(seen, (users, items), 1)
        np.testing.assert_array_equal(seen, dense)
        found = drawn >= 0
        assert found.mean() > 0.98
        assert (np.diff(found.astype(int), axis=1) <= 0).all()
        assert not dense[np.repeat(users, 4)[found.ravel()], drawn[found]].any()
        orders.append((users, items, drawn))
    assert not np.array_equal(orders[0][2], orders[1][2])
    assert not np.array_equal(orders[0][1], orders[1][1])


@pytest.mark.parametrize("by_popularity", [False, True])
def test_negatives_have_the_stated_distribution(by_popularity: bool) -> None:
    """Over many epochs, of three bands here, every item that a user lacks is drawn by its share."""
    rng = np.random.default_rng(0)
    n_items = 60
    matrix = random_ratings(1500, n_items, 1.0, seed=4, implicit=True)
    keep = rng.random(matrix.nnz) < rng.uniform(0.02, 0.3, n_items)[matrix.indices]
    matrix.data[~keep] = 0
    matrix.eliminate_zeros()
    plan = plan_of(matrix, "float32", 8, by_popularity=by_popularity)
    counts = np.zeros(n_items)
    for number in range(150):
        users, _, drawn = plan.samples(number, 1)
        counts += np.bincount(drawn[drawn >= 0], minlength=n_items)
    lacking = matrix.toarray() == 0
    share = lacking * ((~lacking).sum(axis=0) if by_popularity else np.ones(n_items))
    expected = np.bincount(users, minlength=1500) @ (share / share.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(
        counts / counts.sum(), expected / expected.sum(), rtol=0.12, atol=1e-3
    )


def epochs(matrix, dtype: str, loss: str, *, deterministic: bool, n_threads: int, seed: int = 3):
    plan = plan_of(matrix, dtype, 16, seed, threads=n_threads)
    arrays = start(*matrix.shape, 16, dtype)
    for number in range(3):
        value = plan.epoch(
            k=16, **arrays, mean=0.0, loss=loss, negatives=LOSSES[loss], rate=0.5, bias=True,
            number=number, deterministic=deterministic, n_threads=n_threads,
        )  # fmt: skip
    return value, *(array.tobytes() for array in arrays.values())


@pytest.mark.parametrize("loss", LOSSES)
def test_deterministic_gives_the_same_bits_for_any_thread_count(loss: str, dtype: str) -> None:
    matrix = random_ratings(900, 500, 0.1, seed=6)
    answers = [epochs(matrix, dtype, loss, deterministic=True, n_threads=n) for n in (1, 2, 3, 4)]
    assert all(answer == answers[0] for answer in answers)
    assert epochs(matrix, dtype, loss, deterministic=False, n_threads=1) == answers[0]
    assert epochs(matrix, dtype, loss, deterministic=True, n_threads=2, seed=4) != answers[0]


@pytest.mark.parametrize("loss", LOSSES)
def test_hogwild_with_threads_reaches_the_same_loss(loss: str) -> None:
    matrix = random_ratings(900, 500, 0.1, seed=6)
    one, two = (
        epochs(matrix, "float32", loss, deterministic=False, n_threads=n)[0][0] for n in (1, 2)
    )
    assert two == pytest.approx(one, rel=0.03)


@pytest.mark.parametrize("loss", ["logistic", "bpr", "softmax"])
@pytest.mark.parametrize("score", [-1e4, -300.0, -95.0, 95.0, 300.0, 1e4])
def test_far_scores_neither_overflow_nor_vanish(
    score: float, loss: str, dtype: str, isa: str
) -> None:
    matrix = random_ratings(4, 12, 0.0, seed=1)
    matrix = type(matrix)(([1.0], ([0], [2])), shape=matrix.shape)
    plan = plan_of(matrix, dtype, 1)
    arrays = start(4, 12, 1, dtype)
    arrays["items"][:] = 0
    for side in ("user", "item"):
        arrays[f"{side}_rows"][:, 0] = 0
    arrays["item_rows"][2, 0] = score
    value, n = plan.epoch(
        k=1, **arrays, mean=0.0, loss=loss, negatives=1, rate=0.1, bias=True, number=0,
        deterministic=False, n_threads=1,
    )  # fmt: skip
    assert n == 1
    own = np.logaddexp(0, -score)
    wanted = {
        "logistic": own + np.log(2), "bpr": own, "softmax": own,
    }[loss]  # fmt: skip
    assert value == pytest.approx(wanted, rel=1e-5, abs=1e-30)
    assert all(np.isfinite(array).all() for array in arrays.values())

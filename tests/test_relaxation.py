"""Over-relaxed gradient steps and equal ridges: the objective falls, and in fewer sweeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conftest import core_csr, random_ratings, table
from matfac import ExplicitMF, ImplicitMF, _als, _core
from matfac._ratings import Ratings
from matfac.datasets import planted_clicks, planted_ratings

M, N = 60, 80


def factors(k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(M, k)) * 0.3, rng.normal(size=(N, k)) * 0.3


@pytest.mark.parametrize(("steps", "relaxation"), [(0, 1.0), (2, 1.0), (2, 1.4), (3, 1.9)])
@pytest.mark.parametrize("loss", ["ials", "hu", "ratings"])
def test_half_sweeps_never_raise_the_objective(loss: str, steps: int, relaxation: float) -> None:
    matrix = random_ratings(M, N, 0.2, seed=10)
    sides = {"users": core_csr(matrix, "float64"), "items": core_csr(matrix.T.tocsr(), "float64")}
    x, y = factors(6, seed=11)
    tables = {"users": table(x, "float64"), "items": table(y, "float64")}
    biased = loss == "ratings"
    bias = {"users": np.zeros(M), "items": np.zeros(N)} if biased else {}
    ridges = {"users": np.full(M, 0.5), "items": np.full(N, 0.7)}
    values = []
    for _ in range(5):
        for solved, fixed in (("users", "items"), ("items", "users")):
            _core.half_sweep(
                sides[solved],
                loss=loss,
                mean=3.0 if biased else 0.0,
                alpha=0.5,
                k=6,
                fixed=tables[fixed],
                solved=tables[solved],
                fixed_bias=bias.get(fixed),
                solved_bias=bias.get(solved),
                ridge=ridges[solved],
                cg_steps=steps,
                relaxation=relaxation,
                n_threads=2,
            )
            value = _core.loss_value(
                sides["users"],
                loss=loss,
                mean=3.0 if biased else 0.0,
                alpha=0.5,
                k=6,
                users=tables["users"],
                items=tables["items"],
                user_bias=bias.get("users"),
                item_bias=bias.get("items"),
                n_threads=1,
            )
            ridge = (_core.ridge_value(tables[s], 6, bias.get(s), ridges[s]) for s in tables)
            values.append(value + sum(ridge))
    assert (np.diff(values) <= 1e-10 * values[0]).all()
    assert values[-1] < 0.9 * values[0]


@pytest.mark.parametrize("model", [ExplicitMF(n_factors=8), ImplicitMF(n_factors=8)], ids=repr)
def test_relaxed_sweeps_are_worth_more(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten of them end lower than fifteen that stop at each row's minimum, over several starts."""
    X = planted_ratings(300, 200, 12_000, rank=6, seed=3).train

    def mean_end(n_iter: int) -> float:
        fits = (model.set_params(n_iter=n_iter, random_state=seed).fit(X) for seed in range(8))
        return float(np.mean([fit.objective_ for fit in fits]))

    relaxed = mean_end(10)
    monkeypatch.setattr(_als, "RELAXATION", 1.0)
    assert relaxed < mean_end(15)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_an_epoch_ends_with_equal_ridges(
    nonnegative: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users times a number, items divided by it: the same products, and the least of all sums."""
    matrix = random_ratings(M, N, 0.2, seed=1)
    index = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
    ratings = Ratings((M, N), *index, matrix.data.astype(np.float64))
    objective = _als.Objective("hu", 3.0, 0.0, alpha=5.0, nonnegative=nonnegative)

    def epoch() -> tuple[np.ndarray, float, list[float]]:
        solver = _als.AlsSolver(
            ratings, objective, k=4, fit_bias=False, init_std=0.1, cg_steps=2, n_threads=1,
            generator=np.random.default_rng(0),
        )  # fmt: skip
        value = solver.epoch(0)["objective"]
        x, y = solver.tables["users"], solver.tables["items"]
        return x @ y.T, value, [float(3.0 * np.sum(t * t)) for t in (x, y)]

    products, value, ridges = epoch()
    assert ridges[0] == pytest.approx(ridges[1], rel=1e-9)
    monkeypatch.setattr(_als.AlsSolver, "_balance", lambda *_: 0.0)
    without, before, unequal = epoch()
    np.testing.assert_allclose(products, without, atol=1e-9)
    assert before - value == pytest.approx(sum(unequal) - sum(ridges), rel=1e-9)
    assert sum(ridges) < 0.9 * sum(unequal)


def test_equal_ridges_take_half_of_the_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    X = planted_clicks(600, 400, 24_000, rank=6, seed=3).train

    def end(n_iter: int) -> float:
        model = ImplicitMF(n_factors=32, alpha=10.0, reg=1.0, n_iter=n_iter, random_state=0)
        return float(model.fit(X).objective_)

    sooner = end(5)
    monkeypatch.setattr(_als.AlsSolver, "_balance", lambda *_: 0.0)
    assert sooner < end(10)

"""Over-relaxed gradient steps: the objective falls, and in fewer sweeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conftest import core_csr, random_ratings, table
from matfac import ExplicitMF, ImplicitMF, _als, _core
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
    monkeypatch.setattr(_als, "RELAXATION", dict.fromkeys(_als.RELAXATION, ((1.0, 1.0),)))
    assert relaxed < mean_end(15)


def test_implicit_sweeps_are_worth_most_where_factors_are_many() -> None:
    """Four end lower than six that go 1.4 times as far, of far more factors than the data have."""
    X = planted_clicks(900, 600, 36_000, rank=8, seed=3).train

    def end(n_iter: int) -> float:
        model = ImplicitMF(n_factors=128, alpha=10.0, reg=1.0, n_iter=n_iter, random_state=0)
        return float(model.fit(X).objective_)

    sooner = end(4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(_als.RELAXATION, "implicit", ((1.4, 1.4),))
        assert sooner < end(6)

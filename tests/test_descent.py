"""Non-negative and L1-penalised factors: the core against the NumPy twin, and the conditions."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import FACTOR_LENGTHS, core_csr, random_ratings, table
from matfac import ExplicitMF, ImplicitMF, _core, reference

M, N = 40, 60
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
RIDGE = np.linspace(0.4, 0.9, M)
# non-negative?, weight of the L1 norm
PENALTIES = {"nonnegative": (True, 0.0), "l1": (False, 0.8), "both": (True, 0.8)}


def triplet(matrix: sp.csr_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return matrix.indptr, matrix.indices, matrix.data


def factors(k: int, penalty: str, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(M, k)) * 0.3, rng.normal(size=(N, k)) * 0.3
    return (np.abs(x), np.abs(y)) if PENALTIES[penalty][0] else (x, y)


def lasso_of(penalty: str) -> np.ndarray | None:
    weight = PENALTIES[penalty][1]
    return weight * np.linspace(0.5, 1.5, M) if weight else None


@functools.cache
def twin(loss: str, penalty: str, passes: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = factors(k, penalty)
    csr = triplet(random_ratings(M, N, 0.2, seed=1))
    shared: dict[str, Any] = {
        "ridge": RIDGE,
        "cg_steps": passes or None,
        "nonnegative": PENALTIES[penalty][0],
        "lasso": lasso_of(penalty),
    }
    if loss == "ratings":
        bias = np.linspace(-0.5, 0.5, N)
        return reference.explicit_half_sweep(csr, y, bias, x, None, mean=3.1, **shared)
    weight = {"alpha0": 0.3} if loss == "ials" else {"alpha": 2.0}
    return reference.implicit_half_sweep(csr, y, x, **weight, **shared), np.zeros(M)


def sweep(
    loss: str, penalty: str, passes: int, k: int, dtype: str, n_threads: int = 2
) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    x, y = factors(k, penalty)
    lasso = lasso_of(penalty)
    solved, bias = table(x, dtype), np.zeros(M, dtype)
    biased = loss == "ratings"
    value = _core.half_sweep(
        core_csr(random_ratings(M, N, 0.2, seed=1), dtype),
        loss=loss,
        mean=3.1 if biased else 0.0,
        alpha=0.3 if loss == "ials" else 2.0,
        k=k,
        fixed=table(y, dtype),
        solved=solved,
        fixed_bias=np.linspace(-0.5, 0.5, N).astype(dtype) if biased else None,
        solved_bias=bias if biased else None,
        ridge=RIDGE.astype(dtype),
        lasso=None if lasso is None else lasso.astype(dtype),
        nonnegative=PENALTIES[penalty][0],
        cg_steps=passes,
        n_threads=n_threads,
    )
    return solved, bias, value


# To the end of the descent only where the twin gets there soon.
LENGTHS = [(k, 2) for k in FACTOR_LENGTHS] + [(k, 0) for k in (1, 7, 16, 33)]


@pytest.mark.parametrize(("k", "passes"), LENGTHS)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", ["ials", "hu", "ratings"])
def test_half_sweep_equals_twin(
    loss: str, penalty: str, passes: int, k: int, dtype: str, isa: str
) -> None:
    solved, bias, _ = sweep(loss, penalty, passes, k, dtype)
    wanted, wanted_bias = twin(loss, penalty, passes, k)
    np.testing.assert_allclose(solved[:, :k], wanted, atol=TOLERANCE[dtype])
    np.testing.assert_allclose(bias, wanted_bias, atol=TOLERANCE[dtype])
    assert not solved[:, k:].any()


@pytest.mark.parametrize("k", [7, 64, 128])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", ["ials", "hu", "ratings"])
def test_rows_meet_the_conditions_of_a_minimum(loss: str, penalty: str, k: int, isa: str) -> None:
    """Karush, Kuhn and Tucker's, by the derivative of each row's own part of the objective."""
    solved, bias, (value, part) = sweep(loss, penalty, 0, k, "float64")
    x, y = solved[:, :k], factors(k, penalty)[1]
    nonnegative, _ = PENALTIES[penalty]
    lasso = np.zeros(M) if lasso_of(penalty) is None else lasso_of(penalty)
    matrix = random_ratings(M, N, 0.2, seed=1)
    dense, known = matrix.toarray(), matrix.toarray() > 0
    scores = x @ y.T
    if loss == "ratings":
        error = known * (scores + bias[:, None] + np.linspace(-0.5, 0.5, N) + 3.1 - dense)
        slope, constant = error @ y, (error**2).sum()
        np.testing.assert_allclose(error.sum(axis=1) + RIDGE * bias, 0, atol=1e-8)
    else:
        scale, c = (0.3, dense) if loss == "ials" else (1.0, 2.0 * dense)
        extra = 0.0 if loss == "ials" else 1.0 * known
        slope = (c * (scores - 1) + scale * scores - extra) @ y
        constant = (c * (scores - 1) ** 2 + scale * scores**2 + extra * (1 - 2 * scores)).sum()
    slope = slope + RIDGE[:, None] * x
    full = known.any(axis=1)
    half = lasso[:, None] / 2
    at_zero = x == 0
    assert at_zero[full].any()
    assert not at_zero[full].all()
    np.testing.assert_allclose((slope + half * np.sign(x))[~at_zero], 0, atol=1e-7)
    assert (slope + half)[at_zero & full[:, None]].min() >= -1e-7
    if nonnegative:
        assert x.min() >= 0
    else:
        assert (slope - half)[at_zero & full[:, None]].max() <= 1e-7
    penalties = (RIDGE * ((x**2).sum(axis=1) + bias**2)).sum() + (lasso @ np.abs(x)).sum()
    assert part == pytest.approx(penalties)
    assert value == pytest.approx(constant + penalties)


@pytest.mark.parametrize("passes", [0, 2])
@pytest.mark.parametrize("loss", ["ials", "ratings"])
def test_same_bits_for_any_thread_count(loss: str, passes: int, dtype: str) -> None:
    answers = [sweep(loss, "both", passes, 24, dtype, n_threads) for n_threads in (1, 2, 3)]
    for solved, bias, value in answers[1:]:
        assert solved.tobytes() == answers[0][0].tobytes()
        assert bias.tobytes() == answers[0][1].tobytes()
        assert value == answers[0][2]


@pytest.mark.parametrize("loss", ["ials", "hu", "ratings"])
def test_giant_rows_are_shared_out(loss: str) -> None:
    """A row of 40,000 entries gives what its own normal equations give."""
    rng = np.random.default_rng(6)
    dense = rng.integers(1, 6, (2, 40_000)).astype(np.float64)
    k, y = 5, np.abs(rng.normal(size=(40_000, 5)))
    answers = []
    for n_threads in (1, 2):
        solved = table(np.full((2, k), 0.1), "float64")
        _core.half_sweep(
            core_csr(sp.csr_array(dense), "float64"),
            loss=loss,
            mean=3.0 if loss == "ratings" else 0.0,
            alpha=0.5,
            k=k,
            fixed=table(y, "float64"),
            solved=solved,
            ridge=np.full(2, 0.5),
            nonnegative=True,
            cg_steps=0,
            n_threads=n_threads,
        )
        answers.append(solved[:, :k])
    np.testing.assert_array_equal(*answers)
    c = {"ratings": np.ones(dense.shape), "ials": dense, "hu": 0.5 * dense}[loss]
    g = {"ratings": dense - 3.0, "ials": dense, "hu": 1 + 0.5 * dense}[loss]
    for row in range(2):
        scale = {"ratings": 0.0, "ials": 0.5, "hu": 1.0}[loss]
        gram = (y * (c[row] + scale)[:, None]).T @ y + 0.5 * np.eye(k)
        slope = gram @ answers[0][row] - g[row] @ y
        size = np.abs(g[row] @ y).max()
        assert slope.min() >= -1e-9 * size
        assert np.abs(slope * answers[0][row]).max() <= 1e-9 * size


PARTS = random_ratings(120, 90, 0.25, seed=1)
MODELS = {
    "ratings": lambda **kw: ExplicitMF(n_factors=6, random_state=0, **kw),
    "ratings-no-bias": lambda **kw: ExplicitMF(n_factors=6, fit_bias=False, random_state=0, **kw),
    "ials": lambda **kw: ImplicitMF(n_factors=6, random_state=0, **kw),
    "hu": lambda **kw: ImplicitMF(n_factors=6, alpha=5.0, reg=0.5, random_state=0, **kw),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("settings", [{"nonnegative": True}, {"l1_reg": 0.02}])
def test_objective_falls_every_half_sweep(name: str, settings: dict[str, Any]) -> None:
    model = MODELS[name](dtype="float64", n_iter=8, **settings)
    ratings = model._ratings(PARTS, reset=True)
    solver = model._make_solver(ratings, (None, None), 0)
    values = []
    for _ in range(model.n_iter):
        for side in (0, 1):
            value, _ = solver._half(side, solver.cg_steps)
            other = 1 - side
            name_of = ("users", "items")[other]
            bias = solver.biases()[other]
            value += _core.ridge_value(solver.tables[name_of], 6, bias, solver._ridges[other])
            if solver._lassos[other] is not None:
                value += solver._lassos[other] @ np.abs(solver.tables[name_of]).sum(axis=1)
            values.append(value)
    assert (np.diff(values) <= 1e-10 * values[0]).all()
    assert values[-1] < 0.95 * values[0]
    assert solver.finish() <= values[-1] * (1 + 1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_l1_makes_zeros_and_its_objective_is_the_references(name: str) -> None:
    l1_reg = 3.0 if name == "hu" else 0.05  # scaled by no counts, or by them
    model = MODELS[name](l1_reg=l1_reg, nonnegative=True, n_iter=5).fit(PARTS)
    for table_ in (model.user_factors_, model.item_factors_):
        assert table_.min() == 0
        assert (table_ == 0).mean() > 0.2
    own = reference.Factors(
        model.user_factors_, model.item_factors_, model.user_bias_, model.item_bias_, model.mean_
    )
    if isinstance(model, ExplicitMF):
        wanted = reference.explicit_objective(
            triplet(PARTS), own, reg=model.reg, exponent=1.0, l1_reg=l1_reg
        )
    else:
        weight = {"alpha0": 0.1} if model.alpha is None else {"alpha": 5.0}
        wanted = reference.implicit_objective(
            triplet(PARTS),
            own,
            reg=model.reg,
            exponent=float(name == "ials"),
            l1_reg=l1_reg,
            **weight,
        )
    assert model.objective_ == pytest.approx(wanted, rel=1e-5)


def test_planted_parts_are_found() -> None:
    """Without biases the model is X ~ U V': parts that add up, planted here, come back."""
    rng = np.random.default_rng(3)
    parts = np.zeros((60, 4))
    parts[np.arange(60), np.arange(60) % 4] = rng.uniform(1, 2, 60)
    mixes = rng.uniform(0, 1, (150, 4)) * (rng.random((150, 4)) < 0.6)
    model = ExplicitMF(
        n_factors=4, nonnegative=True, fit_bias=False, reg=1e-4, n_iter=200, random_state=0
    ).fit(mixes @ parts.T)
    assert model.mean_ == 0.0
    found = model.item_factors_
    assert found.min() >= 0
    cosines = (found / np.linalg.norm(found, axis=0)).T @ (parts / np.linalg.norm(parts, axis=0))
    assert cosines.max(axis=1).min() > 0.99
    assert sorted(cosines.argmax(axis=1)) == [0, 1, 2, 3]


def test_l1_goes_with_als_alone() -> None:
    with pytest.raises(ValueError, match=r"l1_reg=0.1 goes with solver='als'"):
        ExplicitMF(solver="sgd", l1_reg=0.1).fit(PARTS)
    with pytest.raises(ValueError, match="l1_reg must be finite"):
        ImplicitMF(l1_reg=-1).fit(PARTS)

"""The NumPy twin against finite differences, and brute force over all cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from matfac import reference
from matfac.reference import Factors

M, N, K = 13, 9, 3
EMPTY_USER, EMPTY_ITEM = 4, 7
BIASES = {"users": "user_bias", "items": "item_bias"}
IMPLICIT = {"hu": {"alpha": 2.5}, "ials": {"alpha0": 0.3}}
Options = dict[str, Any]


def make_dense(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    dense = np.where(rng.random((M, N)) < 0.45, rng.uniform(0.5, 5.0, (M, N)), 0.0)
    dense[0] = rng.uniform(0.5, 5.0, N)  # a full row
    dense[EMPTY_USER] = 0
    dense[:, EMPTY_ITEM] = 0
    return dense


def to_csr(dense: np.ndarray) -> reference.Csr:
    rows, cols = np.nonzero(dense)
    indptr = np.zeros(len(dense) + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows, minlength=len(dense)), out=indptr[1:])
    return indptr, cols.astype(np.int32), dense[rows, cols]


def make_model(seed: int = 1, biased: bool = True) -> Factors:
    rng = np.random.default_rng(seed)
    model = Factors(rng.normal(size=(M, K)), rng.normal(size=(N, K)))
    if not biased:
        return model
    return model._replace(user_bias=rng.normal(size=M), item_bias=rng.normal(size=N), mean=2.7)


def numeric_gradient(objective: Any, model: Factors, field: str) -> np.ndarray:
    table = np.asarray(getattr(model, field), dtype=np.float64)
    slopes, step = np.empty_like(table), 1e-5
    for at in np.ndindex(table.shape):
        up, down = table.copy(), table.copy()
        up[at] += step
        down[at] -= step
        rise = objective(model._replace(**{field: up})) - objective(model._replace(**{field: down}))
        slopes[at] = rise / (2 * step)
    return slopes


def weights_for(csr: reference.Csr, weighted: bool) -> np.ndarray | None:
    return np.random.default_rng(5).uniform(0.2, 3.0, len(csr[1])) if weighted else None


def explicit_sweep(
    csr: reference.Csr,
    model: Factors,
    side: str,
    *,
    reg: float,
    exponent: float,
    weights: np.ndarray | None = None,
    **options: Any,
) -> Factors:
    """One half sweep of `side`, with the ridges and the transpose it takes."""
    counts = reference.entry_counts(csr, N, weights)
    users = (model.users, model.user_bias)
    items = (model.items, model.item_bias)
    if side == "items":
        if weights is not None:
            weights = reference.transpose((*csr[:2], weights), N)[2]
        csr, users, items = reference.transpose(csr, N), items, users
    factors, bias = reference.explicit_half_sweep(
        csr,
        *items,
        *users,
        mean=model.mean,
        ridge=reference.row_ridge(counts[side == "items"], reg, exponent),
        weights=weights,
        fixed_counts=counts[side == "users"],
        **options,
    )
    return model._replace(**{side: factors, BIASES[side]: bias})


def implicit_sweep(
    csr: reference.Csr,
    model: Factors,
    side: str,
    *,
    reg: float,
    exponent: float,
    cg_steps: int | None = None,
    weights: np.ndarray | None = None,
    **loss: Any,
) -> Factors:
    counted = weights
    if "alpha0" in loss:
        counted = csr[2] * (1.0 if weights is None else weights)
    counts = reference.entry_counts(csr, N, counted)
    users, items, n_cells = model.users, model.items, (N, M)[side == "items"]
    if side == "items":
        if weights is not None:
            weights = reference.transpose((*csr[:2], weights), N)[2]
        csr, users, items = reference.transpose(csr, N), items, users
    ridge = reference.row_ridge(
        counts[side == "items"], reg, exponent, loss.get("alpha0", 0.0) * n_cells
    )
    solved = reference.implicit_half_sweep(
        csr, items, users, ridge=ridge, weights=weights, cg_steps=cg_steps, **loss
    )
    return model._replace(**{side: solved})


# --- objectives and gradients


@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_explicit_objective_is_the_sum_over_entries(exponent: float, weighted: bool) -> None:
    dense, model = make_dense(), make_model()
    csr = to_csr(dense)
    weights = weights_for(csr, weighted)
    table = np.zeros_like(dense)
    table[dense > 0] = 1.0 if weights is None else weights
    scores = model.users @ model.items.T + model.user_bias[:, None] + model.item_bias + model.mean
    expected = (table * (dense - scores) ** 2).sum()
    for x, b, n in (
        (model.users, model.user_bias, table.sum(axis=1)),
        (model.items, model.item_bias, table.sum(axis=0)),
    ):
        strength = np.where(n > 0, n, 1.0) ** exponent
        expected += 0.4 * strength @ ((x**2).sum(axis=1) + b**2)
    got = reference.explicit_objective(csr, model, reg=0.4, exponent=exponent, weights=weights)
    assert got == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("loss", IMPLICIT)
@pytest.mark.parametrize("weighted", [False, True])
def test_implicit_objective_is_the_sum_over_all_cells(
    exponent: float, loss: str, weighted: bool
) -> None:
    dense, model = make_dense(), make_model(biased=False)
    known, scores = dense > 0, model.users @ model.items.T
    weights = weights_for(to_csr(dense), weighted)
    w = np.zeros_like(dense)
    w[known] = 1.0 if weights is None else weights
    if loss == "hu":
        # An entry of weight w is w parts of an entry and 1 - w parts of an unobserved cell.
        c = 1 + IMPLICIT["hu"]["alpha"] * dense
        expected = (w * c * (known - scores) ** 2 + (1 - w) * scores**2).sum()
        counts = w.sum(axis=1), w.sum(axis=0)
    else:
        a = IMPLICIT["ials"]["alpha0"]
        expected = (w * dense * (scores - 1) ** 2).sum() + a * (scores**2).sum()
        counts = (w * dense).sum(axis=1) + a * N, (w * dense).sum(axis=0) + a * M
    for x, n in zip((model.users, model.items), counts, strict=True):
        strength = np.where(n > 0, n, 1.0) ** exponent
        expected += 0.4 * strength @ (x**2).sum(axis=1)
    got = reference.implicit_objective(
        to_csr(dense), model, reg=0.4, exponent=exponent, weights=weights, **IMPLICIT[loss]
    )
    assert got == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("field", Factors._fields)
@pytest.mark.parametrize("weighted", [False, True])
def test_explicit_gradient_is_the_finite_difference(field: str, weighted: bool) -> None:
    csr, model = to_csr(make_dense()), make_model()
    options: Options = {"reg": 0.4, "exponent": 0.7, "weights": weights_for(csr, weighted)}
    expected = numeric_gradient(
        lambda moved: reference.explicit_objective(csr, moved, **options), model, field
    )
    got = getattr(reference.explicit_gradient(csr, model, **options), field)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("field", ["users", "items"])
@pytest.mark.parametrize("loss", IMPLICIT)
@pytest.mark.parametrize("weighted", [False, True])
def test_implicit_gradient_is_the_finite_difference(field: str, loss: str, weighted: bool) -> None:
    csr, model = to_csr(make_dense()), make_model(biased=False)
    options: Options = {"reg": 0.4, "exponent": 0.5, **IMPLICIT[loss]}
    options["weights"] = weights_for(csr, weighted)
    expected = numeric_gradient(
        lambda moved: reference.implicit_objective(csr, moved, **options), model, field
    )
    got = getattr(reference.implicit_gradient(csr, model, **options), field)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_gradients_and_predictions_take_a_missing_bias_as_zero() -> None:
    csr, bare = to_csr(make_dense()), make_model(biased=False)
    zero = bare._replace(user_bias=np.zeros(M), item_bias=np.zeros(N))
    for left, right in zip(
        reference.explicit_gradient(csr, bare, reg=0.1, exponent=1.0),
        reference.explicit_gradient(csr, zero, reg=0.1, exponent=1.0),
        strict=True,
    ):
        np.testing.assert_array_equal(left, right)
    pairs = np.array([0, 3]), np.array([2, 8])
    expected = [bare.users[0] @ bare.items[2], bare.users[3] @ bare.items[8]]
    np.testing.assert_allclose(reference.predict(*pairs, bare), expected)


# --- half sweeps


@pytest.mark.parametrize("cg_steps", [None, 40])
@pytest.mark.parametrize("side", ["users", "items"])
@pytest.mark.parametrize("fit_bias", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_solved_explicit_sweep_has_no_gradient_left(
    cg_steps: int | None, side: str, fit_bias: bool, weighted: bool
) -> None:
    csr, model, bias = to_csr(make_dense()), make_model(), BIASES[side]
    options: Options = {"reg": 0.4, "exponent": 0.7, "weights": weights_for(csr, weighted)}
    solved = explicit_sweep(csr, model, side, cg_steps=cg_steps, fit_bias=fit_bias, **options)
    gradient = reference.explicit_gradient(csr, solved, **options)
    np.testing.assert_allclose(getattr(gradient, side), 0, atol=1e-8)
    if fit_bias:
        np.testing.assert_allclose(getattr(gradient, bias), 0, atol=1e-8)
    else:
        np.testing.assert_array_equal(getattr(solved, bias), getattr(model, bias))
    exact = explicit_sweep(csr, model, side, fit_bias=fit_bias, **options)
    np.testing.assert_allclose(getattr(solved, side), getattr(exact, side), rtol=1e-8)


@pytest.mark.parametrize("cg_steps", [None, 40])
@pytest.mark.parametrize("side", ["users", "items"])
@pytest.mark.parametrize("loss", IMPLICIT)
@pytest.mark.parametrize("ones", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_solved_implicit_sweep_has_no_gradient_left(
    cg_steps: int | None, side: str, loss: str, ones: bool, weighted: bool
) -> None:
    dense = make_dense()
    csr = to_csr((dense > 0).astype(float) if ones else dense)
    model = make_model(biased=False)
    options: Options = {"reg": 0.4, "exponent": 0.5, **IMPLICIT[loss]}
    options["weights"] = weights_for(csr, weighted)
    solved = implicit_sweep(csr, model, side, cg_steps=cg_steps, **options)
    gradient = reference.implicit_gradient(csr, solved, **options)
    np.testing.assert_allclose(getattr(gradient, side), 0, atol=1e-8)
    exact = implicit_sweep(csr, model, side, **options)
    np.testing.assert_allclose(getattr(solved, side), getattr(exact, side), rtol=1e-8)


@pytest.mark.parametrize("cg_steps", [None, 1, 2])
@pytest.mark.parametrize("loss", ["plain", "weighted", *IMPLICIT])
def test_every_half_sweep_lowers_the_objective(cg_steps: int | None, loss: str) -> None:
    csr, model = to_csr(make_dense()), make_model(biased=loss not in IMPLICIT)
    options: Options = {"reg": 0.1, "exponent": 0.5}
    sweep: Any = explicit_sweep
    objective: Any = reference.explicit_objective
    if loss in IMPLICIT:
        sweep, objective = implicit_sweep, reference.implicit_objective
        options |= IMPLICIT[loss]
    else:
        options["weights"] = weights_for(csr, loss == "weighted")
    values = [objective(csr, model, **options)]
    for side in ("users", "items") * 5:
        model = sweep(csr, model, side, cg_steps=cg_steps, **options)
        values.append(objective(csr, model, **options))
    assert np.all(np.diff(values) < 0), values


def test_explicit_preconditioner_weighs_fixed_rows_by_their_entries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("matfac._reference_rows.shorter_than_steps", lambda *_: 0)
    csr, model = to_csr(make_dense()), make_model()
    own, other = reference.entry_counts(csr, N)
    indptr, indices, values = csr
    target = values - model.mean - model.item_bias[indices]
    gram = (model.items.T * other) @ model.items / other.sum()
    problems = reference.RowProblems(
        indptr, indices, None, target, model.items, np.full(M, 0.3), gram, has_bias=True
    )
    start = np.column_stack([model.users, model.user_bias])
    expected = reference.solve_rows_cg(problems, start, 2, own)
    options: Options = {"mean": model.mean, "ridge": 0.3, "cg_steps": 2}
    for counts in (None, other):
        users, bias = reference.explicit_half_sweep(
            csr, model.items, model.item_bias, model.users, model.user_bias,
            fixed_counts=counts, **options,
        )  # fmt: skip
        np.testing.assert_allclose(np.column_stack([users, bias]), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cg_steps", [None, 2])
def test_rows_without_entries_become_zero(cg_steps: int | None) -> None:
    csr, model = to_csr(make_dense()), make_model()
    for side, empty in (("users", EMPTY_USER), ("items", EMPTY_ITEM)):
        rated = explicit_sweep(csr, model, side, reg=0.1, exponent=1.0, cg_steps=cg_steps)
        bias = {"users": rated.user_bias, "items": rated.item_bias}[side]
        assert bias[empty] == 0
        clicked = implicit_sweep(
            csr, model, side, reg=0.1, exponent=0.0, cg_steps=cg_steps, alpha=1.0
        )
        for solved in (getattr(rated, side), getattr(clicked, side)):
            np.testing.assert_array_equal(solved[empty], 0)
            assert np.all(np.delete(solved, empty, axis=0) != 0)


@pytest.mark.parametrize("cg_steps", [None, 2])
def test_a_matrix_without_entries_is_all_zeros(cg_steps: int | None) -> None:
    csr, model = to_csr(np.zeros((M, N))), make_model()
    solved = explicit_sweep(csr, model, "users", reg=0.1, exponent=1.0, cg_steps=cg_steps)
    np.testing.assert_array_equal(solved.users, np.zeros((M, K)))
    np.testing.assert_array_equal(solved.user_bias, np.zeros(M))
    solved = implicit_sweep(
        csr, model, "items", reg=0.1, exponent=1.0, cg_steps=cg_steps, alpha0=0.1
    )
    np.testing.assert_array_equal(solved.items, np.zeros((N, K)))


@pytest.mark.parametrize("cg_steps", [None, 2])
def test_a_weight_counts_like_so_many_equal_entries(
    cg_steps: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Repeated entries make rows longer, so that they would no longer count as short ones.
    monkeypatch.setattr("matfac._reference_rows.shorter_than_steps", lambda *_: 0)
    dense, model = make_dense(), make_model()
    csr = to_csr(dense)
    times = np.random.default_rng(3).integers(1, 4, len(csr[1]))
    rows = np.repeat(np.repeat(np.arange(M), np.diff(csr[0])), times)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=M))])
    repeated = indptr, np.repeat(csr[1], times), np.repeat(csr[2], times)
    options: Options = {"reg": 0.3, "exponent": 1.0, "cg_steps": cg_steps}
    for side in ("users", "items"):
        weighted = explicit_sweep(csr, model, side, weights=times.astype(float), **options)
        plain = explicit_sweep(repeated, model, side, **options)
        np.testing.assert_allclose(getattr(weighted, side), getattr(plain, side), rtol=1e-9)


@pytest.mark.parametrize("cg_steps", [None, 2])
def test_float32_stays_float32_and_near_float64(cg_steps: int | None) -> None:
    def single(part: Any) -> Any:
        return part.astype(np.float32) if np.ndim(part) and part.dtype.kind == "f" else part

    csr, model = to_csr(make_dense()), make_model()
    small = Factors(*map(single, model))._replace(mean=np.float64(model.mean))  # must not promote
    small_csr = tuple(map(single, csr))
    options: Options = {"reg": 0.4, "exponent": 0.5, "cg_steps": cg_steps}
    for sweep, loss in ((explicit_sweep, {}), *((implicit_sweep, p) for p in IMPLICIT.values())):
        for side in ("users", "items"):
            expected = getattr(sweep(csr, model, side, **options, **loss), side)
            got = getattr(sweep(small_csr, small, side, **options, **loss), side)
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, expected, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("loss", [{}, {"alpha": 1.0, "alpha0": 1.0}])
def test_implicit_takes_exactly_one_parametrisation(loss: dict[str, float]) -> None:
    csr, model = to_csr(make_dense()), make_model(biased=False)
    with pytest.raises(ValueError, match="alpha"):
        reference.implicit_half_sweep(csr, model.items, model.users, ridge=0.1, **loss)
    with pytest.raises(ValueError, match="alpha"):
        reference.implicit_objective(csr, model, reg=0.1, exponent=0.0, **loss)


def test_row_ridge_is_reg_where_the_power_is_zero() -> None:
    np.testing.assert_allclose(reference.row_ridge([0, 2, 4], 0.5, 1.0), [0.5, 1.0, 2.0])
    np.testing.assert_allclose(reference.row_ridge([0, 2, 4], 0.5, 0.0), [0.5, 0.5, 0.5])
    np.testing.assert_allclose(reference.row_ridge([0, 2], 0.5, 1.0, offset=3.0), [1.5, 2.5])

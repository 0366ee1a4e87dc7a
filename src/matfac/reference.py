"""NumPy twins of the solvers: what the C++ core is tested against, and its rival in benchmarks.

A matrix is a CSR triplet ``(indptr, indices, values)``, and its rows are the rows being solved:
users x items for the user half sweep, items x users (see `transpose`) for the item one. Half sweeps
keep the dtype of the fixed factors; objectives, gradients and metrics are in float64.

Examples
--------
>>> csr = np.array([0, 2, 3]), np.array([0, 1, 1]), np.array([5.0, 1.0, 4.0])
>>> model = Factors(np.zeros((2, 1)), np.ones((2, 1)), np.zeros(2), np.zeros(2), mean=3.0)
>>> before = explicit_objective(csr, model, reg=0.1, exponent=1.0)
>>> ridge = row_ridge(entry_counts(csr, n_cols=2)[0], reg=0.1, exponent=1.0)
>>> users, user_bias = explicit_half_sweep(
...     csr, model.items, model.item_bias, model.users, model.user_bias, mean=3.0, ridge=ridge
... )
>>> model = model._replace(users=users, user_bias=user_bias)
>>> explicit_objective(csr, model, reg=0.1, exponent=1.0) < before
True
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from matfac._reference_descent import solve_rows_descent
from matfac._reference_features import feature_objective, feature_weights
from matfac._reference_lists import auc, list_metrics, novelty, rmse, top_k
from matfac._reference_lowrank import soft_impute, weighted_half_sweep, weighted_objective
from matfac._reference_pairwise import pairwise_epoch, pairwise_slopes, trial_weights
from matfac._reference_rows import (
    Array,
    Csr,
    RowProblems,
    entry_counts,
    entry_rows,
    row_sums,
    solve_rows_cg,
    solve_rows_exact,
    transpose,
)
from matfac._reference_sgd import SgdState, sgd_epoch

__all__ = ["Csr", "Factors", "RowProblems", "entry_counts", "row_ridge", "transpose"]
__all__ += ["explicit_half_sweep", "implicit_half_sweep", "solve_rows_cg", "solve_rows_exact"]
__all__ += ["solve_rows_descent"]
__all__ += ["explicit_gradient", "explicit_objective", "implicit_gradient", "implicit_objective"]
__all__ += ["SgdState", "feature_objective", "feature_weights", "sgd_epoch"]
__all__ += ["auc", "list_metrics", "novelty", "predict", "rmse", "top_k"]
__all__ += ["soft_impute", "weighted_half_sweep", "weighted_objective"]
__all__ += ["pairwise_epoch", "pairwise_slopes", "trial_weights"]

Float = NDArray[np.float64]

_CHUNK = 8192  # entries scored at a time


class Factors(NamedTuple):
    """A model, scoring ``mean + user_bias + item_bias + user . item``; a bias of None is 0.

    ``users`` is (M, K), ``items`` (N, K), the biases (M,) and (N,).
    """

    users: Array
    items: Array
    user_bias: Array | None = None
    item_bias: Array | None = None
    mean: float = 0.0


def row_ridge(counts: ArrayLike, reg: float, exponent: float, offset: float = 0.0) -> Float:
    """``reg * (counts + offset) ** exponent`` per row, and ``reg`` where that power is 0.

    Examples
    --------
    >>> row_ridge([0, 1, 4], reg=2.0, exponent=0.5).tolist()
    [2.0, 2.0, 4.0]
    """
    power = (np.asarray(counts, dtype=np.float64) + offset) ** exponent
    return reg * np.where(power == 0, 1.0, power)


def explicit_half_sweep(
    csr: Csr,
    fixed: Array,
    fixed_bias: Array | None,
    solved: Array,
    solved_bias: Array | None,
    *,
    mean: float,
    ridge: ArrayLike,
    weights: Array | None = None,
    fixed_counts: Array | None = None,
    cg_steps: int | None = None,
    relaxation: float = 1.0,
    fit_bias: bool = True,
    lasso: ArrayLike | None = None,
    nonnegative: bool = False,
    prior: Array | None = None,
) -> tuple[Array, Array]:
    """Minimise the explicit objective over one side's factors and biases, the other side held.

    Parameters
    ----------
    csr : ratings, rows of the solved side
    fixed, fixed_bias : (n_cols, K) and (n_cols,) arrays; a bias of None is 0
    solved, solved_bias : (n_rows, K) and (n_rows,) arrays, where ``cg_steps`` start
    mean : float
    ridge : float or (n_rows,) array, see `row_ridge`
    weights : (nnz,) array, optional
    fixed_counts : (n_cols,) array, optional
        Entries (or weight sums) of the fixed rows, for the preconditioner; None counts them. The
        core takes evenly spaced ones of the rows of a long table, 512 or more a factor.
    cg_steps : int, optional
        Steps of `solve_rows_cg` with ``exact_short``; None solves all rows exactly.
    relaxation : float
    fit_bias : bool
        False leaves the solved side's biases as they are.
    lasso : float or (n_rows,) array, optional
    nonnegative : bool
        With one of them ``cg_steps`` are passes of `solve_rows_descent`.
    prior : (n_rows, K) array, or (n_rows, K + 1) where ``fit_bias``, optional
        Where the ridge pulls the factors (and biases); None is zero.

    Returns
    -------
    factors, bias : (n_rows, K) and (n_rows,) arrays of the dtype of ``fixed``

    Examples
    --------
    >>> csr = np.array([0, 2]), np.array([0, 1]), np.array([3.0, 5.0])
    >>> x, b = explicit_half_sweep(csr, np.array([[-1.0], [1.0]]), None, np.zeros((1, 1)), None,
    ...                            mean=3.0, ridge=2.0)
    >>> x.tolist(), b.tolist()
    ([[0.5]], [0.5])
    """
    indptr, indices, values = csr
    dtype, n_rows = fixed.dtype, len(indptr) - 1
    bias = np.zeros(n_rows, dtype=dtype) if solved_bias is None else solved_bias
    linear = values.astype(dtype) - float(mean)
    if fixed_bias is not None:
        linear -= fixed_bias[indices]
    if not fit_bias and bias.any():
        linear -= bias[entry_rows(indptr)]
    w = None if weights is None else weights.astype(dtype)
    if w is not None:
        linear *= w
    ridges = np.broadcast_to(np.asarray(ridge, dtype=dtype), n_rows)
    problems = RowProblems(indptr, indices, w, linear, fixed, ridges, has_bias=fit_bias)
    problems = problems._replace(prior=prior)
    start = np.concatenate([solved, bias[:, None]], axis=1) if fit_bias else solved
    if nonnegative or lasso is not None:
        solution = _descent(problems, start, cg_steps, lasso, nonnegative)
    elif cg_steps is None:
        solution = solve_rows_exact(problems)
    else:
        own, counted = entry_counts(csr, len(fixed), weights)
        share = counted if fixed_counts is None else np.asarray(fixed_counts, dtype=np.float64)
        share = (share / max(share.sum(), np.finfo(np.float64).tiny)).astype(dtype)
        problems = problems._replace(shared=fixed.T @ (fixed * share[:, None]))
        solution = solve_rows_cg(problems, start, cg_steps, own, relaxation, exact_short=True)
    return (solution[:, :-1], solution[:, -1]) if fit_bias else (solution, bias)


def _descent(
    problems: RowProblems,
    start: Array,
    passes: int | None,
    lasso: ArrayLike | None,
    nonnegative: bool,
) -> Array:
    return solve_rows_descent(
        problems,
        start,
        passes=passes,
        lasso=0.0 if lasso is None else lasso,
        nonnegative=nonnegative,
    )


def _implicit_terms(
    values: Array, weights: Array | None, alpha: float | None, alpha0: float | None
) -> tuple[Array, Array, float]:
    """Curvatures c, linear terms g (also each entry's constant) and the weight of all cells."""
    w = 1 if weights is None else weights.astype(values.dtype)
    if alpha0 is not None and alpha is None:
        return w * values, w * values, float(alpha0)
    if alpha is None or alpha0 is not None:
        raise ValueError(f"give one of alpha (Hu/Koren), alpha0 (iALS); got {alpha=}, {alpha0=}")
    return w * (float(alpha) * values), w * (1 + float(alpha) * values), 1.0


def implicit_half_sweep(
    csr: Csr,
    fixed: Array,
    solved: Array,
    *,
    ridge: ArrayLike,
    alpha: float | None = None,
    alpha0: float | None = None,
    weights: Array | None = None,
    cg_steps: int | None = None,
    relaxation: float = 1.0,
    lasso: ArrayLike | None = None,
    nonnegative: bool = False,
    prior: Array | None = None,
) -> Array:
    """Minimise the implicit objective over one side's factors, the other side held.

    Parameters
    ----------
    csr : interactions, rows of the solved side
    fixed, solved : (n_cols, K) and (n_rows, K) arrays; ``cg_steps`` start at ``solved``
    ridge : float or (n_rows,) array, see `row_ridge`
    alpha, alpha0 : float
        One of them: ``alpha`` for Hu/Koren's objective, ``alpha0`` for that of iALS.
    weights : (nnz,) array, optional
    cg_steps : int, optional
        Steps of `solve_rows_cg` with ``exact_short``; None solves all rows exactly.
    relaxation : float
    lasso : float or (n_rows,) array, optional
    nonnegative : bool
        With one of them ``cg_steps`` are passes of `solve_rows_descent`.
    prior : (n_rows, K) array, optional
        Where the ridge pulls the factors; None is zero.

    Returns
    -------
    (n_rows, K) array of the dtype of ``fixed``

    Raises
    ------
    ValueError
        If both or neither of ``alpha`` and ``alpha0`` are given.

    Examples
    --------
    >>> csr = np.array([0, 1]), np.array([0]), np.array([1.0])
    >>> implicit_half_sweep(csr, np.eye(2), np.zeros((1, 2)), ridge=0.5, alpha0=0.5).tolist()
    [[0.5, 0.0]]
    """
    c, g, scale = _implicit_terms(csr[2].astype(fixed.dtype), weights, alpha, alpha0)
    curvature = None if (c == 1).all() else c
    ridges = np.broadcast_to(np.asarray(ridge, dtype=fixed.dtype), len(csr[0]) - 1)
    problems = RowProblems(csr[0], csr[1], curvature, g, fixed, ridges, fixed.T @ fixed, scale)
    problems = problems._replace(prior=prior)
    if nonnegative or lasso is not None:
        return _descent(problems, solved, cg_steps, lasso, nonnegative)
    if cg_steps is None:
        return solve_rows_exact(problems)
    return solve_rows_cg(problems, solved, cg_steps, scale, relaxation, exact_short=True)


def predict(users: Array, items: Array, model: Factors) -> Float:
    """Scores of the pairs ``(users[j], items[j])``, summed in float64."""
    x, y = _augmented(model)
    scores = np.full(len(users), float(model.mean))
    for j in range(0, len(users), _CHUNK):
        at = slice(j, j + _CHUNK)
        scores[at] += np.einsum("jk,jk->j", x.take(users[at], axis=0), y.take(items[at], axis=0))
    return scores


def _augmented(model: Factors) -> tuple[Array, Array]:
    """[x, b_u, 1] and [y, 1, b_i], whose product is the score less the mean."""
    m, n = len(model.users), len(model.items)
    user_bias = np.zeros(m) if model.user_bias is None else model.user_bias
    item_bias = np.zeros(n) if model.item_bias is None else model.item_bias
    x = np.column_stack([model.users.astype(np.float64), user_bias, np.ones(m)])
    return x, np.column_stack([model.items.astype(np.float64), np.ones(n), item_bias])


class _Objective(NamedTuple):
    """sum_j c (s - target)^2 + extra (1 - 2 s) + scale sum_all s^2 + ridges, at the scores s."""

    csr: Csr
    model: Factors
    curvature: Array | float
    target: Array | float
    extra: Array | float
    scale: float
    ridges: tuple[Array, Array]
    lassos: tuple[Array, Array]

    def value(self) -> float:
        (x, y), k = _augmented(self.model), self.model.users.shape[1]
        s = predict(entry_rows(self.csr[0]), self.csr[1], self.model)
        value = (self.curvature * (s - self.target) ** 2 + self.extra * (1 - 2 * s)).sum()
        u, v = x[:, :k], y[:, :k]
        value += self.scale * np.vdot(u.T @ u, v.T @ v)
        for table, ridge in (x[:, :-1], self.ridges[0]), (np.delete(y, k, 1), self.ridges[1]):
            value += ridge @ (table**2).sum(axis=1)
        for table, lasso in zip((u, v), self.lassos, strict=True):
            value += lasso @ np.abs(table).sum(axis=1)
        return float(value)

    def gradient(self) -> Factors:
        (x, y), k = _augmented(self.model), self.model.users.shape[1]
        indptr, indices, _ = self.csr
        s = predict(entry_rows(indptr), indices, self.model)
        slope = self.curvature * (s - self.target) - self.extra
        turned = transpose((indptr, indices, slope), len(y))
        ridges = self.ridges[0][:, None], self.ridges[1][:, None]
        of_x = row_sums(indptr, slope[:, None] * y[indices]) + ridges[0] * x
        of_y = row_sums(turned[0], turned[2][:, None] * x[turned[1]]) + ridges[1] * y
        u, v = x[:, :k], y[:, :k]
        users = of_x[:, :k] + self.scale * u @ (v.T @ v)
        items = of_y[:, :k] + self.scale * v @ (u.T @ u)
        return Factors(2 * users, 2 * items, 2 * of_x[:, k], 2 * of_y[:, -1], 2 * slope.sum())


def _explicit(
    csr: Csr, model: Factors, regs: tuple[float, float], exponent: float, weights: Array | None
) -> _Objective:
    users, items = entry_counts(csr, len(model.items), weights)
    ridges, lassos = ((row_ridge(users, r, exponent), row_ridge(items, r, exponent)) for r in regs)
    w = 1.0 if weights is None else weights.astype(np.float64)
    return _Objective(csr, model, w, csr[2].astype(np.float64), 0.0, 0.0, ridges, lassos)


def explicit_objective(
    csr: Csr,
    model: Factors,
    *,
    reg: float,
    exponent: float,
    weights: Array | None = None,
    l1_reg: float = 0.0,
) -> float:
    """Weighted squared errors at the entries (users x items) + ridges and lassos of n^exponent."""
    return _explicit(csr, model, (reg, l1_reg), exponent, weights).value()


def explicit_gradient(
    csr: Csr, model: Factors, *, reg: float, exponent: float, weights: Array | None = None
) -> Factors:
    """The derivatives of `explicit_objective` by every array of ``model`` and by its mean."""
    return _explicit(csr, model, (reg, 0.0), exponent, weights).gradient()


def _implicit(
    csr: Csr,
    model: Factors,
    regs: tuple[float, float],
    exponent: float,
    alpha: float | None,
    alpha0: float | None,
    weights: Array | None,
) -> _Objective:
    values, m, n = csr[2].astype(np.float64), len(model.users), len(model.items)
    c, g, scale = _implicit_terms(values, weights, alpha, alpha0)
    # Hu/Koren's ridge counts entries; that of iALS adds up values, of the unknown cells as well.
    users, items = entry_counts(csr, n, weights if alpha0 is None else g)
    cells = 0.0 if alpha0 is None else alpha0
    ridges, lassos = (
        (row_ridge(users, r, exponent, cells * n), row_ridge(items, r, exponent, cells * m))
        for r in regs
    )
    factors = Factors(model.users, model.items)
    return _Objective(csr, factors, c, 1.0, g - c, scale, ridges, lassos)


def implicit_objective(
    csr: Csr,
    model: Factors,
    *,
    reg: float,
    exponent: float,
    alpha: float | None = None,
    alpha0: float | None = None,
    weights: Array | None = None,
    l1_reg: float = 0.0,
) -> float:
    """Hu/Koren's (``alpha``) or the iALS (``alpha0``) objective over all cells, users x items.

    Examples
    --------
    >>> csr = np.array([0, 1]), np.array([0]), np.array([1.0])
    >>> model = Factors(np.array([[1.0, 1.0]]), np.eye(2))
    >>> implicit_objective(csr, model, reg=0.0, exponent=0.0, alpha0=0.5)
    1.0
    """
    return _implicit(csr, model, (reg, l1_reg), exponent, alpha, alpha0, weights).value()


def implicit_gradient(
    csr: Csr,
    model: Factors,
    *,
    reg: float,
    exponent: float,
    alpha: float | None = None,
    alpha0: float | None = None,
    weights: Array | None = None,
) -> Factors:
    """The derivatives of `implicit_objective` by both factor tables (biases and mean: None, 0)."""
    slopes = _implicit(csr, model, (reg, 0.0), exponent, alpha, alpha0, weights).gradient()
    return Factors(slopes.users, slopes.items)

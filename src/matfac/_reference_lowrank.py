"""NumPy twins for dense matrices with weights or holes; a weight of 0 is a missing cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from matfac._reference_descent import _descend
from matfac._reference_rows import Array

Float = NDArray[np.float64]

_ROWS = 16  # rows whose systems are formed at a time


def weighted_objective(
    X: Array, weights: Array, left: Array, right: Array, ridges: tuple[ArrayLike, ArrayLike]
) -> float:
    """``sum w (x - left right)^2`` + ridges of ``left``'s rows and of ``right``'s columns.

    Examples
    --------
    >>> weighted_objective(np.eye(2), np.ones((2, 2)), np.ones((2, 1)), np.zeros((1, 2)), (0.5, 1))
    3.0
    """
    error = np.where(weights > 0, X, 0.0) - left.astype(np.float64) @ right
    value = np.vdot(weights, error**2)
    value += (np.asarray(ridges[0]) * (left.astype(np.float64) ** 2).sum(axis=1)).sum()
    value += (np.asarray(ridges[1]) * (right.astype(np.float64) ** 2).sum(axis=0)).sum()
    return float(value)


def weighted_half_sweep(
    X: Array,
    weights: Array,
    fixed: Array,
    ridge: ArrayLike,
    *,
    start: Array | None = None,
    nonnegative: bool = False,
    passes: int | None = None,
) -> Float:
    """Every row's minimiser of ``sum_j w_j (x_j - u . fixed_j)^2 + ridge |u|^2``, in float64.

    Parameters
    ----------
    X, weights : (m, n) arrays
    fixed : (n, r) array
    ridge : float or (m,) array
    start : (m, r) array, optional
        Where ``nonnegative`` starts.
    nonnegative : bool
        u >= 0: coordinate descent rather than normal equations.
    passes : int, optional
        Of coordinate descent; None goes on until u stands still.

    Returns
    -------
    (m, r) array

    Examples
    --------
    >>> weighted_half_sweep(np.array([[2.0, 4.0]]), np.array([[1.0, 3.0]]), np.ones((2, 1)), 0.0)
    array([[3.5]])
    """
    m, r = len(X), fixed.shape[1]
    fixed = fixed.astype(np.float64)
    ridges = np.broadcast_to(np.asarray(ridge, dtype=np.float64), m)
    solution = np.zeros((m, r)) if start is None else np.maximum(start, 0).astype(np.float64)
    for begin in range(0, m, _ROWS):
        rows = slice(begin, begin + _ROWS)
        w = weights[rows].astype(np.float64)
        systems = (w[:, :, None] * fixed).swapaxes(1, 2) @ fixed
        systems[:, range(r), range(r)] += ridges[rows, None]
        linear = (w * np.where(w > 0, X[rows], 0.0)) @ fixed
        if nonnegative:
            _descend(systems, linear, solution[rows], np.zeros(len(w)), passes, True)
        else:
            solution[rows] = np.linalg.solve(systems, linear[:, :, None])[:, :, 0]
    return solution


def soft_impute(
    X: Array,
    threshold: float,
    *,
    n_iter: int = 100,
    tol: float = 1e-5,
    start: Array | None = None,
) -> Float:
    """Complete a matrix whose missing cells are NaN: SOFT-IMPUTE of Mazumder, Hastie and
    Tibshirani 2010, "Spectral regularization algorithms for learning large incomplete matrices".

    Minimises ``1/2 sum over known cells (x - z)^2 + threshold * nuclear norm of Z``: the missing
    cells are filled from Z, and Z is the fill with its singular values lowered by ``threshold``.

    Parameters
    ----------
    X : (m, n) array
    threshold : float
    n_iter : int
    tol : float
        Ends once ``|Z - Z_before|^2 <= tol |Z_before|^2``.
    start : (m, n) array, optional
        A warm start; None is 0.

    Returns
    -------
    (m, n) array
        Z.

    Examples
    --------
    >>> soft_impute(np.array([[3.0, 0.0], [0.0, np.nan]]), threshold=1.0).round(2)
    array([[2., 0.],
           [0., 0.]])
    """
    known = ~np.isnan(X)
    z = np.zeros(X.shape) if start is None else start.astype(np.float64)
    for _ in range(n_iter):
        left, singular, right = np.linalg.svd(np.where(known, X, z), full_matrices=False)
        singular = np.maximum(singular - threshold, 0)
        rank = int((singular > 0).sum())
        following = (left[:, :rank] * singular[:rank]) @ right[:rank]
        moved, size = np.sum((following - z) ** 2), np.sum(z**2)
        z = following
        if moved <= tol * size:
            break
    return z

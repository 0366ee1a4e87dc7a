"""Row problems with factors at or above zero, or with an L1 penalty, by coordinate descent."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from matfac._reference_rows import Array, RowProblems, normal_equations

_PASSES = 2000  # at most, where no number is given
_STILL = 1e-26  # a pass that moves x by less of its size (squared) is the last


def solve_rows_descent(
    problems: RowProblems,
    start: Array,
    *,
    passes: int | None = None,
    lasso: ArrayLike = 0.0,
    nonnegative: bool = False,
) -> Array:
    """Every row's minimiser with ``+ lasso_u |x|_1`` and, if asked for, ``x >= 0``.

    Coordinate descent on the normal equations, in float64. A bias is free of both: it is
    eliminated first.

    Parameters
    ----------
    problems : RowProblems
    start : (n_rows, K) array, or (n_rows, K + 1) with the bias last
    passes : int, optional
        Over all coordinates; None goes on until x stands still.
    lasso : float or (n_rows,) array
    nonnegative : bool

    Returns
    -------
    array of the shape of ``start``
        Rows without entries are 0.

    Examples
    --------
    >>> one, two = np.ones(1), np.array([0, 2])
    >>> p = RowProblems(two, np.array([0, 1]), None, np.array([3.0, -3.0]), np.eye(2), ridge=one)
    >>> solve_rows_descent(p, np.zeros((1, 2)), nonnegative=True).tolist()
    [[1.5, 0.0]]
    >>> solve_rows_descent(p, np.zeros((1, 2)), lasso=2.0).tolist()
    [[1.0, -1.0]]
    """
    k = problems.fixed.shape[1]
    halves = np.broadcast_to(np.asarray(lasso, np.float64) / 2, len(problems.indptr) - 1)
    solution = np.zeros(start.shape, problems.fixed.dtype)
    wide = problems._replace(fixed=problems.fixed.astype(np.float64))
    for rows, systems, right in normal_equations(wide):
        a, h, x = systems[:, :k, :k], right[:, :k], start[rows, :k].astype(np.float64)
        for b in range(k, systems.shape[1]):  # the bias, where there is one
            border, corner = systems[:, :k, b], systems[:, b, b]
            a = a - border[:, :, None] * border[:, None, :] / corner[:, None, None]
            h = h - border * (right[:, b] / corner)[:, None]
        _descend(a, h, x, halves[rows], passes, nonnegative)
        solution[rows, :k] = x
        for b in range(k, systems.shape[1]):
            of_factors = (systems[:, :k, b] * x).sum(axis=1)
            solution[rows, b] = (right[:, b] - of_factors) / systems[:, b, b]
    return solution


def _descend(
    a: Array, h: Array, x: Array, half: Array, passes: int | None, nonnegative: bool
) -> None:
    for _ in range(_PASSES if passes is None else passes):
        moved, size = np.zeros(len(x)), np.zeros(len(x))
        for j in range(x.shape[1]):
            curvature, was = a[:, j, j], x[:, j].copy()
            slope = h[:, j] - (a[:, j] * x).sum(axis=1) + curvature * was
            best = np.maximum(slope - half, 0)
            if not nonnegative:
                best += np.minimum(slope + half, 0)
            x[:, j] = np.divide(best, curvature, out=np.zeros_like(best), where=curvature > 0)
            moved += curvature * (x[:, j] - was) ** 2
            size += curvature * x[:, j] ** 2
        if (moved <= _STILL * size).all():
            break

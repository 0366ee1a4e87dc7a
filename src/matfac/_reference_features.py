"""Side features in NumPy: the map from features to factors, and the objective it belongs to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def feature_objective(
    features: NDArray[Any], weights: Float, table: Float, ridge: Float, penalty: float
) -> float:
    """``sum_i ridge_i |y_i - f_i W|^2 + penalty |W|^2``, the part of the objective that W is in.

    Parameters
    ----------
    features : (n, P) array
    weights : (P, K) array, W
    table : (n, K) array, the factors y of the side that has the features; a bias is a column
    ridge : (n,) array, 0 for rows that take no part
    penalty : float
    """
    z = table - features @ weights
    return float(ridge @ (z**2).sum(axis=1) + penalty * (weights**2).sum())


def feature_weights(features: NDArray[Any], table: Float, ridge: Float, penalty: float) -> Float:
    """The W that minimises `feature_objective`, (P, K), by its normal equations.

    Examples
    --------
    >>> feature_weights(np.array([[1.0], [1.0]]), np.array([[2.0], [4.0]]), np.ones(2), 1.0)
    array([[2.]])
    """
    weighted = features * ridge[:, None]
    normal = features.T @ weighted + penalty * np.eye(features.shape[1])
    return np.asarray(np.linalg.solve(normal, weighted.T @ table))

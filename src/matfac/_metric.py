"""The norms in which a weight matrix is approximated, and the closed form in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matfac._engine import Floats
from matfac._interruptible import interruptible
from matfac._truncated import Truncated, of_unit_size, truncated_svd

# Least row weight, as a share of the largest: a row of weight 0 still gets its best fit.
_FLOOR = 1e-12
# Added to the inputs' covariance, as a share of its mean diagonal: directions that no input
# has are then approximated as in the plain norm, instead of at random.
RIDGE = 1e-6


@dataclass(frozen=True)
class Metric:
    """``|diag(row) E root|`` for an error E (m x n); None leaves E alone on that side."""

    row: NDArray[np.float64] | None = None  # (m,), above 0
    column: NDArray[np.float64] | None = None  # (n,)
    root: NDArray[np.float64] | None = None  # (n, n), instead of `column`

    def scaled(self, W: Floats) -> Floats:
        """``diag(row) W root``, in float64 but where it is W itself."""
        if self.row is None and self.column is None and self.root is None:
            return W
        steps = 1 if self.root is None else len(self.root)
        return interruptible(float(W.size * steps), lambda: self._of(W))

    def _of(self, W: Floats) -> Floats:
        scaled = W.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # found by who takes its size
            if self.row is not None:
                scaled *= self.row[:, None]
            if self.column is not None:
                scaled *= self.column
            return scaled if self.root is None else np.asarray(scaled @ self.root)

    def factors(
        self, W: Floats, rank: int, *, randomized: bool = False, seed: int = 0
    ) -> tuple[Floats, Floats]:
        """The best A (m, rank) and B (rank, n), each with the root of the singular values."""
        found = truncated_svd(self.scaled(W), rank, randomized=randomized, seed=seed)
        root = np.sqrt(found.singular)
        if self.row is None and self.column is None and self.root is None:
            scale = root.astype(W.dtype)
            return found.left * scale, scale[:, None] * found.right
        return self._unscaled(W, found, np.where(root > 0, root, 1.0))

    def _unscaled(self, W: Floats, found: Truncated, root: Floats) -> tuple[Floats, Floats]:
        # The best AB is the projection of W on the leading left vectors, so that the metric of
        # the columns, which may be singular, is never inverted.
        left, onto = found.left, found.left
        if self.row is not None:
            left, onto = left / self.row[:, None], onto * self.row[:, None]
        right = interruptible(
            W.size * len(root), lambda: ((onto / root).T @ W.astype(np.float64)).astype(W.dtype)
        )
        return (left * root).astype(W.dtype), right


def row_root(weights: Any, m: int) -> NDArray[np.float64]:
    """Roots of the rows' weights, floored."""
    checked = _weights("row_weights", weights, m, "rows")
    return _root(np.maximum(checked, _FLOOR * checked.max()))


def column_root(weights: Any, n: int) -> NDArray[np.float64]:
    """Roots of the columns' weights."""
    return _root(_weights("col_weights", weights, n, "columns"))


def _root(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(weights), dtype=np.float64)


def _weights(name: str, weights: Any, size: int, of: str) -> NDArray[np.float64]:
    array = _real(name, weights)
    if array.shape != (size,):
        raise ValueError(f"{name} must have shape ({size},), one per {of[:-1]} of W: {array.shape}")
    if (array < 0).any() or not array.any():
        raise ValueError(
            f"{name} must be at least 0 and not all 0, got values from {array.min():g} to "
            f"{array.max():g}"
        )
    return array


def _real(name: str, given: Any) -> NDArray[np.float64]:
    array = np.asarray(given)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    if array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite and not empty, got shape {array.shape}")
    return array.astype(np.float64)


def root_of_inputs(inputs: Any, n: int) -> NDArray[np.float64]:
    """R' with R'R the inputs' covariance + ridge: by QR, which squares no condition number."""
    array = _real("inputs", inputs)
    if array.ndim != 2 or array.shape[1] != n:
        raise ValueError(
            f"inputs must have shape (n_inputs, {n}), the rows that W is applied to: {array.shape}"
        )
    array, exponent = of_unit_size(array)
    ridge = _ridge(float(np.mean(array**2)) * len(array))

    def root() -> NDArray[np.float64]:
        stacked = np.concatenate((array, ridge * np.eye(n)))
        upper = np.asarray(np.linalg.qr(stacked, mode="r"))
        return np.asarray(np.ldexp(upper.T, exponent), dtype=np.float64)

    return interruptible(float(array.size + n * n) * n, root)


def root_of_covariance(covariance: Any, n: int) -> NDArray[np.float64]:
    """Q sqrt(L + ridge) of a covariance Q L Q'."""
    array = _real("input_cov", covariance)
    if array.shape != (n, n):
        raise ValueError(f"input_cov must have shape ({n}, {n}), got {array.shape}")
    size = float(np.abs(array).max())
    if np.abs(array - array.T).max() > 1e-5 * size:
        raise ValueError("input_cov must be symmetric: give X.T @ X of the inputs X")
    values, vectors = interruptible(float(n) ** 3, lambda: np.linalg.eigh((array + array.T) / 2))
    if values[0] < -1e-5 * max(values[-1], 0.0):
        raise ValueError(
            f"input_cov must be positive semi-definite, got the eigenvalue {values[0]:g}: give "
            "X.T @ X of the inputs X"
        )
    ridge = _ridge(float(np.trace(array)) / n)
    root: NDArray[np.float64] = np.asarray(
        vectors * np.sqrt(np.maximum(values, 0) + ridge**2), dtype=np.float64
    )
    return root


def _ridge(mean: float) -> float:
    """The root of the ridge for this mean of the covariance's diagonal."""
    if not mean > 0:
        raise ValueError("the inputs are all 0: there is nothing to weigh W by")
    return float(np.sqrt(RIDGE * mean))

"""Dense matrices with weights or holes as the user gives them: checked, or a clear error."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from matfac._engine import Floats
from matfac._ratings import Ratings
from matfac._validation import check_dense
from matfac._values import RANGE

# From this share of known cells on, the core gets zero weights too: it solves full rows together.
MOST = 0.75


@dataclass(frozen=True)
class Cells:
    """A checked dense matrix: floats, 0 at missing cells, and what each cell weighs."""

    values: Floats  # (m, n), C-contiguous
    weights: Floats | None  # (m, n), 0 at missing cells; None: all weigh `weight`
    weight: float = 1.0

    @cached_property
    def ratings(self) -> Ratings:
        """The cells of weight above 0 as CSR; all cells where most are such."""
        m, n = self.values.shape
        known = np.ones((m, n), bool) if self.weights is None else self.weights > 0
        if known.mean() >= MOST:
            indices = np.tile(np.arange(n, dtype=np.int32), m)
            indptr = np.arange(m + 1, dtype=np.int64) * n
            flat = None if self.weights is None else self.weights.reshape(-1)
            return Ratings((m, n), indptr, indices, self.values.reshape(-1), flat)
        assert self.weights is not None
        indptr = np.concatenate(([0], np.cumsum(known.sum(axis=1)))).astype(np.int64)
        indices = np.nonzero(known)[1].astype(np.int32)
        weights = self.weights[known]
        return Ratings(
            (m, n), indptr, indices, self.values[known], None if (weights == 1).all() else weights
        )


def check_cells(estimator: BaseEstimator, X: Any, weights: Any, *, reset: bool) -> Cells:
    """Turn a dense matrix whose NaN are missing, and weights of its cells, into `Cells`."""
    dense = check_dense(partial(validate_data, estimator, reset=reset), X, "X", order="C")
    _check_scale(dense, fitting=reset)
    unknown = np.isnan(dense)
    holes = bool(unknown.any())
    if weights is not None:
        weights = check_cell_weights("weights", weights, dense.shape).astype(dense.dtype)
        if not holes and weights.min() == weights.max() > 0:
            return Cells(dense, None, float(weights[0, 0]))
        weights = np.where(unknown, 0, weights)
    elif not holes:
        return Cells(dense, None)
    else:
        weights = (~unknown).astype(dense.dtype)
    known = weights > 0
    for axis, name in ((1, "row"), (0, "column")) if reset else ((1, "row"),):
        empty = np.flatnonzero(~known.any(axis=axis))
        if len(empty):
            raise ValueError(
                f"X has no known cell in {name} {empty[0]}"
                + (f" and {len(empty) - 1} more" if len(empty) > 1 else "")
                + f" (missing, or of weight 0): drop that {name}"
            )
    return Cells(np.where(known, dense, 0), weights)


def _check_scale(values: Floats, *, fitting: bool) -> None:
    """Refuse values whose squares overflow, and a matrix to fit whose squares all vanish."""
    least, most = RANGE[values.dtype.name]
    size = np.abs(values)
    largest = float(np.fmax.reduce(size, axis=None))
    other = ", or give float64" if values.dtype == np.float32 else ""
    if largest > most:
        row, column = np.unravel_index(np.nanargmax(size), size.shape)
        raise ValueError(
            f"X[{row}, {column}] = {values[row, column]:g} is beyond {most:g}, where sums of "
            f"squares overflow {values.dtype}: divide X by a constant{other}"
        )
    if fitting and 0 < largest < least:
        raise ValueError(
            f"X has no value of {least:g} or more, the largest is {largest:g}: squares vanish in "
            f"{values.dtype}: multiply X by a constant{other}"
        )


def check_cell_weights(name: str, weights: Any, shape: tuple[int, ...]) -> Floats:
    """Return weights of this shape, finite and not negative."""
    array = np.asarray(weights)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be real numbers, got dtype {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    if not np.isfinite(array).all() or (array < 0).any():
        raise ValueError(
            f"{name} must be finite and not negative, got values from {array.min():g} "
            f"to {array.max():g}"
        )
    return array

"""User input of side features becomes CSR here, or a clear error; as `_validation` does for X."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp

from matfac._interruptible import over_entries
from matfac._validation import check_integer
from matfac._values import place_of

Features: TypeAlias = "sp.csr_array | None"  # checked, in the model's dtype


def check_features(
    argument: str, features: Any, dtype: np.dtype[Any], *, n_rows: int | None, of: str
) -> Features:
    """Return side features as canonical CSR, a row for each of the `n_rows` that `of` names."""
    if features is None:
        return None
    if sp.issparse(features):
        matrix: Any = features
    else:
        matrix = np.asarray(features)
        if matrix.dtype.kind == "O":  # a frame of mixed columns
            try:
                matrix = matrix.astype(np.float64)
            except (TypeError, ValueError) as error:
                raise TypeError(
                    f"{argument} must hold numbers, got {error}: encode text and categories first, "
                    "by scikit-learn's OneHotEncoder for one"
                ) from None
    if matrix.dtype.kind not in "fiub":
        raise TypeError(f"{argument} must hold real numbers, got dtype {matrix.dtype}")
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise ValueError(
            f"{argument} must be a matrix of shape (n, n_features), got shape {matrix.shape}"
        )
    if n_rows is not None and matrix.shape[0] != n_rows:
        raise ValueError(
            f"{argument} has {matrix.shape[0]} rows, but {of} {n_rows}: give one row for each, in "
            "the same order"
        )
    return over_entries(matrix.size, lambda: _checked(matrix, dtype, argument))


def _checked(matrix: Any, dtype: np.dtype[Any], argument: str) -> sp.csr_array:
    csr = sp.csr_array(matrix, dtype=dtype)
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    bad = np.flatnonzero(~np.isfinite(csr.data))
    if len(bad):
        row, column = place_of(csr, bad[0])
        raise ValueError(
            f"{argument} must be finite, got {argument}[{row}, {column}] = "
            f"{csr.data[bad[0]]}; fill what is missing, with 0 or the column's mean for one"
        )
    return csr


def check_feature_size(argument: str, size: Any) -> tuple[int, int]:
    """Return the number of features and the stored entries of a matrix that is not there yet."""
    try:
        width, stored = size
    except (TypeError, ValueError):
        raise TypeError(
            f"{argument} must be a pair (n_features, stored entries), got {size!r}"
        ) from None
    return (
        check_integer(f"{argument}[0]", width, minimum=1),
        check_integer(f"{argument}[1]", stored, minimum=0),
    )

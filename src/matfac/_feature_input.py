"""User input of side features becomes CSR here, or a clear error; as `_validation` does for X."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from matfac._ids import IdIndex
from matfac._interruptible import over_entries
from matfac._validation import check_integer
from matfac._values import place_of
from matfac.interactions import Interactions

Features: TypeAlias = "sp.csr_array | None"  # checked, in the model's dtype


def check_features(
    argument: str,
    features: Any,
    dtype: np.dtype[Any],
    *,
    n_rows: int | None,
    of: str,
    ids: NDArray[Any] | None = None,
) -> Features:
    """Return side features as canonical CSR, a row for each of the `n_rows` that `of` names.

    These have the `ids`, if any, by which the rows of a frame indexed by id are taken.
    """
    if features is None:
        return None
    if ids is not None and _is_indexed(features):
        features = features.iloc[_rows_by_id(argument, features.index, IdIndex(ids))]
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


def ids_of(X: Any, side: str) -> NDArray[Any] | None:
    """Return the ids of the rows ("user") or columns ("item") of X, None of a bare matrix."""
    if not isinstance(X, Interactions):
        return None
    return X.user_ids if side == "user" else X.item_ids


def _is_indexed(features: Any) -> bool:
    """Tell whether it is a frame of pandas with an index of its own, not 0, 1, 2, ..."""
    if not hasattr(features, "iloc"):
        return False
    index: Any = features.index
    numbered = type(index).__name__ == "RangeIndex" and (index.start, index.step) == (0, 1)
    return not numbered


def _rows_by_id(argument: str, index: Any, ids: IdIndex) -> NDArray[np.int64]:
    """Return the row of a frame that its index gives to each id."""
    mend = f"{argument}.reset_index(drop=True) where its rows have the order of the ids already"
    name = f"{argument}.index"
    try:
        found = ids.lookup(index.to_numpy(), name, "ignore")
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error}; or give {mend}") from error
    given = np.flatnonzero(found >= 0)
    counts = np.bincount(found[given], minlength=len(ids))
    if not (counts == 1).all():
        at = int(np.argmax(counts != 1))
        wrong = "lacks" if counts[at] == 0 else "repeats"
        raise ValueError(
            f"{name} {wrong} {ids.ids[at].item()!r}, and is wrong for {(counts != 1).sum():,} of "
            f"{len(ids):,} ids: index the frame by id, a row for each; or give {mend}"
        )
    rows = np.empty(len(ids), np.int64)
    rows[found[given]] = given
    return rows


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

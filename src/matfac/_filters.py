"""The rules of a top-k call: which items may be listed, for everyone and row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from matfac._ids import IdIndex
from matfac._ratings import Pattern, take_rows
from matfac._validation import (
    check_mask,
    check_pattern,
)
from matfac.interactions import Interactions


def row_mask(
    mask: Any,
    n_rows: int,
    columns: int | IdIndex,
    row_ids: NDArray[Any] | None,
    argument: str,
    *,
    transposed: bool,
) -> Pattern:
    """Return per row of a call the columns that a mask names.

    Parameters
    ----------
    mask : matrix of shape (n_rows, n_columns), or Interactions; the other way if `transposed`
        Its nonzero entries count. An Interactions is aligned by ids.
    n_rows : int
    columns : int or IdIndex
        The model's columns: their number, or their ids.
    row_ids : ndarray or None
        Ids of the call's rows, where they have ids.
    argument : str
        What messages call the mask.
    transposed : bool
        Whether the mask, always users x items, holds the call's rows as its columns.
    """
    if not isinstance(mask, Interactions):
        shape = n_rows, columns if isinstance(columns, int) else len(columns)
        pattern = check_mask(mask, argument, shape[::-1] if transposed else shape)
        return _transposed(pattern, shape[0]) if transposed else pattern
    if row_ids is None or isinstance(columns, int):
        raise ValueError(
            f"{argument} is an Interactions, but this call's rows have no ids: pass a matrix"
        )
    pattern = check_pattern(mask.matrix, argument)
    rows, names = mask._users, mask.item_ids
    if transposed:
        rows, names = mask._items, mask.user_ids
        pattern = _transposed(pattern, len(rows))
    # An index of -1, for a row that the mask does not know, meets the empty row at the end.
    indptr = np.append(pattern[0], pattern[0][-1])
    indptr, indices = take_rows(indptr, pattern[1], rows.lookup(row_ids, argument, "ignore"))
    at = columns.lookup(names, argument, "ignore")[indices]
    row = np.repeat(np.arange(n_rows), np.diff(indptr))[at >= 0]
    at = at[at >= 0]
    order = np.lexsort((at, row))
    counts = np.bincount(row, minlength=n_rows)
    return np.concatenate(([0], np.cumsum(counts))), at[order].astype(np.int32)


def _transposed(pattern: Pattern, n_columns: int) -> Pattern:
    return columns_of(pattern, np.arange(n_columns, dtype=np.int32), n_columns)


def candidates(
    only: NDArray[np.int32] | None, never: NDArray[np.int32] | None, n: int
) -> NDArray[np.int32] | None:
    """Return the sorted numbers below n that may be listed; None for all of them."""
    if only is None and never is None:
        return None
    allowed = np.full(n, only is None)
    if only is not None:
        allowed[only] = True
    if never is not None:
        allowed[never] = False
    return np.flatnonzero(allowed).astype(np.int32)


def columns_of(pattern: Pattern, columns: NDArray[np.int32], n: int) -> Pattern:
    """Return, for each of the chosen columns (below n) of a CSR pattern, its rows."""
    indptr, indices = pattern
    wanted = np.zeros(n, np.bool_)
    wanted[columns] = True
    entries = np.flatnonzero(wanted[indices])
    rows = np.searchsorted(indptr, entries, side="right") - 1
    order = np.argsort(indices[entries], kind="stable")
    counts = np.bincount(indices[entries], minlength=n)
    starts = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    return take_rows(starts, rows[order].astype(np.int32), columns)

"""Coded rows of a table -> a canonical CSR matrix; what becomes of pairs that occur again."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, DTypeLike, NDArray

from matfac._frames import CAST, Columns, datetimes_of
from matfac._interruptible import over_entries
from matfac._validation import check_choice, check_dtype
from matfac._values import as_csr, place_of

RULES = ("last", "first", "sum", "mean", "max", "error")


def check_rule(duplicates: str | None) -> None:
    """Raise unless `duplicates` is a rule or None."""
    if duplicates is not None:
        check_choice("duplicates", duplicates, RULES)


def check_numbers(values: ArrayLike, argument: str, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """Return a 1-D array of finite numbers, of `dtype` where that is given, or raise."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{argument} must be one-dimensional, got shape {array.shape}")
    if array.dtype.kind == "O":
        array = _from_objects(array, argument)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{argument} must hold numbers, got dtype {array.dtype}")
    wanted = array.dtype if dtype is None else np.dtype(dtype)
    with np.errstate(over="ignore"):  # what overflows float32 is reported below
        cast = array.astype(wanted, copy=False)
    finite = np.isfinite(cast)
    if not finite.all():
        row = int(np.argmin(finite))
        found = array[row].item()
        what = "does not fit in float32" if np.isfinite(found) else "is not finite: drop such rows"
        raise ValueError(f"{argument}: the value in row {row} (from 0), {found!r}, {what}")
    return cast


def _from_objects(array: NDArray[Any], argument: str) -> NDArray[np.float64]:
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        for row, value in enumerate(array.tolist()):
            try:
                float(value)
            except (TypeError, ValueError, OverflowError):
                raise ValueError(
                    f"{argument}: the value in row {row} (from 0), {value!r}, is no number"
                ) from None
        raise


def check_times(values: ArrayLike) -> NDArray[Any]:
    """Return int64, or float64; points in time as seconds since 1970."""
    aware = getattr(getattr(values, "dtype", None), "tz", None) is not None  # of pandas
    array = np.asarray(values, "datetime64[us]" if aware else None)
    if array.dtype.kind == "O" and array.ndim == 1 and (points := datetimes_of(array)) is not None:
        array = points
    if array.dtype.kind == "M":
        missing = np.isnat(array)
        if missing.any():
            row = int(np.argmax(missing))
            raise ValueError(f"timestamps is missing (NaT) in row {row} (from 0): drop such rows")
        return array.astype("datetime64[us]").astype(np.int64) / 1e6
    try:
        numbers = check_numbers(array, "timestamps")
    except (TypeError, ValueError) as error:
        if array.dtype.kind in "biuf" or array.ndim != 1:
            raise
        raise type(error)(f"{error}; dates and datetimes are taken too: {CAST}") from None
    return numbers.astype(np.float64 if numbers.dtype.kind == "f" else np.int64, copy=False)


def canonical(matrix: Any, timestamps: ArrayLike | None) -> tuple[Any, NDArray[Any] | None]:
    """Return a canonical CSR array of a caller's matrix, and the times of its entries."""
    if not sp.issparse(matrix):
        raise TypeError(f"matrix must be a SciPy sparse array, got {type(matrix).__name__}")
    given: Any = matrix
    return over_entries(given.nnz, lambda: _canonical(given, timestamps))


def _canonical(given: Any, timestamps: ArrayLike | None) -> tuple[Any, NDArray[Any] | None]:
    csr: Any = sp.csr_array(as_csr(given, "matrix"), copy=given.format == "csr")  # the caller's
    _check_finite(csr)
    csr.data = check_numbers(csr.data, "matrix", "d" if csr.dtype == np.float64 else "f")
    if timestamps is not None and not (given.format == "csr" and csr.has_canonical_format):
        raise ValueError(
            "timestamps need a CSR matrix with sorted rows and no duplicates: convert it by "
            "tocsr() and sum_duplicates() before"
        )
    csr.sum_duplicates()
    times = None if timestamps is None else np.array(check_times(timestamps))
    if times is not None and len(times) != csr.nnz:
        raise ValueError(f"timestamps has {len(times)} entries, matrix has {csr.nnz}")
    return csr, times


def _check_finite(csr: Any) -> None:
    finite = np.isfinite(csr.data) if csr.dtype.kind == "f" else np.True_
    if finite.all():
        return
    entry = int(np.argmin(finite))
    row, column = place_of(csr, entry)
    raise ValueError(
        f"matrix[{row}, {column}] = {csr.data[entry]} is not finite: remove the "
        "entry (one that is not stored is unknown) or give it a value"
    )


def assemble(
    columns: Columns, duplicates: str | None, dtype: DTypeLike, where: str
) -> tuple[sp.csr_array, NDArray[Any] | None]:
    """Return the matrix and the times of its entries; `where` begins the messages."""
    kind = check_dtype(dtype)
    n = len(columns.users[1])
    return over_entries(n, lambda: _assemble(columns, duplicates, kind, where))


def _assemble(
    columns: Columns, duplicates: str | None, kind: np.dtype[Any], where: str
) -> tuple[sp.csr_array, NDArray[Any] | None]:
    (users, rows), (items, cols), values, times = columns
    n = len(rows)
    if n == 0:
        raise ValueError(f"{where}there are no interactions: users and items are empty")
    if values is not None:
        values = check_numbers(values, f"{where}values")
    if times is not None:
        times = check_numbers(times, f"{where}timestamps")
    rule = duplicates or ("sum" if values is None else "last")
    shape = len(users), len(items)
    indptr, indices, order = _sort(rows, cols, shape)
    first = np.ones(n, np.bool_)
    first[1:] = indices[1:] != indices[:-1]
    first[indptr[:-1]] = True  # every user has a row of the table
    if first.all():
        data = np.ones(n) if values is None else values[order]
        when = None if times is None else times[order]
    else:
        starts = np.flatnonzero(first)
        if rule == "error":
            _raise_duplicate(columns, order, int(np.argmin(first)), n - len(starts), where)
        if times is not None and rule in ("last", "first"):
            _order_by_time(order, first, times)
        data, when = _combine(values, times, order, starts, rule)
        kept = np.concatenate(([0], np.cumsum(first)))
        indptr, indices = kept[indptr].astype(indptr.dtype), indices[starts]
    matrix = sp.csr_array((check_numbers(data, f"{where}values", kind), indices, indptr), shape)
    return matrix, when


def _sort(
    rows: NDArray[np.int32], cols: NDArray[np.int32], shape: tuple[int, int]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the CSR pattern with duplicates, and which row of the table each entry is."""
    n = len(rows)
    position: Any = np.arange(n, dtype=np.int32 if n < 2**31 else np.int64)
    coo: Any = sp.coo_array((position, (rows, cols)), shape=shape)
    # Two stable counting sorts, by column and by row: a fifth of an argsort's time. Called
    # canonical, the duplicates are not summed on the way.
    coo.has_canonical_format = True
    csr = coo.tocsc().tocsr()
    if csr.nnz != n:
        raise RuntimeError("this version of SciPy sums duplicates that were to be kept")
    return csr.indptr, csr.indices, csr.data


def _order_by_time(order: NDArray[Any], first: NDArray[np.bool_], times: NDArray[Any]) -> None:
    """Sort the rows of each repeated pair by time, then by place."""
    group = np.cumsum(first)
    again = np.bincount(group)[group] > 1
    rows = order[again]
    order[again] = rows[np.lexsort((rows, times[rows], group[again]))]


def _combine(
    values: NDArray[Any] | None,
    times: NDArray[Any] | None,
    order: NDArray[Any],
    starts: NDArray[np.int64],
    rule: str,
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    ends = np.append(starts[1:], len(order))
    if rule in ("last", "first"):
        chosen = order[ends - 1] if rule == "last" else order[starts]
        data = np.ones(len(starts)) if values is None else values[chosen]
        return data, None if times is None else times[chosen]
    latest = None if times is None else np.maximum.reduceat(times[order], starts)
    if values is None:
        return (ends - starts if rule == "sum" else np.ones(len(starts))), latest
    ordered = values[order].astype(np.float64)
    if rule == "max":
        return np.maximum.reduceat(ordered, starts), latest
    sums = np.add.reduceat(ordered, starts)
    return (sums if rule == "sum" else sums / (ends - starts)), latest


def _raise_duplicate(
    columns: Columns, order: NDArray[Any], at: int, count: int, where: str
) -> None:
    (users, rows), (items, cols) = columns.users, columns.items
    row, earlier = order[at], order[at - 1]
    user, item = users.ids[rows[row]].item(), items.ids[cols[row]].item()
    raise ValueError(
        f"{where}user {user!r} and item {item!r} occur together in rows {earlier} and {row} "
        f"(from 0); {count:,} rows repeat a pair: drop them, or give duplicates='last' or another "
        "rule"
    )

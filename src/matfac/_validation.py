"""The only place where user input becomes CSR, dtype, seed and thread count, or a clear error."""

from __future__ import annotations

import itertools
import math
import numbers
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_random_state, validate_data

from matfac import _core, _engine
from matfac._engine import Csr, Floats

MAX_ROWS = 2**31 - 1
# Entries that a sum over all of them converts at a time.
PIECE = 1 << 17

# Entries that a sum over all of them converts at a time.
PIECE = 1 << 17


def check_integer(name: str, value: Any, *, minimum: int) -> int:
    """Return `value` as an int, or raise naming the argument."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r} of type {type(value).__name__}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")
    return int(value)


def check_real(
    name: str, value: Any, *, minimum: float = 0.0, above: bool = False, below: float | None = None
) -> float:
    """Return `value` as a finite float >= minimum (> minimum where `above`, < below), or raise."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r} of type {type(value).__name__}")
    number = float(value)
    if not math.isfinite(number) or number < minimum or (above and number == minimum):
        wanted = f"{'greater than' if above else 'at least'} {minimum:g}"
        raise ValueError(f"{name} must be finite and {wanted}, got {value}")
    if below is not None and number >= below:
        raise ValueError(f"{name} must be less than {below:g}, got {value}")
    return number


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return `value` if it is one of `choices`, or raise listing them."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def check_dtype(value: Any) -> np.dtype[Any]:
    """Return the factor dtype, float32 or float64."""
    try:
        dtype: np.dtype[Any] = np.dtype(value)
    except TypeError:
        dtype = np.dtype(object)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype must be 'float32' or 'float64', got {value!r}")
    return np.dtype(dtype)


def default_threads() -> int:
    """Return OMP_NUM_THREADS where set, else the number of cores this process may use."""
    most = _core.max_threads()
    if os.environ.get("OMP_NUM_THREADS") or not hasattr(os, "sched_getaffinity"):
        return most
    return max(1, min(most, len(os.sched_getaffinity(0)), _cgroup_cores()))


def _cgroup_cores() -> int:
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        return MAX_ROWS if quota == "max" else max(1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        return MAX_ROWS


def check_threads(n_threads: Any) -> int:
    """Resolve n_threads: None is the default, -1 every core, -2 all but one, as in scikit-learn."""
    if n_threads is None:
        return default_threads()
    if isinstance(n_threads, bool) or not isinstance(n_threads, numbers.Integral):
        raise TypeError(f"n_threads must be an integer or None, got {n_threads!r}")
    if n_threads == 0:
        raise ValueError("n_threads must not be 0: give None for the default, or -1 for every core")
    count = int(n_threads)
    return min(count, 4096) if count > 0 else max(1, default_threads() + 1 + count)


def seed_of(random_state: Any) -> int:
    """Draw one seed from random_state (None, int or RandomState)."""
    return int(check_random_state(random_state).randint(2**31 - 1))


@dataclass(frozen=True)
class Ratings:
    """A checked matrix in canonical CSR: rows sorted, no duplicates, finite values."""

    shape: tuple[int, int]
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: Floats
    weights: Floats | None = None

    @property
    def nnz(self) -> int:
        return int(self.indptr[-1])

    @cached_property
    def core(self) -> Csr:
        """The matrix in the core's hands."""
        return _engine.make_csr(self.shape[1], self.indptr, self.indices, self.values, self.weights)

    @property
    def row_sums(self) -> Floats:
        """Entries per row, or the row's sum of weights where there are weights."""
        return self._sums(self.indptr, self.weights)

    @property
    def mean(self) -> float:
        """The (weighted) mean of the values."""
        if self.weights is None:
            return float(self.values.mean(dtype=np.float64))
        weighted = np.einsum("i,i", self.values, self.weights, dtype=np.float64)
        return float(weighted / self.weights.sum(dtype=np.float64))

    @property
    def variance(self) -> float:
        """The variance of the values, a piece at a time: no copy of them is made."""
        mean = self.values.mean(dtype=np.float64)
        pieces = (self.values[at : at + PIECE] - mean for at in range(0, self.nnz, PIECE))
        return sum(float(np.square(piece).sum(dtype=np.float64)) for piece in pieces) / self.nnz

    @property
    def column_sums(self) -> Floats:
        """Entries per column, or their sum of weights, a piece at a time."""
        sums = np.zeros(self.shape[1])
        for at in range(0, self.nnz, PIECE):
            part = slice(at, at + PIECE)
            weights = None if self.weights is None else self.weights[part]
            sums += np.bincount(self.indices[part], weights, minlength=len(sums))
        return sums

    @staticmethod
    def _sums(indptr: NDArray[np.int64], weights: Floats | None) -> NDArray[np.float64]:
        if weights is None:
            return np.diff(indptr).astype(np.float64)
        sums = np.zeros(len(indptr) - 1)
        filled = np.flatnonzero(np.diff(indptr))
        begins = indptr[filled]
        cuts = np.unique(np.searchsorted(begins, [*range(0, len(weights), PIECE), len(weights)]))
        for first, last in itertools.pairwise(cuts):
            part = weights[begins[first] : indptr[filled[last - 1] + 1]]
            at = begins[first:last] - begins[first]
            sums[filled[first:last]] = np.add.reduceat(part, at, dtype=np.float64)
        return sums

    def rows(self, index: NDArray[np.integer[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return indptr and indices of the chosen rows."""
        return take_rows(self.indptr, self.indices, index)

    def take(self, keep: NDArray[np.bool_]) -> Ratings:
        """Return the matrix of the entries where `keep` is true."""
        running = np.concatenate(([0], np.cumsum(keep, dtype=np.int64)))
        return Ratings(
            self.shape,
            running[self.indptr],
            self.indices[keep],
            self.values[keep],
            None if self.weights is None else self.weights[keep],
        )


def take_rows(
    indptr: NDArray[np.int64], indices: NDArray[np.int32], index: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return indptr and indices of the chosen rows of a CSR pattern."""
    if len(index) == len(indptr) - 1 and (index == np.arange(len(index))).all():
        return indptr, indices
    lengths = np.diff(indptr)[index]
    chosen = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    shift = np.repeat(indptr[index] - chosen[:-1], lengths)
    return chosen, indices[shift + np.arange(chosen[-1])]


def check_matrix(
    estimator: BaseEstimator,
    X: Any,
    dtype: np.dtype[Any],
    *,
    reset: bool,
    implicit: bool,
    argument: str = "X",
) -> Ratings:
    """Turn a users x items matrix into `Ratings`.

    Sparse: the stored entries are the known ones. Dense: NaN is missing (and 0, where `implicit`).
    """
    name = type(estimator).__name__
    if not reset:
        _check_width(estimator, X, argument)
    if sp.issparse(X):
        accepted = ("csr", "coo", "csc", "bsr")
        matrix: Any = X
        if matrix.format not in accepted:
            matrix = matrix.tocsr()
        checked = validate_data(
            estimator,
            matrix,
            accept_sparse=list(accepted),
            dtype=None,
            reset=reset,
            ensure_all_finite=False,
            accept_large_sparse=True,
        )
        return _from_sparse(checked, dtype, implicit, name, argument)
    dense = validate_data(
        estimator, X, dtype=[np.float64, np.float32], reset=reset, ensure_all_finite="allow-nan"
    )
    known = ~np.isnan(dense)
    if implicit:
        known &= dense != 0
    rows, columns = np.nonzero(known)
    indptr = np.concatenate(([0], np.cumsum(known.sum(axis=1)))).astype(np.int64)
    values = dense[rows, columns].astype(dtype)
    ratings = Ratings(dense.shape, indptr, columns.astype(np.int32), values)
    _check_values(ratings, implicit, name, argument)
    return ratings


def _check_width(estimator: BaseEstimator, X: Any, argument: str) -> None:
    """Refuse a matrix of another width, and say so where it looks transposed."""
    shape = getattr(X, "shape", None)
    wanted = getattr(estimator, "n_features_in_", None)
    if shape is None or len(shape) != 2 or wanted is None or shape[1] == wanted:
        return
    name = type(estimator).__name__
    n_users = len(getattr(estimator, "user_factors_", ()))
    hint = ""
    if shape[0] == wanted or shape[1] == n_users:
        hint = (
            f". {argument} seems to be transposed: rows are users and columns are items; "
            f"pass {argument}.T"
        )
    raise ValueError(
        f"{argument} has {shape[1]} features, but {name} is expecting {wanted} features as input "
        f"(the items it was fitted on){hint}"
    )


def _from_sparse(X: Any, dtype: np.dtype[Any], implicit: bool, name: str, argument: str) -> Ratings:
    if X.dtype.kind not in "fiub":
        raise TypeError(f"{argument} must hold real numbers, got dtype {X.dtype}")
    if max(X.shape) > MAX_ROWS:
        raise ValueError(f"{argument} must have fewer than 2^31 rows and columns, got {X.shape}")
    csr = sp.csr_array(X) if X.format != "csr" else X
    if not csr.has_canonical_format:
        csr = sp.csr_array(csr, copy=True)
        csr.sum_duplicates()
    values = csr.data.astype(dtype, copy=False)
    indptr = csr.indptr.astype(np.int64, copy=False)
    indices = csr.indices.astype(np.int32, copy=False)
    ratings = Ratings(
        (int(X.shape[0]), int(X.shape[1])),
        indptr,
        np.ascontiguousarray(indices),
        np.ascontiguousarray(values),
    )
    _check_values(ratings, implicit, name, argument)
    if implicit and not ratings.values.all():
        ratings = ratings.take(ratings.values != 0)
    return ratings


def _check_values(ratings: Ratings, implicit: bool, name: str, argument: str) -> None:
    values = ratings.values
    # A sum is finite only if every term is, or if it overflowed: then look closer.
    with np.errstate(all="ignore"):
        suspicious = not np.isfinite(values.sum(dtype=np.float64))
    if suspicious and not np.isfinite(values).all():
        row, column, value = _locate(ratings, ~np.isfinite(values))
        what = "NaN" if math.isnan(value) else "infinity"
        raise ValueError(
            f"{argument} contains {what}: {argument}[{row}, {column}] = {value}; remove the entry "
            "(an entry that is not stored is unknown) or give it a finite value"
        )
    if implicit and values.size and float(values.min()) < 0:
        row, column, value = _locate(ratings, values < 0)
        raise ValueError(
            f"Negative values in data passed to {name}: {argument}[{row}, {column}] = {value:g}; "
            "a confidence cannot be negative: remove such entries, or use ExplicitMF for ratings"
        )


def _locate(ratings: Ratings, mask: NDArray[np.bool_]) -> tuple[int, int, float]:
    entry = int(np.flatnonzero(mask)[0])
    row = int(np.searchsorted(ratings.indptr, entry, side="right")) - 1
    return row, int(ratings.indices[entry]), float(ratings.values[entry])


Pattern: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int32]]


def check_sparse(X: Any, argument: str, shape: tuple[int, int] | None = None) -> sp.csr_array:
    """Return a user's sparse matrix as canonical CSR, its dtype kept; of `shape` where given."""
    if not sp.issparse(X):
        raise TypeError(
            f"{argument} must be a SciPy sparse matrix or an Interactions, got {type(X).__name__}"
        )
    given: Any = X
    if given.ndim != 2 or max(given.shape) > MAX_ROWS:
        raise ValueError(
            f"{argument} must have two dimensions of fewer than 2^31, got {given.shape}"
        )
    if shape is not None and given.shape != shape:
        turned = " (it seems to be transposed)" if given.shape == shape[::-1] else ""
        raise ValueError(
            f"{argument} must have shape {shape}, users x items, got {given.shape}{turned}"
        )
    csr: Any = sp.csr_array(given)
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    checked: sp.csr_array = csr
    return checked


def check_pattern(X: Any, argument: str, shape: tuple[int, int] | None = None) -> Pattern:
    """Return indptr and indices of the entries of a matrix of feedback, those of value 0 left out.

    What is left counts whatever its value, which must therefore be finite and not negative.
    """
    csr = check_sparse(X, argument, shape)
    indptr = csr.indptr.astype(np.int64, copy=False)
    indices = np.ascontiguousarray(csr.indices.astype(np.int32, copy=False))
    values = csr.data
    if values.dtype.kind not in "fiub":
        raise TypeError(f"{argument} must hold real numbers, got dtype {values.dtype}")
    if values.dtype.kind in "fi" and not (np.isfinite(values) & (values >= 0)).all():
        entry = int(np.argmin(np.isfinite(values) & (values >= 0)))
        row = int(np.searchsorted(indptr, entry, side="right")) - 1
        raise ValueError(
            f"{argument}[{row}, {indices[entry]}] = {values[entry]}: every stored entry counts, "
            "whatever its value, so that it must be finite and not negative; keep those that are "
            f"to count, as in `{argument} > 0`"
        )
    pattern = Ratings((csr.shape[0], csr.shape[1]), indptr, indices, values)
    if values.size and not values.all():
        pattern = pattern.take(values != 0)
    return pattern.indptr, pattern.indices


def check_weights(weights: Any, ratings: Ratings) -> Ratings:
    """Attach observation weights: a matrix of X's shape that stores one for every entry of X."""
    if weights is None:
        return ratings
    if getattr(weights, "shape", None) != ratings.shape:
        raise ValueError(
            f"weights must be a matrix of X's shape {ratings.shape}, got "
            f"{getattr(weights, 'shape', type(weights).__name__)}"
        )
    csr = sp.csr_array(weights, copy=True)
    csr.sum_duplicates()
    # Entries by one number each, row-major: sorted in both matrices.
    width = ratings.shape[1]
    own = np.repeat(np.arange(ratings.shape[0]), np.diff(ratings.indptr)) * width + ratings.indices
    given = np.repeat(np.arange(csr.shape[0]), np.diff(csr.indptr)) * width + csr.indices
    at = np.minimum(np.searchsorted(given, own), max(len(given) - 1, 0))
    missing = own if len(given) == 0 else own[given[at] != own]
    if len(missing):
        raise ValueError(
            f"weights has no weight for {len(missing)} entries of X, the first at "
            f"[{missing[0] // width}, {missing[0] % width}]: store one for every entry"
        )
    values = csr.data[at].astype(ratings.values.dtype)
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError(
            "weights must be finite and not negative, got values from "
            f"{values.min():g} to {values.max():g}"
        )
    return Ratings(ratings.shape, ratings.indptr, ratings.indices, ratings.values, values)

"""The only place where user input becomes CSR, dtype, seed and thread count, or a clear error."""

from __future__ import annotations

import math
import numbers
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, check_random_state, validate_data

from matfac import _engine
from matfac._cores import default_threads
from matfac._interruptible import over_entries
from matfac._ratings import Pattern, Ratings
from matfac._values import RANGE, arrays_of, as_csr, cast, check_values, place_of

MAX_ROWS = 2**31 - 1
MOST_FACTORS = 2**20
_MOST_STEPS = 2**31 - 1
_LONGEST = 1_000_000  # places of a list that a small catalogue may be asked for
_MOST_THREADS = 64
_USERS = re.compile(r"users?([ _.-]?ids?)?", re.IGNORECASE)


def check_integer(name: str, value: Any, *, minimum: int, maximum: int = 2**63 - 1) -> int:
    """Return `value` as an int from minimum to maximum, or raise naming the argument."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r} of type {type(value).__name__}")
    number = int(value)
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")
    if number > maximum:
        raise ValueError(f"{name} must be at most {maximum}, got {value}")
    return number


def check_length(k: Any, n_candidates: int) -> int:
    """Return the length of lists as an int: past the candidates, places are padding."""
    return check_integer("k", k, minimum=1, maximum=max(n_candidates, _LONGEST))


def check_steps(cg_steps: Any) -> None:
    """Raise where cg_steps is neither a number of gradient steps nor None."""
    if cg_steps is not None:
        check_integer("cg_steps", cg_steps, minimum=1, maximum=_MOST_STEPS)


def check_path(name: str, value: Any) -> str | os.PathLike[str]:
    """Return `value` as it is if it is a path, not an open file's number."""
    if isinstance(value, str | os.PathLike):
        return value
    raise TypeError(f"{name} must be a path, got {value!r} of type {type(value).__name__}")


def check_real(
    name: str,
    value: Any,
    *,
    minimum: float = 0.0,
    maximum: float = 1e30,  # past it float32 soon overflows
    above: bool = False,
    below: float | None = None,
) -> float:
    """Return `value` as a finite float in minimum..maximum, or raise.

    With `above` greater than minimum, and less than `below` where given.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r} of type {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        raise ValueError(f"{name} must be at most {maximum:g}") from None
    if not math.isfinite(number) or number < minimum or (above and number == minimum):
        wanted = f"{'greater than' if above else 'at least'} {minimum:g}"
        raise ValueError(f"{name} must be finite and {wanted}, got {value}")
    if below is not None and number >= below:
        raise ValueError(f"{name} must be less than {below:g}, got {value}")
    if number > maximum:
        raise ValueError(f"{name} must be at most {maximum:g}, got {value}")
    return number


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return `value` if it is one of `choices`, or raise listing them."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def check_flag(name: str, value: Any) -> bool:
    """Return `value` as a bool: it is one, or 0 or 1; or raise."""
    if not isinstance(value, numbers.Integral | np.bool_) or value not in (0, 1):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def check_dtype(value: Any) -> np.dtype[Any]:
    """Return the dtype of factors or a matrix, float32 or float64."""
    try:
        dtype: np.dtype[Any] = np.dtype(object if value is None else value)  # not float64
    except TypeError:
        dtype = np.dtype(object)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype must be 'float32' or 'float64', got {value!r}")
    return np.dtype(dtype)


def check_threads(n_threads: Any) -> int:
    """Resolve n_threads: None is the default, -1 every core, -2 all but one, as in scikit-learn."""
    if n_threads is None:
        return default_threads()
    if isinstance(n_threads, bool) or not isinstance(n_threads, numbers.Integral):
        raise TypeError(f"n_threads must be an integer or None, got {n_threads!r}")
    if n_threads == 0:
        raise ValueError("n_threads must not be 0: give None for the default, or -1 for every core")
    count = int(n_threads)
    if count < 0:
        return max(1, default_threads() + 1 + count)
    # More are of no use, and threads that cannot be had end the process.
    return min(count, max(_MOST_THREADS, os.cpu_count() or 1))


def seed_of(random_state: Any) -> int:
    """Draw one seed from random_state (None, int or RandomState)."""
    try:
        generator = check_random_state(random_state)
    except ValueError as error:
        raise ValueError(
            "random_state must be None, an integer from 0 to 2**32 - 1 or a "
            f"numpy.random.RandomState, got {random_state!r}"
        ) from error
    return int(generator.randint(2**31 - 1))


def check_matrix(
    estimator: BaseEstimator,
    X: Any,
    dtype: np.dtype[Any],
    *,
    reset: bool,
    implicit: bool,
    argument: str = "X",
    free: bool = False,
) -> Ratings:
    """Turn a users x items matrix into `Ratings`.

    Sparse: the stored entries are the known ones (of BSR those that are not 0). Dense: NaN is
    missing (and 0, where `implicit`). Its width must be the estimator's, unless it is `reset` or
    `free`.
    """
    name = type(estimator).__name__
    _check_no_table(X, argument)
    if not (reset or free):
        _check_width(estimator, X, argument)
    check = partial(check_array, estimator=estimator, input_name=argument)
    if not free:
        check = partial(validate_data, estimator, reset=reset)
    threads = check_threads(getattr(estimator, "n_threads", None))
    if hasattr(X, "sparse"):  # a frame of pandas whose columns are all sparse
        X = X.sparse.to_coo()
    if sp.issparse(X):
        accepted = ("csr", "coo", "csc", "bsr")
        matrix: Any = X
        if matrix.format not in accepted:
            matrix = over_entries(matrix.nnz, matrix.tocsr)
        checked = check(
            matrix,
            accept_sparse=list(accepted),
            dtype=None,
            ensure_all_finite=False,
            accept_large_sparse=True,
        )
        return over_entries(
            checked.nnz, lambda: _from_sparse(checked, dtype, implicit, name, argument, threads)
        )
    dense = check_dense(check, X, argument)
    return over_entries(
        dense.size, lambda: _from_dense(dense, dtype, implicit, name, argument, threads)
    )


def users_column(X: Any) -> str | None:
    """Return the name of a frame's column of users: it is a table of events then, no matrix."""
    names = getattr(X, "column_names", getattr(X, "columns", ()))
    return next((name for name in names if isinstance(name, str) and _USERS.fullmatch(name)), None)


def _check_no_table(X: Any, argument: str) -> None:
    """Refuse a table of events: ids would be taken for ratings."""
    column = users_column(X)
    if column is not None:
        raise ValueError(
            f"{argument} has a column {column!r}, but must be a matrix, users x items, with a "
            f"column for each item: make a table of events matfac.Interactions.from_frame("
            f"{argument}, user={column!r}, item=..., value=...), or drop the column"
        )


def check_dense(check: Callable[..., Any], X: Any, argument: str, **kwargs: Any) -> Any:
    """Return a dense matrix that scikit-learn's `check` takes: floats, NaN where missing."""
    try:
        return check(X, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan", **kwargs)
    except (TypeError, ValueError) as error:
        if "feature names" in str(error):
            raise
        found = type(X).__name__
        if hasattr(X, "shape") and hasattr(X, "dtype"):
            found += f" of shape {X.shape} and dtype {X.dtype}"
        ids = "; tables of ids and values go through matfac.Interactions"
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"{argument} must be a matrix of real numbers, got {found}"
            f"{ids if 'string' in str(error) else ''}: {error}"
        ) from error


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


def _from_sparse(
    X: Any, dtype: np.dtype[Any], implicit: bool, name: str, argument: str, n_threads: int
) -> Ratings:
    if X.dtype.kind not in "fiub":
        raise TypeError(f"{argument} must hold real numbers, got dtype {X.dtype}")
    if max(X.shape) > MAX_ROWS:
        raise ValueError(f"{argument} must have fewer than 2^31 rows and columns, got {X.shape}")
    csr = as_csr(X, argument)
    if not csr.has_canonical_format:
        csr = sp.csr_array(csr, copy=True)
        csr.sum_duplicates()
    values = cast(csr.data, dtype)
    indptr = csr.indptr.astype(np.int64, copy=False)
    with arrays_of(argument):
        indices = _engine.narrow(csr.indices, csr.shape[1], n_threads)
        shape = int(X.shape[0]), int(X.shape[1])
        ratings = Ratings(shape, indptr, indices, np.ascontiguousarray(values))
        _ = ratings.core  # looks at every index
    least = check_values(ratings, csr.data, implicit, name, argument, n_threads)
    if implicit and least == 0 and not ratings.values.all():
        ratings = ratings.take(ratings.values != 0)
    return ratings


def _from_dense(
    X: Any, dtype: np.dtype[Any], implicit: bool, name: str, argument: str, n_threads: int
) -> Ratings:
    known = ~np.isnan(X)
    if implicit:
        known &= X != 0
    rows, columns = np.nonzero(known)
    indptr = np.concatenate(([0], np.cumsum(known.sum(axis=1)))).astype(np.int64)
    given = X[rows, columns]
    ratings = Ratings(X.shape, indptr, columns.astype(np.int32), cast(given, dtype))
    check_values(ratings, given, implicit, name, argument, n_threads)
    return ratings


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
    return over_entries(given.nnz, lambda: _canonical(given, argument))


def _canonical(X: Any, argument: str) -> sp.csr_array:
    csr: sp.csr_array = as_csr(X, argument)
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    return csr


def check_pattern(X: Any, argument: str, shape: tuple[int, int] | None = None) -> Pattern:
    """Return indptr and indices of the entries of a matrix of feedback, those of value 0 left out.

    What is left counts whatever its value, which must therefore be finite and not negative.
    """
    csr = check_sparse(X, argument, shape)
    return over_entries(csr.nnz, lambda: _pattern(csr, argument))


def _pattern(csr: sp.csr_array, argument: str) -> Pattern:
    indptr = csr.indptr.astype(np.int64, copy=False)
    with arrays_of(argument):
        indices = _engine.narrow(csr.indices, csr.shape[1])
    values = csr.data
    if values.dtype.kind not in "fiub":
        raise TypeError(f"{argument} must hold real numbers, got dtype {values.dtype}")
    if values.dtype.kind in "fi" and not (np.isfinite(values) & (values >= 0)).all():
        entry = int(np.argmin(np.isfinite(values) & (values >= 0)))
        row, column = place_of(csr, entry)
        raise ValueError(
            f"{argument}[{row}, {column}] = {values[entry]}: every stored entry counts, "
            "whatever its value, so that it must be finite and not negative; keep those that are "
            f"to count, as in `{argument} > 0`"
        )
    pattern = Ratings((csr.shape[0], csr.shape[1]), indptr, indices, values)
    if values.size and not values.all():
        pattern = pattern.take(values != 0)
    return pattern.indptr, pattern.indices


def check_mask(mask: Any, argument: str, shape: tuple[int, int]) -> Pattern:
    """Return the pattern of the nonzero entries of a mask; dense: NaN is missing, as everywhere."""
    if not sp.issparse(mask):
        try:
            dense = np.asarray(mask)
        except ValueError as error:  # lists of several lengths
            raise ValueError(
                f"{argument} must be a matrix of shape {shape}, not 0 where it holds: {error}"
            ) from error
        if dense.dtype.kind not in "fiub":
            raise TypeError(f"{argument} must hold numbers or booleans, got dtype {dense.dtype}")
        mask = sp.csr_array(np.atleast_2d(np.nan_to_num(dense)))
    return check_pattern(mask, argument, shape)


def check_weights(weights: Any, ratings: Ratings) -> Ratings:
    """Attach observation weights: a matrix of X's shape that stores one for every entry of X."""
    if weights is None:
        return ratings
    if getattr(weights, "shape", None) != ratings.shape:
        raise ValueError(
            f"weights must be a matrix of X's shape {ratings.shape}, got "
            f"{getattr(weights, 'shape', type(weights).__name__)}"
        )
    return over_entries(ratings.nnz, lambda: _weighted(weights, ratings))


def _weighted(weights: Any, ratings: Ratings) -> Ratings:
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
    values = cast(csr.data[at], ratings.values.dtype)
    most = RANGE[values.dtype.name][1]
    if not (values >= 0).all() or (values > most).any():
        raise ValueError(
            f"weights must be finite and not negative, and no more than {most:g}, got values from "
            f"{values.min():g} to {values.max():g}"
        )
    if values.size and not values.any():
        raise ValueError("weights are 0 for every entry of X: one at least must be above 0")
    return Ratings(ratings.shape, ratings.indptr, ratings.indices, ratings.values, values)

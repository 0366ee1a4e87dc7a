"""Which numbers a matrix may hold (no sum of squares over- or underflows), which zeros count."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from matfac import _engine
from matfac._engine import Floats

if TYPE_CHECKING:
    from matfac._ratings import Ratings

# Between these magnitudes squares, and sums of them, neither vanish nor overflow.
RANGE = {"float32": (1e-15, 1e15), "float64": (1e-120, 1e120)}


def cast(values: NDArray[Any], dtype: np.dtype[Any]) -> Floats:
    """Return values in the factors' dtype; too large ones become infinite."""
    with np.errstate(over="ignore"):  # check_values meets the infinity
        return values.astype(dtype, copy=False)


def check_values(
    ratings: Ratings, given: NDArray[Any], implicit: bool, name: str, argument: str, n_threads: int
) -> float:
    """Refuse NaN, infinity, what overflows and, where `implicit`, what is negative.

    `given` are the values before `cast`. Returns the least value, 0 where there is none.
    """
    values = ratings.values
    # Both are NaN where a value is not finite.
    least, most = _engine.value_range(values, n_threads)
    if math.isnan(least) and not np.isfinite(given).all():
        row, column, value = _locate(ratings, given, ~np.isfinite(given))
        what = "NaN" if math.isnan(value) else "infinity"
        raise ValueError(
            f"{argument} contains {what}: {argument}[{row}, {column}] = {value}; remove the entry "
            "(an entry that is not stored is unknown) or give it a finite value"
        )
    limit = RANGE[values.dtype.name][1]
    if not max(-least, most) <= limit:  # also where the cast made infinity of one
        row, column, value = _locate(ratings, given, np.abs(values) > limit)
        other = ", or fit with dtype='float64'" if values.dtype == np.float32 else ""
        raise ValueError(
            f"{argument}[{row}, {column}] = {value:g} is beyond {limit:g}, where sums of squares "
            f"overflow {values.dtype}: divide {argument} by a constant{other}"
        )
    if implicit and least < 0:
        row, column, value = _locate(ratings, given, values < 0)
        raise ValueError(
            f"Negative values in data passed to {name}: {argument}[{row}, {column}] = {value:g}; "
            "a confidence cannot be negative: remove such entries, or use ExplicitMF for ratings"
        )
    return least


def _locate(
    ratings: Ratings, given: NDArray[Any], mask: NDArray[np.bool_]
) -> tuple[int, int, float]:
    entry = int(np.flatnonzero(mask)[0])
    return *place_of(ratings, entry), float(given[entry])


def place_of(csr: Any, entry: int) -> tuple[int, int]:
    """Return row and column of a stored entry."""
    row = int(np.searchsorted(csr.indptr, entry, side="right")) - 1
    return row, int(csr.indices[entry])


def rating_scale(ratings: Ratings) -> float:
    """Return the standard deviation of ratings; of constants their size, and of zeros 1.

    Refuses ratings that differ by so little that their squares vanish.
    """
    least = RANGE[ratings.values.dtype.name][0]
    spread = math.sqrt(ratings.variance)
    if 0 < spread < least:
        other = ", or fit with dtype='float64'" if ratings.values.dtype == np.float32 else ""
        raise ValueError(
            f"X has a standard deviation of {spread:.3g}, below {least:g}, where squares vanish in "
            f"{ratings.values.dtype}: multiply X by a constant{other}"
        )
    size = abs(float(ratings.values[0]))
    return spread or (size if size >= least else 1.0)


def check_some_above_zero(ratings: Ratings) -> None:
    """Refuse ratings of which products of factors >= 0 would say 0 alike."""
    most = ratings.values.max()
    if most <= 0:
        raise ValueError(
            f"X has no rating above 0, the largest is {most:g}: with nonnegative=True and "
            "fit_bias=False all predictions would be 0; give fit_bias=True, or shift X"
        )


def as_csr(X: Any, argument: str) -> Any:
    """Return a sparse matrix as CSR; the zeros that fill up the blocks of BSR are no entries."""
    if hasattr(X, "indptr"):
        _check_pointers(X, argument)
    if X.format == "csr":
        return X
    csr = sp.csr_array(X)
    if X.format == "bsr":
        csr.eliminate_zeros()
    return csr


def _check_pointers(X: Any, argument: str) -> None:
    """Refuse arrays, set by hand, that scipy.sparse would follow out of others.

    Of CSR, the indices are the core's to check.
    """
    pointers, indices = X.indptr, X.indices
    if pointers[0] != 0 or pointers[-1] > len(indices) or (pointers[1:] < pointers[:-1]).any():
        what = f"indptr must start with 0, never fall and end within the {len(indices)} indices"
        raise _of_arrays(argument, what)
    if X.format == "csr" or not len(indices):
        return
    limit = X.shape[0] if X.format == "csc" else X.shape[1] // X.blocksize[1]
    least, most = indices.min(), indices.max()
    if least < 0 or most >= limit:
        what = f"indices must lie in 0..{limit - 1}, not {least if least < 0 else most}"
        raise _of_arrays(argument, what)


@contextlib.contextmanager
def arrays_of(argument: str) -> Iterator[None]:
    """Name the argument where the core refuses its arrays."""
    try:
        yield
    except ValueError as error:
        raise _of_arrays(argument, str(error)) from error


def _of_arrays(argument: str, what: str) -> ValueError:
    return ValueError(
        f"{argument}.{what}; {argument}.check_format() checks what {argument} was made of"
    )

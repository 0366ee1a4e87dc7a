"""The entries of a matrix or an Interactions with their times, for splits and weights."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from matfac._assemble import check_times
from matfac._interruptible import over_entries
from matfac._validation import check_sparse
from matfac.interactions import Interactions


def check_time(name: str, value: Any) -> int | float:
    """Return one point in time as the number that `check_times` makes of it."""
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{name} must be a number or a point in time, got {value!r}") from None
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        value = value.astimezone(dt.timezone.utc).replace(tzinfo=None)
    if isinstance(value, dt.date):
        value = np.datetime64(value)
    array = np.asarray(value)
    if array.ndim or array.dtype.kind not in "iufM":
        raise TypeError(f"{name} must be a number or a point in time, got {value!r}")
    if not np.isfinite(array):  # NaT is not either
        raise ValueError(f"{name} must be finite, got {value!r}")
    return check_times(array.reshape(1))[0].item()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Entries:
    """A canonical CSR matrix, the times of its entries, and what it was made from."""

    csr: Any
    times: NDArray[Any] | None
    source: Interactions | None

    @classmethod
    def of(cls, X: Any, timestamps: ArrayLike | None) -> Entries:
        """Check a user's matrix, or Interactions, and the times of its entries."""
        if isinstance(X, Interactions):
            if timestamps is not None:
                raise ValueError("timestamps go with a matrix: an Interactions has its own")
            made = cls(X.matrix, X.timestamps, X)
        else:
            csr = check_sparse(X, "X")
            if timestamps is None:
                made = cls(csr, None, None)
            else:
                if X.format != "csr" or not X.has_canonical_format:
                    raise ValueError(
                        "timestamps need a CSR matrix with sorted rows and no duplicates, whose "
                        "entries they follow: X.tocsr() and X.sum_duplicates() make one"
                    )
                made = cls(csr, check_times(timestamps), None)
                if made.times is not None and len(made.times) != csr.nnz:
                    raise ValueError(
                        f"timestamps has {len(made.times)} values, but X has {csr.nnz} entries"
                    )
        if made.csr.nnz == 0:
            raise ValueError("X has no stored entries")
        return made

    @property
    def counts(self) -> NDArray[np.int64]:
        """Entries of each row."""
        return np.asarray(np.diff(self.csr.indptr), np.int64)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Row of each entry."""
        return np.repeat(np.arange(self.csr.shape[0]), self.counts)

    def known_times(self, otherwise: str) -> NDArray[Any]:
        """Return the times, or raise saying what to do instead."""
        if self.times is None:
            raise ValueError(
                "X has no timestamps: give timestamps, one per entry, or an Interactions made with "
                f"timestamps{otherwise}"
            )
        return self.times

    def take(self, keep: NDArray[np.bool_], rows: NDArray[np.int64] | None = None) -> Any:
        """Return the chosen entries as what was given; of the chosen rows alone where given."""
        return over_entries(len(keep), lambda: self._take(keep, rows))

    def _take(self, keep: NDArray[np.bool_], rows: NDArray[np.int64] | None) -> Any:
        running = np.concatenate(([0], np.cumsum(keep)))
        indptr = running[self.csr.indptr].astype(self.csr.indptr.dtype)
        matrix: Any = sp.csr_array(
            (self.csr.data[keep], self.csr.indices[keep], indptr), shape=self.csr.shape
        )
        times = None if self.times is None else self.times[keep]
        if rows is not None:
            if times is not None:
                chosen = np.zeros(self.csr.shape[0], bool)
                chosen[rows] = True
                times = times[chosen[self.rows[keep]]]
            matrix = matrix[rows]
        if self.source is None:
            return matrix
        users = self.source.user_ids
        return Interactions(
            matrix, users if rows is None else users[rows], self.source.item_ids, times
        )

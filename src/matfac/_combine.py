"""Interactions over other ids, by their values, and two parts together."""

from __future__ import annotations

import numbers
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from matfac._ids import IdIndex, factorize
from matfac._interruptible import over_entries

if TYPE_CHECKING:
    from typing_extensions import Self


class Combining:
    """The part of `Interactions` that makes new ones, and matrices, of them."""

    matrix: sp.csr_array
    timestamps: NDArray[Any] | None
    _users: IdIndex
    _items: IdIndex

    def _set(
        self, matrix: sp.csr_array, users: IdIndex, items: IdIndex, times: NDArray[Any] | None
    ) -> None:
        self.matrix = matrix
        self.timestamps = times
        self._users, self._items = users, items

    def _alike(
        self, matrix: sp.csr_array, users: IdIndex, items: IdIndex, times: NDArray[Any] | None
    ) -> Self:
        made = type(self).__new__(type(self))
        made._set(matrix, users, items, times)
        return made

    def aligned(self, user_ids: ArrayLike, item_ids: ArrayLike) -> sp.csr_array:
        """Return the matrix with rows and columns numbered as other ids are.

        Parameters
        ----------
        user_ids, item_ids : array-like of shape (m,) and (n,)
            Distinct ids, in the order wanted. Entries of users or items not among them are left
            out; ids without entries get empty rows and columns.

        Returns
        -------
        scipy.sparse.csr_array of shape (m, n)

        Examples
        --------
        >>> from matfac import Interactions
        >>> data = Interactions.from_arrays(["ann", "bob"], ["x", "y"], [4.0, 5.0])
        >>> data.aligned(["bob", "cy"], ["z", "y"]).toarray()
        array([[0., 5.],
               [0., 0.]], dtype=float32)
        """
        users, items = IdIndex(user_ids, "user_ids"), IdIndex(item_ids, "item_ids")
        counts = np.diff(self.matrix.indptr)
        rows = np.repeat(users.rows_of(self._users, "user_ids"), counts)
        columns = items.rows_of(self._items, "item_ids")[self.matrix.indices]
        keep = (rows >= 0) & (columns >= 0)
        return sp.csr_array(
            (self.matrix.data[keep], (rows[keep], columns[keep])), shape=(len(users), len(items))
        )

    def _where(self, compare: Callable[[Any, Any], Any], bound: Any) -> Self:
        if not isinstance(bound, numbers.Real) or isinstance(bound, bool):
            return NotImplemented  # type: ignore[no-any-return]
        return over_entries(self.matrix.nnz, lambda: self._kept(compare(self.matrix.data, bound)))

    def _kept(self, keep: NDArray[np.bool_]) -> Self:
        indptr = np.concatenate(([0], np.cumsum(keep)))[self.matrix.indptr]
        values = np.ones(int(keep.sum()), self.matrix.dtype)
        matrix = sp.csr_array((values, self.matrix.indices[keep], indptr), shape=self.matrix.shape)
        times = None if self.timestamps is None else self.timestamps[keep]
        return self._alike(matrix, self._users, self._items, times)

    def __ge__(self, bound: float) -> Self:
        """Return the entries of at least `bound`, each with the value 1; likewise >, <= and <.

        Examples
        --------
        >>> from matfac import Interactions
        >>> data = Interactions.from_arrays(["ann", "bob"], ["x", "y"], [4.0, 2.0])
        >>> data >= 4
        Interactions(2 users x 2 items, 1 entries, float32)
        """
        return self._where(operator.ge, bound)

    def __gt__(self, bound: float) -> Self:
        return self._where(operator.gt, bound)

    def __le__(self, bound: float) -> Self:
        return self._where(operator.le, bound)

    def __lt__(self, bound: float) -> Self:
        return self._where(operator.lt, bound)

    def __add__(self, other: Self) -> Self:
        """Return the entries of two disjoint parts together, over the users and items of both.

        Raises
        ------
        TypeError, ValueError
            An entry in both parts, ids of two kinds, or timestamps in one part alone.

        Examples
        --------
        >>> from matfac import Interactions
        >>> data = Interactions.from_arrays(["ann"], ["x"], [4.0])
        >>> data + Interactions.from_arrays(["ann", "bob"], ["y", "x"], [2.0, 3.0])
        Interactions(2 users x 2 items, 3 entries, float32)
        """
        if not isinstance(other, Combining):
            return NotImplemented
        both: Self = over_entries(self.matrix.nnz + other.matrix.nnz, lambda: _joined(self, other))
        return both


def _joined(one: Any, other: Any) -> Any:
    if (one.timestamps is None) != (other.timestamps is None):
        raise ValueError(
            "one of the parts has timestamps and the other none: make both with, or both without"
        )
    users = _union(one._users, other._users, "user_ids")
    items = _union(one._items, other._items, "item_ids")
    row, column = (np.concatenate(both) for both in zip(
        *(_places(part, users, items) for part in (one, other)), strict=True
    ))  # fmt: skip
    order = np.lexsort((column, row))
    row, column = row[order], column[order]
    twice = np.flatnonzero((row[1:] == row[:-1]) & (column[1:] == column[:-1]))
    if len(twice):
        user, item = users.ids[row[twice[0]]].item(), items.ids[column[twice[0]]].item()
        raise ValueError(
            f"{len(twice):,} entries are in both parts, that of user {user!r} and item {item!r} "
            "for one: add disjoint parts, or read them as one table, where duplicates= says what "
            "becomes of such entries"
        )
    indptr = np.searchsorted(row, np.arange(len(users) + 1))
    values = np.concatenate((one.matrix.data, other.matrix.data))[order]
    times = None
    if one.timestamps is not None:
        times = np.concatenate((one.timestamps, other.timestamps))[order]
    matrix = sp.csr_array((values, column, indptr), shape=(len(users), len(items)))
    return one._alike(matrix, users, items, times)


def _union(one: IdIndex, other: IdIndex, argument: str) -> IdIndex:
    """Return the ids of both: in their order where it is the same, else sorted."""
    if one == other:
        return one
    if one.is_integer != other.is_integer:
        raise TypeError(
            f"the {argument} of one part are integers, those of the other strings: convert the "
            "strings to integers"
        )
    return factorize(np.concatenate((one.ids, other.ids)), argument)[0]


def _places(
    part: Any, users: IdIndex, items: IdIndex
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    row = np.repeat(users.lookup(part._users.ids), np.diff(part.matrix.indptr))
    return row, items.lookup(part._items.ids)[part.matrix.indices]

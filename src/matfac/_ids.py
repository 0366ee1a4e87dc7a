"""Ids and their row numbers."""

from __future__ import annotations

import difflib
from bisect import bisect
from collections import defaultdict
from collections.abc import Callable
from functools import cached_property
from itertools import repeat
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from matfac._bounds import fixed_width
from matfac._clean_ids import RowOf, chunks, clean_ids
from matfac._interruptible import over_entries
from matfac._validation import check_choice

MAX_IDS = 2**31 - 1
NEAR = 32  # known ids on either side, in sorted order, that are searched for a close spelling


class IdIndex:
    """The ids of a matrix's rows (or columns) and the row of each id.

    Parameters
    ----------
    ids : array-like of shape (n,)
        Distinct ids, integers or strings, in the order of the rows.
    argument : str, default="ids"
        What messages call them.

    Attributes
    ----------
    ids : ndarray of shape (n,)
        int64 or unicode, read-only.

    Examples
    --------
    >>> from matfac._ids import IdIndex
    >>> index = IdIndex(["ann", "bob"])
    >>> index.lookup(["bob", "ann", "bob"])
    array([1, 0, 1])
    >>> index.take([1, -1])
    array(['bob', ''], dtype='<U3')
    """

    ids: NDArray[Any]

    def __init__(self, ids: Any, argument: str = "ids") -> None:
        array = clean_ids(ids, argument)
        if array.dtype.kind == "O":
            array = fixed_width(array.tolist(), argument)
        self._set(array)
        if not self._ordered:
            unique = np.sort(array)
            repeated = unique[1:][unique[1:] == unique[:-1]]
            if len(repeated):
                value = repeated[0].item()
                raise ValueError(f"{argument} must be distinct, but {value!r} occurs repeatedly")

    def _set(self, array: NDArray[Any]) -> None:
        if len(array) > MAX_IDS:
            raise ValueError(f"at most {MAX_IDS:,} ids can be numbered, got {len(array):,}")
        # A copy where the array is the caller's: the index must not change under the model.
        self.ids = array.copy() if array.flags.writeable else array
        self.ids.flags.writeable = False

    @classmethod
    def _trusted(cls, array: NDArray[Any]) -> IdIndex:
        """Wrap clean, distinct ids without checking them again."""
        array.flags.writeable = False
        index = cls.__new__(cls)
        index._set(array)
        return index

    @property
    def is_integer(self) -> bool:
        """Whether the ids are integers; else they are strings."""
        return bool(self.ids.dtype.kind == "i")

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdIndex) and np.array_equal(self.ids, other.ids)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Callable[..., IdIndex], tuple[NDArray[Any]]]:
        return IdIndex, (self.ids,)

    def __repr__(self) -> str:
        kind = "integer" if self.is_integer else "string"
        return f"IdIndex({len(self):,} {kind} ids)"

    @cached_property
    def _ordered(self) -> bool:
        return bool((self.ids[1:] > self.ids[:-1]).all())

    @cached_property
    def _table(self) -> tuple[int, NDArray[np.int64]] | None:
        """The row of each integer from the smallest id to the largest, where these lie dense."""
        if not len(self):
            return None
        low, high = int(self.ids.min()), int(self.ids.max())
        if high - low >= 4 * len(self) + 65536:
            return None
        table = np.full(high - low + 1, -1, np.int64)
        table[self.ids - low] = np.arange(len(self))
        return low, table

    @cached_property
    def _sorted(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        if self._ordered:
            return self.ids, np.arange(len(self))
        order = np.argsort(self.ids, kind="stable").astype(np.int64, copy=False)
        return self.ids[order], order

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {value: row for row, value in enumerate(self.ids.tolist())}

    def _find(self, values: NDArray[Any]) -> NDArray[np.int64]:
        if not len(self):
            return np.full(len(values), -1, np.int64)
        few = self._ordered and 16 * len(values) < len(self)  # a table would not pay
        if few or (self.is_integer and self._table is None):
            return self._search(values)
        if self.is_integer:
            assert self._table is not None
            low, table = self._table
            inside = (values >= low) & (values <= low + len(table) - 1)
            found = table[np.where(inside, values, low) - low]
            return np.where(inside, found, -1)
        found = np.empty(len(values), np.int64)
        for start, part in chunks(values):
            rows = map(self._rows.get, part, repeat(-1))
            found[start : start + len(part)] = np.fromiter(rows, np.int64, len(part))
        return found

    def _search(self, values: NDArray[Any]) -> NDArray[np.int64]:
        keys, order = self._sorted
        values = values if self.is_integer else values.astype(str)
        at = np.minimum(np.searchsorted(keys, values), len(keys) - 1)
        return np.where(keys[at] == values, order[at], -1)

    def lookup(
        self, values: Any, argument: str = "users", missing: str = "error"
    ) -> NDArray[np.int64]:
        """Return the row of each id.

        Parameters
        ----------
        values : array-like of ids, or one id
            Where the known ids are strings, integers stand for their decimal digits.
        argument : str, default="users"
            What messages call the ids.
        missing : {"error", "ignore"}, default="error"
            Whether an unknown id is an error or gets row -1.

        Returns
        -------
        ndarray of int64
            In the shape of `values`.

        Raises
        ------
        ValueError
            For unknown ids; the message names the first and counts the rest.
        TypeError
            For ids of another kind than the known ones.
        """
        check_choice("missing", missing, ("error", "ignore"))
        if np.ndim(values) == 0:
            return self.lookup([values], argument, missing).reshape(())
        array = clean_ids(values, argument)
        if not len(array):
            return np.empty(0, np.int64)
        if self.is_integer and array.dtype.kind != "i":
            raise TypeError(
                f"{argument} holds strings such as {str(array[0])!r}, but the known ids are "
                f"integers{self._example()}: convert the strings to integers"
            )
        if not self.is_integer and array.dtype.kind == "i":
            array = array.astype(str)
        found = self._find(array)
        if missing == "error" and found.min() < 0:
            self._raise_unknown(array, found, argument)
        return found

    def rows_of(self, others: IdIndex, argument: str) -> NDArray[np.int64]:
        """Return the row of each of another index's ids, or -1; `argument` names the ids here."""
        if self.is_integer and not others.is_integer:
            raise TypeError(
                f"{argument} holds integers{self._example()}, but the ids of the interactions are "
                f"strings{others._example()}: convert the strings to integers, or "
                "refit a model on strings"
            )
        return self.lookup(others.ids, argument, "ignore")

    def _example(self) -> str:
        return f" such as {self.ids[0].item()!r}" if len(self) else ""

    def _raise_unknown(
        self, values: NDArray[Any], found: NDArray[np.int64], argument: str
    ) -> NoReturn:
        at = int(np.argmin(found))
        count = int((found < 0).sum())
        first = values[at]
        close = self._close_to(first) if isinstance(first, str) else []
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        shown = repr(str(first)) if isinstance(first, str) else int(first)
        raise ValueError(
            f"{argument}: unknown id {shown}{hint} at position {at}; {count:,} of {len(values):,} "
            f"ids given are not among the {len(self):,} known ones{self._example()}: give only ids "
            "that occurred in the training data"
        )

    def _close_to(self, text: str) -> list[str]:
        """Return the known id spelt most like a text, if any is, of those that begin alike."""
        keys, _ = self._sorted
        at = bisect(keys, text)
        return difflib.get_close_matches(text, keys[max(at - NEAR, 0) : at + NEAR].tolist(), n=1)

    def take(self, indices: Any, pad: bool = True) -> NDArray[Any]:
        """Return the ids of rows.

        Parameters
        ----------
        indices : array-like of int, any shape
            Row numbers.
        pad : bool, default=True
            Whether -1 is allowed; it gives -1 where ids are integers, "" where they are strings.

        Returns
        -------
        ndarray
            Ids in the shape of `indices`.

        Raises
        ------
        IndexError
            If a row number is out of range.
        """
        rows = np.asarray(indices)
        if rows.dtype.kind not in "iu" and rows.size:
            raise TypeError(f"indices must be integers, got dtype {rows.dtype}")
        rows = rows.astype(np.int64, copy=False)
        lowest = -1 if pad else 0
        if rows.size and (rows.min() < lowest or rows.max() >= len(self)):
            wrong = rows[(rows < lowest) | (rows >= len(self))].flat[0]
            raise IndexError(f"indices must lie in {lowest}..{len(self) - 1}, got {wrong}")
        padded = rows < 0
        if not padded.any():
            return np.asarray(self.ids[rows])
        filler = np.array(-1 if self.is_integer else "", dtype=self.ids.dtype)
        if not len(self):
            return np.full(rows.shape, filler)
        return np.where(padded, filler, self.ids[np.where(padded, 0, rows)])


def factorize(values: Any, argument: str, row_of: RowOf = int) -> tuple[IdIndex, NDArray[np.int32]]:
    """Return the sorted distinct ids of `values` and, for each value, the row of its id."""
    array = clean_ids(values, argument, row_of)
    if array.dtype.kind == "i":
        return over_entries(len(array), lambda: _factorize_integers(array))
    rows: defaultdict[str, int] = defaultdict()
    rows.default_factory = rows.__len__
    codes = np.empty(len(array), np.int32)
    for start, part in chunks(array):
        codes[start : start + len(part)] = np.fromiter(
            map(rows.__getitem__, part), np.int32, len(part)
        )
    ids = fixed_width(list(rows), argument)
    order = np.argsort(ids, kind="stable")
    rank = np.empty(len(ids), np.int32)
    rank[order] = np.arange(len(ids), dtype=np.int32)
    return IdIndex._trusted(ids[order]), rank[codes]


def _factorize_integers(array: NDArray[np.int64]) -> tuple[IdIndex, NDArray[np.int32]]:
    if not len(array):
        return IdIndex._trusted(array.copy()), np.empty(0, np.int32)
    low, high = int(array.min()), int(array.max())
    if high - low < 4 * len(array) + 65536:
        present = np.zeros(high - low + 1, np.bool_)
        present[array - low] = True
        rank = np.cumsum(present, dtype=np.int32) - np.int32(1)
        return IdIndex._trusted(np.flatnonzero(present) + low), rank[array - low]
    ids = np.sort(array)
    ids = ids[np.concatenate(([True], ids[1:] != ids[:-1]))]
    # Half the time of np.unique with its inverse.
    return IdIndex._trusted(ids), np.searchsorted(ids, array).astype(np.int32)


def recode(
    categories: Any, codes: NDArray[np.integer[Any]], argument: str
) -> tuple[IdIndex, NDArray[np.int32]]:
    """Return what `factorize` returns, from dictionary-coded ids; unused categories are dropped."""
    return over_entries(len(codes), lambda: _recode(categories, codes, argument))


def _recode(
    categories: Any, codes: NDArray[np.integer[Any]], argument: str
) -> tuple[IdIndex, NDArray[np.int32]]:
    used = np.flatnonzero(np.bincount(codes, minlength=len(categories)))

    def row_of(category: int) -> int:
        return int(np.argmax(codes == used[category]))

    index, rank = factorize(np.asarray(categories)[used], argument, row_of)
    table = np.zeros(len(categories), np.int32)
    table[used] = rank
    return index, table[codes]

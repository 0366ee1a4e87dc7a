"""Ids <-> indices, and tables of interactions -> a users x items matrix."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from matfac._assemble import assemble, canonical, check_numbers, check_rule, check_times
from matfac._combine import Combining
from matfac._frames import Columns, read_frame, read_parquet
from matfac._ids import IdIndex, factorize
from matfac._readers import read_text
from matfac._validation import check_path

TEXT = (".csv", ".tsv", ".tab", ".txt", ".dat", ".data")


class Interactions(Combining):
    """Who met what: a sparse matrix of users x items, with the ids of its rows and columns.

    Made by `from_arrays`, `from_frame`, `from_csv`, `from_parquet` or `read`; or directly from a
    matrix and the ids of its rows and columns.

    Parameters
    ----------
    matrix : sparse array or matrix of shape (n_users, n_items)
        Stored entries are the known ones; duplicates are summed.
    user_ids, item_ids : array-like of shape (n_users,) and (n_items,)
        Distinct ids, integers or strings.
    timestamps : array-like of shape (nnz,), default=None
        Times of the entries in the order of a canonical CSR matrix.

    Attributes
    ----------
    matrix : scipy.sparse.csr_array of shape (n_users, n_items)
        Rows sorted, no duplicates, finite values; float32 or float64.
    user_ids, item_ids : ndarray
        int64 or unicode; the id of each row and column.
    timestamps : ndarray of shape (nnz,), or None
        int64 or float64, in the order of ``matrix.data``.

    Notes
    -----
    Ids: whole numbers, also as floats or bools, become int64; anything else becomes a string.
    Missing ids are errors. Rows and columns are numbered in the order of their sorted ids.

    Duplicates: where a pair occurs in several rows of the table, `duplicates` says what becomes of
    them: "last" or "first" keeps one row, by timestamp if there are timestamps (the later row
    where these are equal), else by place; "sum", "mean" and "max" combine the values and keep the
    latest timestamp; "error" raises. None, the default, means "last" where there are values, and
    "sum" where there are none: each row then is an event, counted as 1.

    ``data >= 4`` (and >, <=, <) keeps the entries of which it is true, each with the value 1, and
    all ids; ``train + validation`` joins two parts that share no entry.

    Examples
    --------
    >>> from matfac import Interactions
    >>> data = Interactions.from_arrays(["ann", "bob", "ann"], [10, 10, 7], [4.0, 5.0, 1.0])
    >>> data
    Interactions(2 users x 2 items, 3 entries, float32)
    >>> data.user_ids, data.item_ids
    (array(['ann', 'bob'], dtype='<U3'), array([ 7, 10]))
    >>> data.matrix.toarray()
    array([[1., 4.],
           [0., 5.]], dtype=float32)
    """

    def __init__(
        self, matrix: Any, user_ids: ArrayLike, item_ids: ArrayLike, timestamps: Any = None
    ) -> None:
        csr, times = canonical(matrix, timestamps)
        users, items = IdIndex(user_ids, "user_ids"), IdIndex(item_ids, "item_ids")
        if csr.shape != (len(users), len(items)):
            raise ValueError(
                f"matrix has shape {csr.shape}, but there are {len(users)} user_ids and "
                f"{len(items)} item_ids"
            )
        self._set(csr, users, items, times)

    @classmethod
    def _from_columns(
        cls, columns: Columns, duplicates: str | None, dtype: DTypeLike, where: str = ""
    ) -> Interactions:
        matrix, times = assemble(columns, duplicates, dtype, where)
        made = cls.__new__(cls)
        made._set(matrix, columns.users[0], columns.items[0], times)
        return made

    @classmethod
    def from_arrays(
        cls,
        users: ArrayLike,
        items: ArrayLike,
        values: ArrayLike | None = None,
        *,
        timestamps: ArrayLike | None = None,
        duplicates: str | None = None,
        dtype: DTypeLike = "float32",
    ) -> Interactions:
        """Make interactions from parallel arrays.

        Parameters
        ----------
        users, items : array-like of shape (n,)
            The id of the user and of the item of each row.
        values : array-like of shape (n,), default=None
            Ratings, counts or weights. None: each row is one event.
        timestamps : array-like of shape (n,), default=None
            Numbers; or dates or datetimes, UTC or zoned, which become seconds since 1970.
        duplicates : {"last", "first", "sum", "mean", "max", "error"}, default=None
            What becomes of pairs that occur again; see the class.
        dtype : {"float32", "float64"}, default="float32"
            Of the matrix.

        Returns
        -------
        Interactions

        Raises
        ------
        ValueError, TypeError
            Naming the argument, the row and the value.

        Examples
        --------
        >>> from matfac import Interactions
        >>> plays = Interactions.from_arrays([7, 7, 9], ["a", "a", "b"])
        >>> plays.matrix.toarray()
        array([[2., 0.],
               [0., 1.]], dtype=float32)
        """
        check_rule(duplicates)
        coded = factorize(users, "users"), factorize(items, "items")
        numbers = None if values is None else check_numbers(values, "values")
        times = None if timestamps is None else check_times(timestamps)
        named = {"users": coded[0][1], "items": coded[1][1], "values": numbers, "timestamps": times}
        lengths = {name: len(array) for name, array in named.items() if array is not None}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
            raise ValueError(f"users, items, values and timestamps differ in length: {shown}")
        return cls._from_columns(Columns(*coded, numbers, times), duplicates, dtype)

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        user: str = "user",
        item: str = "item",
        value: str | None = "rating",
        timestamp: str | None = None,
        duplicates: str | None = None,
        dtype: DTypeLike = "float32",
    ) -> Interactions:
        """Make interactions from a pandas, polars or PyArrow table.

        Parameters
        ----------
        frame : DataFrame or table
            Anything narwhals knows, lazy frames too, or with ``__arrow_c_stream__``. Numeric
            columns are read in place.
        user, item : str, default="user", "item"
            Columns of ids.
        value : str or None, default="rating"
            Column of values; None: each row is one event.
        timestamp : str, default=None
            Column of numbers, dates or datetimes; the latter two become seconds since 1970.
        duplicates, dtype
            As in `from_arrays`.

        Returns
        -------
        Interactions

        Raises
        ------
        ValueError, TypeError
            Naming the column, the row and the value.
        ImportError
            If narwhals is not installed.

        Examples
        --------
        >>> from matfac import Interactions
        >>> import polars as pl  # doctest: +SKIP
        >>> frame = pl.DataFrame({"user": [1, 2], "book": ["x", "y"]})  # doctest: +SKIP
        >>> Interactions.from_frame(frame, item="book", value=None)  # doctest: +SKIP
        Interactions(2 users x 2 items, 2 entries, float32)
        """
        check_rule(duplicates)
        columns = read_frame(frame, user, item, value, timestamp, "frame")
        return cls._from_columns(columns, duplicates, dtype, "frame: ")

    @classmethod
    def from_csv(
        cls,
        path: str | os.PathLike[str],
        *,
        sep: str | None = None,
        header: bool | None = None,
        user: int | str = 0,
        item: int | str = 1,
        value: int | str | None = 2,
        timestamp: int | str | None = None,
        duplicates: str | None = None,
        encoding: str = "utf-8",
        dtype: DTypeLike = "float32",
    ) -> Interactions:
        r"""Read a text file with one interaction a line; a name ending in .gz is unzipped.

        Parameters
        ----------
        path : path-like
            The file. Blank lines are skipped.
        sep : str, default=None
            The separator; " " is any white space. None: told from the first line, among tab,
            "::", ",", ";", "|" and white space. Quotation marks are honoured where it is one
            character other than " ".
        header : bool, default=None
            Whether the first line names the columns. None: it does where a column is asked for
            by name, or where its value (or else its timestamp) is no number and its ids are not
            both numbers; without either, where its ids are names such as "user_id" or are no
            numbers while one in the next line is.
        user, item : int or str, default=0, 1
            The fields of the ids: numbers from 0, or names in the header. Left at 0, 1 and 2, the
            fields are those that a header calls by the usual names, as in "rating,user_id,movieId",
            else the first three. Ids are integers where all in the column are written plainly (no
            leading 0 or +), else strings.
        value : int, str or None, default=2
            The field of the values. None: each line is one event.
        timestamp : int or str, default=None
            The field of the times: numbers, or ISO 8601, which become seconds since 1970 (UTC
            unless they name another zone).
        duplicates, dtype
            As in `from_arrays`.
        encoding : str, default="utf-8"
            Of the text.

        Returns
        -------
        Interactions

        Raises
        ------
        ValueError
            Naming the file, the line, the column and the text.
        OSError
            If the file cannot be opened.

        Examples
        --------
        >>> from pathlib import Path
        >>> from matfac import Interactions
        >>> _ = Path("ratings.csv").write_text("user,item,rating\nann,x,5\nbob,x,3\nbob,y,4\n")
        >>> Interactions.from_csv("ratings.csv")
        Interactions(2 users x 2 items, 3 entries, float32)
        """
        check_rule(duplicates)
        columns = read_text(
            path, sep=sep, header=header, encoding=encoding,
            wanted={"user": user, "item": item, "value": value, "timestamp": timestamp},
        )  # fmt: skip
        return cls._from_columns(columns, duplicates, dtype, f"{os.fspath(path)}: ")

    @classmethod
    def from_parquet(
        cls,
        path: str | os.PathLike[str],
        *,
        user: str = "user",
        item: str = "item",
        value: str | None = "rating",
        timestamp: str | None = None,
        duplicates: str | None = None,
        dtype: DTypeLike = "float32",
    ) -> Interactions:
        """Read the named columns of a Parquet file, or of a folder of them.

        Needs PyArrow (``pip install matfac[frames]``) or polars. Parameters, result and errors
        are those of `from_frame`.
        """
        check_rule(duplicates)
        columns = read_parquet(path, user, item, value, timestamp)
        return cls._from_columns(columns, duplicates, dtype, f"{os.fspath(path)}: ")

    @classmethod
    def read(cls, path: str | os.PathLike[str], **columns: Any) -> Interactions:
        r"""Read a file by its extension.

        Parameters
        ----------
        path : path-like
            .parquet or .pq, or a folder of such, is read by `from_parquet`; .csv, .tsv, .tab,
            .txt, .dat and .data, also with .gz behind, by `from_csv`.
        **columns
            Passed on.

        Examples
        --------
        >>> from pathlib import Path
        >>> from matfac import Interactions
        >>> _ = Path("plays.dat").write_text("1::10::978300760\n1::12::978302109\n")
        >>> Interactions.read("plays.dat", value=None, timestamp=2)
        Interactions(1 users x 2 items, 2 entries, float32, with timestamps)
        """
        name = os.fspath(check_path("path", path)).lower()
        if name.endswith((".parquet", ".pq")) or os.path.isdir(path):
            return cls.from_parquet(path, **columns)
        if name.removesuffix(".gz").endswith(TEXT):
            return cls.from_csv(path, **columns)
        endings = f".parquet or {', '.join(TEXT)} (with or without .gz)"
        say = f"give a file ending in {endings}, or call from_csv or from_parquet"
        raise ValueError(f"cannot tell what {os.fspath(path)!r} holds: {say}")

    @property
    def user_ids(self) -> NDArray[Any]:
        """The id of each row."""
        return self._users.ids

    @property
    def item_ids(self) -> NDArray[Any]:
        """The id of each column."""
        return self._items.ids

    @property
    def shape(self) -> tuple[int, int]:
        """(n_users, n_items)."""
        return len(self._users), len(self._items)

    @property
    def nnz(self) -> int:
        """Number of stored entries."""
        return int(self.matrix.nnz)

    def __repr__(self) -> str:
        timed = "" if self.timestamps is None else ", with timestamps"
        return (
            f"Interactions({self.shape[0]:,} users x {self.shape[1]:,} items, "
            f"{self.nnz:,} entries, {self.matrix.dtype}{timed})"
        )

    def user_index(self, ids: Any, missing: str = "error") -> NDArray[np.int64]:
        """Return the row of each user id, in the shape of `ids`.

        An unknown id is a ValueError, or gets row -1 where `missing` is "ignore".
        """
        return self._users.lookup(ids, "users", missing)

    def item_index(self, ids: Any, missing: str = "error") -> NDArray[np.int64]:
        """Return the column of each item id; as `user_index`."""
        return self._items.lookup(ids, "items", missing)

    def encode(
        self, users: Any, items: Any, missing: str = "error"
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of `users` and the columns of `items`, which have the same length."""
        rows, columns = self.user_index(users, missing), self.item_index(items, missing)
        if rows.shape != columns.shape:
            raise ValueError(
                f"users and items must have the same length, got {rows.size} and {columns.size}"
            )
        return rows, columns

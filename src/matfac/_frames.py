"""Columns of pandas, polars, PyArrow and other frames, and of Parquet files."""

from __future__ import annotations

import datetime as dt
import os
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matfac import _engine
from matfac._bounds import check_unpacked
from matfac._ids import IdIndex, factorize, recode
from matfac._interruptible import over_entries

CAST = "convert text by pandas.to_datetime, periods by their to_timestamp()"

Coded: TypeAlias = tuple[IdIndex, NDArray[np.int32]]


class Columns(NamedTuple):
    """What a table says: the ids and, for each row, their numbers; values and times in seconds."""

    users: Coded
    items: Coded
    values: NDArray[Any] | None
    times: NDArray[Any] | None


def read_frame(
    frame: Any, user: str, item: str, value: str | None, timestamp: str | None, where: str
) -> Columns:
    """Read the named columns of a frame; `where` is what messages call it."""
    nw = _narwhals()
    try:
        table = _from_native(nw, frame)
        present = table.collect_schema().names()
    except nw.exceptions.DuplicateError as error:
        found = " ".join(str(error).split())
        raise ValueError(f"{where} must have distinct names of columns: {found}") from error
    wanted = {"user": user, "item": item, "value": value, "timestamp": timestamp}
    for name in getattr(getattr(frame, "index", None), "names", ()):
        if name is not None and name in set(wanted.values()) - set(present):
            raise ValueError(
                f"{where} has {name!r} in its index, not as a column: give {where}.reset_index()"
            )
    check_columns(wanted, present, where)
    table = table.select([name for name in wanted.values() if name is not None])
    if isinstance(table, nw.LazyFrame):
        table = table.collect()
    return Columns(
        _ids(nw, table[user], f"{where}: column {user!r}"),
        _ids(nw, table[item], f"{where}: column {item!r}"),
        None if value is None else _numbers(nw, table[value], f"{where}: column {value!r}"),
        None
        if timestamp is None
        else _times(nw, table[timestamp], f"{where}: column {timestamp!r}"),
    )


def check_columns(wanted: dict[str, str | None], present: list[str], where: str) -> None:
    """Raise unless the wanted columns are there and differ."""
    named: dict[str, str] = {}
    for argument, name in wanted.items():
        if name is None:
            continue
        if not isinstance(name, str):
            raise TypeError(f"{argument} must be the name of a column, got {name!r}")
        if name not in present:
            instead = " (None where there are no values)" if argument == "value" else ""
            raise ValueError(
                f"{where} has no column {name!r}; it has {', '.join(map(repr, present))}: "
                f"name the column with {argument}={instead}"
            )
        if name in named:
            raise ValueError(f"{argument} and {named[name]} name the same column, {name!r}")
        named[name] = argument


def _narwhals() -> Any:
    try:
        import narwhals.stable.v1 as nw
    except ImportError as error:
        raise ImportError("reading a frame needs narwhals: `pip install matfac[frames]`") from error
    return nw


def _from_native(nw: Any, frame: Any) -> Any:
    if isinstance(frame, (str, os.PathLike)):
        raise TypeError(f"frame must be a table, got the path {frame!r}: use Interactions.read")
    wrong = TypeError(
        "frame must be a pandas, polars or PyArrow table, or another with "
        f"__arrow_c_stream__, got {type(frame).__name__}"
        + (": make a series a table by reset_index()" if hasattr(frame, "to_frame") else "")
    )
    try:
        table = nw.from_native(frame)
        if nw.get_level(table) != "interchange":  # of such nothing can be read but by Arrow
            return table
    except TypeError as error:
        if not hasattr(frame, "__arrow_c_stream__"):
            raise wrong from error
    for module in ("pyarrow", "polars"):
        try:
            library = __import__(module)
        except ImportError:
            continue
        try:
            table = library.table(frame) if module == "pyarrow" else library.DataFrame(frame)
        except (TypeError, ValueError) as error:  # a stream of one column, say
            raise wrong from error
        return nw.from_native(table)
    raise ImportError(
        f"reading {type(frame).__name__} through Arrow needs pyarrow: `pip install matfac[frames]`"
    )


def _check_nulls(series: Any, label: str) -> None:
    missing = series.is_null()
    if missing.any():
        row = int(np.argmax(np.asarray(missing.to_numpy(), np.bool_)))
        raise ValueError(f"{label} is missing (null) in row {row} (from 0): drop such rows")


def _ids(nw: Any, series: Any, label: str) -> Coded:
    _check_nulls(series, label)
    dtype = series.dtype
    if dtype.is_numeric() or dtype == nw.Boolean:
        return factorize(series.to_numpy(), label)
    if dtype.is_temporal():
        raise TypeError(f"{label} must hold integers or strings, got {dtype}")
    encoded = over_entries(len(series), lambda: _encode(series, label))
    if encoded is not None:
        return recode(*encoded, label)
    values = np.empty(len(series), object)
    values[:] = series.to_list()
    return factorize(values, label)


def _encode(series: Any, label: str) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return the categories and codes of strings, where Arrow holds them as such."""
    try:
        import pyarrow as pa
    except ImportError:
        return None
    try:
        column = pa.chunked_array(series.to_arrow())
        if str(column.type) == "string_view":
            column = column.cast(pa.large_string())
    except (TypeError, pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return None  # a column of mixed Python objects
    coded = pa.types.is_dictionary(column.type)
    if not (coded or pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return None
    try:
        column.validate(full=True)  # Arrow files promise UTF-8 and codes in range; few keep watch
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{label} is damaged, or is not text in UTF-8: {reason}") from error
    return _decode(column) if coded else number_strings(column)


def _decode(column: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the categories and codes of a dictionary-encoded Arrow column."""
    chunks = column.unify_dictionaries().chunks
    if not chunks:
        return np.empty(0, object), np.empty(0, np.int32)
    codes = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in chunks])
    return chunks[0].dictionary.to_numpy(zero_copy_only=False), codes


def number_strings(column: Any) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Return the distinct strings of a valid Arrow column and, for each row, which it is."""
    import pyarrow as pa

    whole = column.cast(pa.large_string()).combine_chunks()
    if not len(whole):
        return np.empty(0, object), np.empty(0, np.int32)
    _, bounds, data = whole.buffers()
    bounds = np.frombuffer(bounds, np.int64)[whole.offset :][: len(whole) + 1]
    data = np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    codes, firsts = _engine.number_strings(bounds, data)
    return whole.take(pa.array(firsts)).to_numpy(zero_copy_only=False), codes


def _numbers(nw: Any, series: Any, label: str) -> NDArray[Any]:
    _check_nulls(series, label)
    if not (series.dtype.is_numeric() or series.dtype == nw.Boolean):
        raise TypeError(f"{label} must hold numbers, got {series.dtype}: cast it")
    numbers = np.asarray(series.to_numpy())
    return numbers.astype(np.float64) if numbers.dtype.kind == "O" else numbers


def _times(nw: Any, series: Any, label: str) -> NDArray[Any]:
    if series.dtype.is_numeric() or series.dtype == nw.Boolean:
        return _numbers(nw, series, label)
    _check_nulls(series, label)
    if series.dtype == nw.Object:
        points = datetimes_of(np.array([*series.to_list(), None], object)[:-1])
        if points is not None:
            return points.astype(np.int64) / 1e6
    if series.dtype == nw.Date:
        series = series.cast(nw.Datetime("us"))
    elif series.dtype != nw.Datetime:
        raise TypeError(
            f"{label} must hold numbers, dates or datetimes, got {series.dtype}: {CAST}"
        )
    return np.asarray(series.dt.timestamp("us").to_numpy()) / 1e6


def datetimes_of(objects: NDArray[Any]) -> NDArray[np.datetime64] | None:
    """Return dates and datetimes, in UTC where they name no zone; None where there are others."""
    points = objects.tolist()
    if not points or not all(isinstance(point, dt.date | None) for point in points):
        return None
    naive = [
        point.astimezone(dt.timezone.utc).replace(tzinfo=None)
        if getattr(point, "tzinfo", None) is not None
        else (point if point == point else None)  # NaT of pandas
        for point in points
    ]
    return np.array(naive, "datetime64[us]")


def read_parquet(
    path: str | os.PathLike[str],
    user: str,
    item: str,
    value: str | None,
    timestamp: str | None,
) -> Columns:
    """Read the named columns of a Parquet file, or of a folder of them."""
    where = os.fspath(path)
    os.stat(where)  # the operating system's own error where there is no file
    wanted = {"user": user, "item": item, "value": value, "timestamp": timestamp}
    names = [name for name in wanted.values() if name is not None]
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        return _read_parquet_by_polars(where, wanted, names)
    try:
        dataset = pq.ParquetDataset(where)
        if not dataset.fragments:
            raise ValueError(f"{where} holds no Parquet file")
        check_columns(wanted, dataset.schema.names, where)
        # Strings stay coded: a column of one long string, a million times, is that string once.
        coded = [n for n in (user, item) if pa.types.is_string(dataset.schema.field(n).type)]
        dataset = pq.ParquetDataset(where, read_dictionary=coded)
        rows = sum(map(_checked_rows, dataset.fragments))
        table = over_entries(rows, lambda: dataset.read(columns=names))
    except pa.ArrowException as error:
        raise _unreadable(where, error) from error
    return read_frame(table, user, item, value, timestamp, where)


def _checked_rows(fragment: Any) -> int:
    """Return a file's rows; raise where it would unpack to far more than it is, as it says."""
    groups = fragment.row_groups
    rows = sum(group.num_rows for group in groups)
    check_unpacked(fragment.path, max(16 * rows, sum(group.total_byte_size for group in groups)))
    return int(rows)


def _read_parquet_by_polars(where: str, wanted: dict[str, str | None], names: list[str]) -> Columns:
    try:
        import polars as pl
    except ImportError as error:
        raise ImportError(
            f"{where}: reading Parquet needs pyarrow: `pip install matfac[frames]`"
        ) from error
    try:
        lazy = pl.scan_parquet(where)
        check_columns(wanted, lazy.collect_schema().names(), where)
        strings = [pl.col(n) for n in names if lazy.collect_schema()[n] == pl.String]
        lengths = [column.str.len_bytes().cast(pl.Int64).sum() for column in strings]
        check_unpacked(where, sum(lazy.select(16 * pl.len(), *lengths).collect().row(0)))
        table = lazy.select(names).collect()
    except pl.exceptions.PolarsError as error:
        raise _unreadable(where, error) from error
    user, item, value, timestamp = wanted.values()
    assert user is not None
    assert item is not None
    return read_frame(table, user, item, value, timestamp, where)


def _unreadable(where: str, error: Exception) -> ValueError:
    return ValueError(f"{where} cannot be read as Parquet: {str(error).splitlines()[0]}")

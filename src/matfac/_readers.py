"""Text files of interactions: CSV, TSV and their relatives, gzipped or not."""

from __future__ import annotations

import csv
import gzip
import itertools
import os
import re
import zlib
from collections import defaultdict
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matfac._bounds import BoundedGzip, TooMuchError
from matfac._frames import Coded, Columns, number_strings
from matfac._ids import factorize, recode
from matfac._interruptible import over_entries
from matfac._text_layout import (
    Layout,
    find_layout,
    is_filled,
    numbered,
    open_text,
    seconds,
    split,
)

ROWS = 256  # in Python's hands at a time: many more fall out of the cache, and take twice as long
ARROW_FROM_BYTES = 1 << 20  # below, importing PyArrow takes longer than reading
INTEGER = re.compile(r"(-?[1-9][0-9]*|0)(?:\.0+)?")


def read_text(
    path: str | os.PathLike[str],
    *,
    sep: str | None,
    header: bool | None,
    encoding: str,
    wanted: dict[str, int | str | None],
) -> Columns:
    """Read the wanted columns of a text file."""
    try:
        layout = find_layout(os.fspath(path), sep, header, wanted, encoding)
        columns = _read_by_arrow(layout)
        if columns is not None:
            return columns
        try:
            return _read_rows(layout)
        except TooMuchError:
            raise
        except (ValueError, IndexError, OverflowError, csv.Error) as error:
            _diagnose(layout)
            raise ValueError(f"{layout.path}: {error}") from error
    except UnicodeError as error:
        raise ValueError(
            f"{os.fspath(path)} is not text in {encoding} ({error}): give encoding="
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{os.fspath(path)} is no whole gzip file: {error}") from error


def _check_plain(texts: tuple[str, ...]) -> None:
    """Refuse Python's 1_000, which is a number to no other program."""
    if "_" in "".join(texts):
        raise ValueError("a number with an underscore")


def _floats(texts: tuple[str, ...]) -> NDArray[np.float64]:
    _check_plain(texts)
    numbers = np.fromiter(map(float, texts), np.float64, len(texts))
    if not np.isfinite(numbers).all():
        raise ValueError("a value is not finite")
    return numbers


def _times(texts: tuple[str, ...], iso: bool) -> NDArray[Any]:
    """Read times as the file's first: ISO 8601, or numbers."""
    if iso:
        return np.fromiter(map(seconds, texts), np.float64, len(texts))
    _check_plain(texts)
    try:
        return np.fromiter(map(int, texts), np.int64, len(texts))
    except (ValueError, OverflowError):
        return _floats(texts)


def _is_plain(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _text_ids(texts: list[str], codes: NDArray[Any], label: str) -> Coded:
    """Number ids read as text: integers where all are written as such, else strings."""
    texts = [text.strip() for text in texts]
    integers = []
    for text in texts:
        match = INTEGER.fullmatch(text)
        if match is None:
            break
        integers.append(int(match[1]))
    else:
        if all(-(2**63) <= integer < 2**63 for integer in integers):
            return recode(np.array(integers, np.int64), codes, label)
    array = np.empty(len(texts), object)
    array[:] = texts
    return recode(array, codes, label)


def _read_rows(layout: Layout) -> Columns:
    """Read by the standard library, many rows at a time."""
    get = itemgetter(*layout.fields.values())
    known: list[defaultdict[str, int]] = [defaultdict(), defaultdict()]
    for numbering in known:
        numbering.default_factory = numbering.__len__
    iso: bool | None = None
    parts: dict[str, list[NDArray[Any]]] = {argument: [] for argument in layout.fields}
    with open_text(layout.path, layout.sep, layout.encoding) as file:
        rows = split(file, layout.sep)
        if layout.skip:
            next(row for row in rows if is_filled(row))
        while chunk := list(itertools.islice(rows, ROWS)):
            filled = [row for row in chunk if len(row) > 1 or is_filled(row)]
            if not filled:
                continue
            # The last column may carry the line's end: numbers and ids are stripped of it.
            columns = dict(zip(layout.fields, zip(*map(get, filled), strict=True), strict=True))
            for argument, numbering in zip(("user", "item"), known, strict=True):
                texts = columns[argument]
                codes = map(numbering.__getitem__, texts)
                parts[argument].append(np.fromiter(codes, np.int32, len(texts)))
            if "value" in columns:
                parts["value"].append(_floats(columns["value"]))
            if "timestamp" in columns:
                texts = columns["timestamp"]
                iso = not _is_plain(texts[0]) if iso is None else iso
                parts["timestamp"].append(_times(texts, iso))
    arrays = {argument: np.concatenate(part) for argument, part in parts.items()}
    return Columns(
        _text_ids(list(known[0]), arrays["user"], f"column {layout.labels['user']}"),
        _text_ids(list(known[1]), arrays["item"], f"column {layout.labels['item']}"),
        arrays.get("value"),
        arrays.get("timestamp"),
    )


def _read_by_arrow(layout: Layout) -> Columns | None:
    """Read by PyArrow; None where that is not installed, does not pay, or finds anything wrong."""
    plain = layout.encoding.lower() in ("utf-8", "utf8") and len(layout.sep) == 1
    if not plain or layout.sep == " " or Path(layout.path).stat().st_size < ARROW_FROM_BYTES:
        return None
    try:
        import pyarrow as pa
        import pyarrow.csv as pa_csv
    except ImportError:
        return None
    names = {argument: f"f{at}" for argument, at in layout.fields.items()}
    types = {names["user"]: pa.string(), names["item"]: pa.string()}
    if "value" in names:
        types[names["value"]] = pa.float64()
    try:
        packed = layout.path.lower().endswith(".gz")
        table = pa_csv.read_csv(
            BoundedGzip(layout.path) if packed else layout.path,
            read_options=pa_csv.ReadOptions(skip_rows=layout.skip, autogenerate_column_names=True),
            parse_options=pa_csv.ParseOptions(delimiter=layout.sep),
            convert_options=pa_csv.ConvertOptions(
                column_types=types, include_columns=list(names.values()), null_values=[]
            ),
        )
        numbers: dict[str, NDArray[Any]] = {}
        for argument in ("value", "timestamp"):
            if argument in names:
                numbers[argument] = table[names[argument]].to_numpy()
                if numbers[argument].dtype.kind not in "if":
                    return None
                if not np.isfinite(numbers[argument]).all():
                    return None
        users, items = (
            _arrow_ids(table[names[argument]], f"column {layout.labels[argument]}")
            for argument in ("user", "item")
        )
    except TooMuchError:
        raise
    except (pa.ArrowException, ValueError, OSError):
        return None
    return Columns(users, items, numbers.get("value"), numbers.get("timestamp"))


def _arrow_ids(column: Any, label: str) -> Coded:
    """Number ids that Arrow read as text, as `_text_ids` does."""
    coded = over_entries(len(column), lambda: _integers(column, label))
    if coded is None:
        categories, codes = over_entries(len(column), lambda: number_strings(column))
        coded = _text_ids(categories.tolist(), codes, label)
    return coded


def _integers(column: Any, label: str) -> Coded | None:
    """Number integers; None unless each is written in the one way in which Python writes it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        numbers = column.cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:
        return None
    index, codes = factorize(numbers, label)
    # No text of an integer is shorter: the sums are the same where all are.
    lengths = np.fromiter((len(str(number)) for number in index.ids.tolist()), np.int64, len(index))
    written = pc.sum(pc.binary_length(column)).as_py() or 0
    return (index, codes) if np.bincount(codes) @ lengths == written else None


def _diagnose(layout: Layout) -> None:
    """Go through the file row by row and raise at the first that is wrong."""
    iso: bool | None = None
    with open_text(layout.path, layout.sep, layout.encoding) as file:
        rows = numbered(layout.path, file, layout.sep)
        if layout.skip:
            next(rows)
        for line, row in rows:
            for argument, at in layout.fields.items():
                if at >= len(row):
                    raise ValueError(
                        f"{layout.path}, line {line}: {len(row)} field(s), but column "
                        f"{layout.labels[argument]} is field {at} (from 0), separator "
                        f"{layout.sep!r}: mend the line, or give sep="
                    )
                text = row[at].rstrip("\r\n")
                if argument in ("user", "item"):
                    if not text.strip():
                        layout.fail(line, argument, text, "is no id: drop the line")
                    if text.strip()[-1] == "\0":
                        layout.fail(line, argument, text, "ends in a NUL character: remove it")
                elif argument == "value":
                    _check_number(layout, line, argument, text)
                else:
                    iso = not _is_plain(text) if iso is None else iso
                    _check_time(layout, line, text, iso)


def _check_number(layout: Layout, line: int, argument: str, text: str) -> None:
    try:
        _check_plain((text,))
        number = float(text)
    except ValueError:
        wrong = f"is not a number: mend the line, or name the column by {argument}="
        if "," in text and _is_plain(text.replace(",", ".", 1)):
            wrong = "has a decimal comma: write numbers with a point"
        layout.fail(line, argument, text, wrong)
    if not np.isfinite(number):
        layout.fail(line, argument, text, "is not finite: drop the line, or give a number")


def _check_time(layout: Layout, line: int, text: str, iso: bool) -> None:
    if not iso:
        _check_number(layout, line, "timestamp", text)
        return
    try:
        seconds(text)
    except (ValueError, OverflowError):
        layout.fail(line, "timestamp", text, "is neither a number nor an ISO 8601 time")

"""How a text file of interactions is laid out: separator, header, columns, rows."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from operator import methodcaller
from typing import NoReturn, TextIO

import numpy as np

from matfac._bounds import BoundedGzip

DEFAULTS: dict[str, int | str | None] = {"user": 0, "item": 1, "value": 2, "timestamp": None}
USUAL_NAMES = {
    name: re.compile(pattern, re.IGNORECASE)
    for name, pattern in {
        "user": r"(user|customer|visitor|session)[ _-]?(id)?",
        "item": r"(item|movie|product|track|artist|book|song)[ _-]?(id)?",
        "value": r"(rating|score|star|value|count|play|weight)s?",
        "timestamp": r"time([ _-]?stamp)?|date([ _-]?time)?",
    }.items()
}


@dataclass(frozen=True)
class Layout:
    """Where a text file holds what."""

    path: str
    sep: str
    encoding: str
    skip: int  # lines up to the header's last, 0 without a header
    width: int  # fields of the first row
    fields: dict[str, int]  # argument -> position, for the columns wanted
    labels: dict[str, str]  # argument -> what messages call the column

    def fail(self, line: int, argument: str, text: str, what: str) -> NoReturn:
        """Raise for one field."""
        raise ValueError(
            f"{self.path}, line {line}, column {self.labels[argument]}: {text!r} {what}"
        )


def open_text(path: str, sep: str, encoding: str) -> TextIO:
    encoding = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    newline = "" if len(sep) == 1 else None  # the csv module wants line ends as they are
    if path.lower().endswith(".gz"):
        return io.TextIOWrapper(BoundedGzip(path), encoding, newline=newline)
    return open(path, encoding=encoding, newline=newline)


def split(file: TextIO, sep: str) -> Iterator[list[str]]:
    if sep == " ":
        return map(str.split, file)
    if len(sep) > 1:
        return map(methodcaller("split", sep), file)  # line ends stay on: stripping would cost
    return csv.reader(file, delimiter=sep)


def numbered(path: str, file: TextIO, sep: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, with the line where each ends."""
    rows = split(file, sep)
    line = 0
    try:
        for row in rows:
            line = getattr(rows, "line_num", line + 1)
            if is_filled(row):
                yield line, row
    except csv.Error as error:
        line = getattr(rows, "line_num", line)
        raise ValueError(
            f"{path}, line {line}: {error}; a quotation mark that is never closed, or no text file?"
        ) from error


def is_filled(row: list[str]) -> bool:
    return len(row) > 1 or bool(row and row[0].strip())


def _sniff(line: str, path: str) -> str:
    """Tell the separator from the first line."""
    name = path.lower().removesuffix(".gz")
    if "\t" in line and (name.endswith((".tsv", ".tab")) or "::" not in line):
        return "\t"
    if "::" in line:
        return "::"
    best = max(",;|", key=line.count)
    if best in line:
        return best
    if len(line.split()) > 1:
        return " "
    raise ValueError(
        f"{path}: cannot tell the separator from the first line, {line[:80]!r}: give sep="
    )


def find_layout(
    path: str,
    sep: str | None,
    header: bool | None,
    wanted: dict[str, int | str | None],
    encoding: str,
) -> Layout:
    """Look at the first rows and check what was asked for against them."""
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise ValueError(f"encoding {encoding!r} is unknown") from error
    bad_sep = not isinstance(sep, str) or not sep or sep in '"\r\n'
    if sep is not None and bad_sep:
        raise ValueError(f"sep must be a string such as ',' or '::', or None, got {sep!r}")
    if header is not None and not isinstance(header, (bool, np.bool_)):
        raise TypeError(f"header must be True, False or None, got {header!r}")
    for argument, column in wanted.items():
        optional = column is None and argument in ("value", "timestamp")
        if optional or (isinstance(column, str) and column):
            continue
        if isinstance(column, bool) or not isinstance(column, (int, np.integer)) or column < 0:
            raise ValueError(
                f"{argument} must be a field's number from 0 or a column's name, got {column!r}"
            )
    if sep is None:
        with open_text(path, "::", encoding) as file:
            line = next((line for line in file if line.strip()), None)
        if line is None:
            raise ValueError(f"{path} is empty")
        sep = _sniff(line.rstrip("\r\n"), path)
    with open_text(path, sep, encoding) as file:
        rows = list(itertools.islice(numbered(path, file, sep), 2))
    if not rows:
        raise ValueError(f"{path} is empty")
    line_number, first = rows[0]
    names = [field.strip() for field in first]
    if header is None:
        header = _has_header([row for _, row in rows], wanted)
    if header and len(rows) == 1:
        raise ValueError(f"{path} has a header and no rows (header=False if line 1 is data)")
    if header:
        wanted = wanted | _by_name(path, wanted, names)
    fields: dict[str, int] = {}
    for argument, column in wanted.items():
        if column is not None:
            fields[argument] = _position(path, argument, column, names, bool(header), sep)
    for (a, at), (b, also) in itertools.combinations(fields.items(), 2):
        if at == also:
            raise ValueError(f"{a} and {b} name the same column, {wanted[b]!r}")
    labels = {a: repr(names[at]) if header else str(at) for a, at in fields.items()}
    return Layout(path, sep, encoding, line_number if header else 0, len(first), fields, labels)


def _by_name(
    path: str, wanted: dict[str, int | str | None], names: list[str]
) -> dict[str, int | str | None]:
    """Return where a header has the columns left at their defaults, by the usual names."""
    left = {name for name, column in wanted.items() if column == DEFAULTS[name]} - {"timestamp"}
    if not {"user", "item"} <= left or not (wanted["value"] is None or "value" in left):
        return {}
    found = ", ".join(map(repr, names))
    if not names[0]:
        raise ValueError(
            f"{path}: the first column has no name (a pandas index?) in the header {found}: name "
            "the columns with user=, item= and value="
        )
    at: dict[str, int] = {}
    for argument in sorted(left):
        usual = USUAL_NAMES[argument].fullmatch
        places = [place for place, name in enumerate(names) if usual(name)]
        if DEFAULTS[argument] not in places and len(places) == 1:
            at[argument] = places[0]
    for argument in sorted(left - set(at)):
        place = DEFAULTS[argument]
        assert isinstance(place, int)
        if place >= len(names):
            continue
        others = [other for other, usual in USUAL_NAMES.items() if usual.fullmatch(names[place])]
        if others and argument not in others:
            instead = ", or value=None where there are no values" if argument == "value" else ""
            raise ValueError(
                f"{path}: field {place}, the {argument} where none is named, is {names[place]!r} "
                f"in the header {found}: name the column with {argument}={instead}"
            )
    return dict(at)


def _position(
    path: str, argument: str, column: int | str, names: list[str], header: bool, sep: str
) -> int:
    found = ", ".join(map(repr, names))
    if isinstance(column, str):
        if not header:
            raise ValueError(
                f"{argument}={column!r} needs a header, but header=False: give the field's number"
            )
        if column not in names:
            raise ValueError(
                f"{path} has no column {column!r}; its first line has {found} (separator {sep!r}): "
                f"give {argument}= or sep="
            )
        return names.index(column)
    if column >= len(names):
        instead = ", or value=None where there are no values" if argument == "value" else ""
        raise ValueError(
            f"{path}: {argument}={column}, but the first line has {len(names)} field(s), {found} "
            f"(separator {sep!r}, fields count from 0): give {argument}= or sep={instead}"
        )
    return int(column)


def _has_header(rows: list[list[str]], wanted: dict[str, int | str | None]) -> bool:
    """Tell whether the first row is a header; see `Interactions.from_csv` for the rule."""
    if any(isinstance(column, str) for column in wanted.values()):
        return True

    def fields(row: list[str], *arguments: str) -> list[str]:
        positions = [wanted[name] for name in arguments]
        return [row[at].strip() for at in positions if isinstance(at, int) and at < len(row)]

    ids = fields(rows[0], "user", "item")
    numbers = fields(rows[0], "value") or fields(rows[0], "timestamp")
    if numbers:
        return not _is_number(numbers[0]) and not all(map(_is_number, ids))
    usual = USUAL_NAMES["user"].fullmatch, USUAL_NAMES["item"].fullmatch
    if all(any(match(name) for match in usual) for name in ids):
        return True
    below = fields(rows[1], "user", "item") if len(rows) > 1 else []
    return any(map(_is_number, below)) and not any(map(_is_number, ids))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        try:
            seconds(text)
        except ValueError:
            return False
    return True


def seconds(text: str) -> float:
    """Turn an ISO 8601 time into seconds since 1970; without a zone it is UTC."""
    text = text.strip()
    moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()

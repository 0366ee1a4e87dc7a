"""Titles of items or users: a table in a file, or a mapping, set beside a model's ids."""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matfac._bounds import fixed_width


def read_titles(
    path: str | os.PathLike[str], *, title_column: str = "title", id_column: str | None = None
) -> dict[str, str]:
    """Read a table with a header, separated by tabs or commas, as a dict of id to title.

    Without `id_column` the ids are in the first column.
    """
    with open(path, encoding="utf-8", newline="") as file:
        sample = file.readline()
        file.seek(0)
        rows = csv.DictReader(file, delimiter="\t" if "\t" in sample else ",", restval="")
        names = list(rows.fieldnames or ())
        key = id_column or (names[0] if names else "")
        for column in (key, title_column):
            if column not in names:
                raise ValueError(f"{path} has no column {column!r}; it has {names}")
        return {row[key]: row[title_column] for row in rows}


def titles_of(ids: NDArray[Any], titles: Mapping[Any, str] | None) -> NDArray[np.str_] | None:
    """Return the title of each id, "" where it has none; ids are found by value or as text."""
    if titles is None:
        return None
    if not isinstance(titles, Mapping):
        raise TypeError(
            f"titles must map ids to titles, got {type(titles).__name__}: give a dict, such as "
            "dict(zip(ids, titles))"
        )
    found = [titles.get(value, titles.get(str(value), "")) for value in ids.tolist()]
    return fixed_width([str(title) for title in found], "titles")


def add_titles(command: argparse.ArgumentParser) -> None:
    """Add the options that name a file of titles."""
    command.add_argument("--titles", type=Path, help="table with a header and item titles")
    command.add_argument("--title-column", default="title", help="(default: %(default)s)")
    command.add_argument("--id-column", default=None, help="of the titles (default: the first)")


def given_titles(args: argparse.Namespace) -> dict[str, str] | None:
    """Read the titles named on the command line, if any."""
    if args.titles is None:
        return None
    return read_titles(args.titles, title_column=args.title_column, id_column=args.id_column)

"""What serving derives from a factor table: remembered while the table lives and cannot change."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from matfac import _engine
from matfac._engine import Floats

Derived = TypeVar("Derived")

_REMEMBERED = 1 << 28  # bytes: a million rows of 64 factors

# By the table's id: a model holds nothing of it, so that copies, pickles and files stay plain. Two
# threads may both derive what is missing; either's will do.
_remembered: dict[tuple[str, int], tuple[weakref.ref[Floats], Any]] = {}


def freeze(table: Floats) -> Floats:
    """Make a table read-only, and the arrays that it is a view of: it can be replaced alone."""
    part: Any = table
    while isinstance(part, np.ndarray):
        part.flags.writeable = False
        part = part.base
    return table


def is_frozen(table: Floats) -> bool:
    """Whether nobody can write to a table, through the arrays that it is a view of neither."""
    part: Any = table
    while isinstance(part, np.ndarray):
        if part.flags.writeable:
            return False
        part = part.base
    return True


def derived(what: str, table: Floats, make: Callable[[Floats], Derived]) -> Derived:
    """Return make(table), remembered where the table is frozen; the answer must not refer to it."""
    key = what, id(table)
    if not is_frozen(table):
        _remembered.pop(key, None)
        return make(table)
    found = _remembered.get(key)
    if found is not None and found[0]() is table:
        answer: Derived = found[1]
        return answer
    made = make(table)

    def forget(_: object, pop: Callable[..., Any] = _remembered.pop) -> None:
        pop(key, None)  # before the id can be another's

    _remembered[key] = weakref.ref(table, forget), made
    return made


def padded(table: Floats) -> Floats:
    """Return the table as the core takes it; where it needs padding, the copy is remembered."""
    if not _engine.needs_padding(table):
        return table
    return derived("padded", table, _engine.table)


def directions(table: Floats) -> Floats:
    """Return the table's rows at length 1, those of zeros as they are; remembered if small."""
    if table.nbytes > _REMEMBERED:
        return _directions(table)
    return derived("directions", table, _directions)


def _directions(table: Floats) -> Floats:
    # Of what is divided first, no square is lost below the least float or beyond the largest.
    largest = np.abs(table).max(axis=1, keepdims=True, initial=0)
    rows = table / np.where(largest > 0, largest, 1)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return freeze(np.asarray(rows / np.where(lengths > 0, lengths, 1), table.dtype))

"""What a user gives as ids -> int64 or strings, or a clear error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

RowOf: TypeAlias = Callable[[int], int]  # in which row of the caller's table an id stands

CHUNK = 1 << 20  # ids turned into Python objects at a time


def chunks(array: NDArray[Any]) -> Iterator[tuple[int, list[Any]]]:
    """Yield the array as lists, with where each starts."""
    for start in range(0, len(array), CHUNK):
        yield start, array[start : start + CHUNK].tolist()


def clean_ids(values: Any, argument: str, row_of: RowOf = int) -> NDArray[Any]:
    """Return a 1-D array of int64, of unicode, or of str objects; raise on missing ids."""
    array = values if isinstance(values, np.ndarray) else _as_array(values, argument)
    if array.ndim != 1:
        raise ValueError(f"{argument} must be one-dimensional, got shape {array.shape}")
    kind = array.dtype.kind
    if kind in "iub":
        return _integers(array, argument, row_of)
    if kind == "f":
        if not len(array):
            return np.empty(0, np.int64)
        _check(np.isnan(array), array, argument, row_of, "is missing (NaN): drop such rows")
        wrong = (array != np.floor(array)) | (np.abs(array) >= 2.0**63)
        _check(wrong, array, argument, row_of, "is no 64-bit integer: give integers or strings")
        # From here on a float stands for several integers: two ids would become one.
        exact = 2.0 ** (np.finfo(array.dtype).nmant + 1)
        inexact = f"is {array.dtype} beyond {exact:.0f}, where not all integers are: "
        _check(
            np.abs(array) >= exact, array, argument, row_of, inexact + "give integers or strings"
        )
        return array.astype(np.int64)
    if kind == "S":
        array = np.char.decode(array, "utf-8")
    elif kind in "mMcV":
        raise TypeError(f"{argument} must hold integers or strings, got dtype {array.dtype}")
    elif kind != "U":
        array = _from_objects(array.astype(object, copy=False), argument, row_of)
    if array.dtype.kind == "U":
        _check(array == "", array, argument, row_of, "is empty: drop such rows")
    return array


def _as_array(values: Any, argument: str) -> NDArray[Any]:
    if isinstance(values, (str, bytes)) or not (
        hasattr(values, "__array__") or isinstance(values, Iterable)
    ):
        raise TypeError(f"{argument} must be an array or a list of ids, got {values!r}")
    if not hasattr(values, "__array__"):
        values = values if isinstance(values, (list, tuple, range)) else list(values)
    try:
        array = np.asarray(values)
        # NumPy would turn [1, "a", nan] into strings, the missing id too.
        if array.dtype.kind == "U" and not hasattr(values, "__array__"):
            array = np.asarray(values, dtype=object)
    except ValueError as error:
        raise ValueError(f"{argument} must be a flat list of ids: {error}") from error
    return array


def _check(
    wrong: NDArray[np.bool_], array: NDArray[Any], argument: str, row_of: RowOf, what: str
) -> None:
    if wrong.any():
        at = int(np.argmax(wrong))
        value = array[at : at + 1].tolist()[0]
        raise ValueError(f"{argument}: the id in row {row_of(at)} (from 0), {value!r}, {what}")


def _integers(array: NDArray[Any], argument: str, row_of: RowOf) -> NDArray[np.int64]:
    if array.dtype.kind == "u" and array.dtype.itemsize == 8:
        most = np.iinfo(np.int64).max
        _check(
            array > most, array, argument, row_of, "does not fit in int64: give the ids as strings"
        )
    return array.astype(np.int64, copy=False)


def _is_null(value: object) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))


def _from_objects(array: NDArray[Any], argument: str, row_of: RowOf) -> NDArray[Any]:
    """Return int64 where all values are whole numbers, else the values as str objects."""
    types: set[type] = set()
    for _, part in chunks(array):
        types |= set(map(type, part))
    if types - {str}:
        for at, value in enumerate(array.tolist()):
            if _is_null(value):
                raise ValueError(
                    f"{argument}: the id in row {row_of(at)} (from 0) is missing ({value!r}): "
                    "drop such rows"
                )
    numbers = (int, float, np.integer, np.floating, np.bool_)
    for kind in types:
        nameless = "__str__" not in {
            k for base in kind.__mro__[:-1] for k in vars(base)
        } or issubclass(kind, np.ndarray)
        if nameless and not issubclass(kind, (str, bytes, *numbers)):
            raise TypeError(f"{argument} must hold integers or strings, got {kind.__name__}")
    if types and all(issubclass(kind, numbers) for kind in types):
        if any(issubclass(kind, (float, np.floating)) for kind in types):
            floats = [v if isinstance(v, (float, np.floating)) else 0.0 for v in array.tolist()]
            clean_ids(np.array(floats, np.float64), argument, row_of)
        wrong = np.array([not -(2**63) <= int(value) < 2**63 for value in array.tolist()])
        _check(wrong, array, argument, row_of, "does not fit in int64: give the ids as strings")
        return np.array([int(value) for value in array.tolist()], np.int64)
    if types - {str}:
        texts = [v.decode() if isinstance(v, bytes) else str(v) for v in array.tolist()]
        array = np.empty(len(texts), object)
        array[:] = texts
    _check_text(array, argument, row_of)
    return array


def _check_text(array: NDArray[Any], argument: str, row_of: RowOf) -> None:
    for start, part in chunks(array):
        if "" in part:
            row = row_of(start + part.index(""))
            raise ValueError(f"{argument}: the id in row {row} (from 0) is empty: drop such rows")
        if "\0" in "".join(part):  # NumPy drops it at a string's end: two ids would become one
            ends = [text[-1] == "\0" for text in part]
            if any(ends):
                row = row_of(start + ends.index(True))
                raise ValueError(
                    f"{argument}: the id in row {row} (from 0) ends in a NUL character: remove it"
                )

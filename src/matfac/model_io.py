"""A container of arrays and a JSON description in one safetensors file; no pickle.

Reading trusts nothing: the header is checked against the file, and by a checksum against itself,
before anything is allocated. Arrays are read-only views of the mapped file.
"""

from __future__ import annotations

import json
import math
import mmap as mapping
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from typing import Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from matfac._atomic import replacing
from matfac._bounds import check_width

Path_: TypeAlias = "str | os.PathLike[str]"
Arrays: TypeAlias = dict[str, NDArray[Any]]

FORMAT = "matfac"
VERSION = 1
MAX_HEADER = 1 << 26  # bytes; a model's header holds a few hundred, and its history
MAX_RANK = 8
_PART = 1 << 24  # bytes between looks for Ctrl-C
DTYPES = {"F32": np.float32, "F64": np.float64, "I32": np.int32, "I64": np.int64, "U8": np.uint8}
CODES = {np.dtype(dtype): code for code, dtype in DTYPES.items()}


class Span(NamedTuple):
    """Where an array lies in the data part of a file."""

    begin: int
    end: int
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def write(path: Path_, arrays: Arrays, meta: dict[str, Any]) -> None:
    """Write arrays and their description, all or nothing.

    Parameters
    ----------
    path : path-like
        Replaced at once when everything is on the disk; an error leaves it as it was. A model
        mapped from the old file stays valid.
    arrays : dict of str to ndarray
        float32, float64, int32, int64 or uint8.
    meta : dict
        Anything JSON can hold, but NaN and infinity.

    Raises
    ------
    TypeError, ValueError
        For what a model file cannot hold.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> file = os.path.join(tempfile.mkdtemp(), "x.safetensors")
    >>> write(file, {"a": np.arange(3)}, {"answer": 42})
    >>> arrays, meta = read(file)
    >>> arrays["a"].tolist(), meta
    ([0, 1, 2], {'answer': 42})
    """
    plain = {name: _plain(name, array) for name, array in arrays.items()}
    try:
        content = json.dumps(meta, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise type(error)(f"meta must hold what JSON can: {error}") from error
    if not isinstance(meta, dict):
        raise TypeError(f"meta must be a dict, got {type(meta).__name__}")
    table = {name: (CODES[array.dtype], array.shape) for name, array in plain.items()}
    data_sum = checksum(plain[name] for name in sorted(plain))
    header = {
        "format": FORMAT,
        "format_version": str(VERSION),
        "content": content,
        "header_crc32": _header_sum(content, table, data_sum),
        "data_crc32": data_sum,
    }
    write_safetensors(path, plain, header)


def write_safetensors(path: Path_, arrays: Arrays, described: dict[str, str]) -> None:
    """Write the bare format, all or nothing, without a copy of the arrays."""
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))  # so all are aligned
    header: dict[str, Any] = {"__metadata__": described}
    at = 0
    for name in order:
        array = arrays[name]
        offsets = [at, at := at + array.nbytes]
        header[name] = {"dtype": CODES[array.dtype], "shape": array.shape, "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as new, open(new, "wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        file.writelines(chain.from_iterable(_parts(arrays[name]) for name in order))


def _plain(name: Any, array: Any) -> NDArray[Any]:
    if not isinstance(name, str) or name == "__metadata__":
        raise ValueError(
            f"an array's name must be a string other than '__metadata__', got {name!r}"
        )
    if not isinstance(array, np.ndarray) or array.dtype.newbyteorder("=") not in CODES:
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(
            f"array {name!r} is {kind}, which a model file cannot hold; it holds arrays of "
            f"{', '.join(np.dtype(dtype).name for dtype in DTYPES.values())}"
        )
    if array.ndim > MAX_RANK:
        raise ValueError(f"array {name!r} has {array.ndim} dimensions, more than {MAX_RANK}")
    return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")


def _header_sum(
    content: str, table: dict[str, tuple[str, tuple[int, ...]]], data_sum: str | None
) -> str:
    described = [[name, code, list(shape)] for name, (code, shape) in sorted(table.items())]
    return f"{zlib.crc32(json.dumps([content, described, data_sum]).encode()):08x}"


def checksum(arrays: Iterable[NDArray[Any]]) -> str:
    """Return the CRC-32 of arrays, C-contiguous, one after the other."""
    total = 0
    for part in chain.from_iterable(map(_parts, arrays)):
        total = zlib.crc32(part, total)
    return f"{total:08x}"


def _parts(array: NDArray[Any]) -> Iterator[memoryview]:
    """Yield the bytes of an array, some at a time: one call for all would keep Ctrl-C waiting."""
    data = array.reshape(-1).view(np.uint8)
    for at in range(0, len(data), _PART):
        yield data[at : at + _PART].data


def read(path: Path_, *, mmap: bool = True) -> tuple[Arrays, dict[str, Any]]:
    """Read what `write` wrote.

    Parameters
    ----------
    path : path-like
        The file. It must not be changed in place, only replaced, while arrays are mapped from it.
    mmap : bool, default=True
        True maps the file: an array's pages are read when they are used, and only the header's
        checksum is compared. False reads everything and compares the data's checksum too.

    Returns
    -------
    arrays : dict of str to ndarray
        Read-only where `mmap`.
    meta : dict

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is truncated, damaged, not a matfac model, or of a newer version.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        header, start = read_header(path, file.read(8), size, file)
        described = header.pop("__metadata__", None)
        meta = _read_meta(path, described)
        spans = _spans(path, header, size - start)
        table = {s.name: (CODES[s.dtype], s.shape) for s in spans}
        data_sum = described.get("data_crc32")
        if described.get("header_crc32") != _header_sum(described["content"], table, data_sum):
            _damaged(path, "the checksum of its header differs")
        if mmap:
            mapped = mapping.mmap(file.fileno(), 0, access=mapping.ACCESS_READ)
            data = np.frombuffer(mapped, np.uint8, offset=start) if size > start else _NOTHING
        else:
            data = np.empty(size - start, np.uint8)
            if any(file.readinto(part) < len(part) for part in _parts(data)):
                _damaged(path, "it ends while it is read")
    arrays = {s.name: _view(data, s) for s in spans}
    if not mmap and data_sum != checksum(arrays[name] for name in sorted(arrays)):
        _damaged(path, "the checksum of its arrays differs")
    return arrays, meta


_NOTHING = np.empty(0, np.uint8)


def _damaged(path: Path_, what: str) -> NoReturn:
    raise ValueError(f"{path} is damaged or truncated: {what}; copy or save the model again")


def _view(data: NDArray[np.uint8], span: Span) -> NDArray[Any]:
    array = data[span.begin : span.end].view(span.dtype).reshape(span.shape)
    return array if array.flags.aligned else array.copy()


def read_header(
    path: Path_, prefix: bytes, size: int, file: Any, kind: str = "a matfac model"
) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file and where its data begin; `prefix` is 8 bytes."""

    def wrong(what: str) -> ValueError:
        return ValueError(
            f"{path} is not {kind}, or it is truncated: {what}; give another path or write it again"
        )

    if len(prefix) < 8:
        raise wrong(f"it has {size} bytes")
    (length,) = struct.unpack("<Q", prefix)
    if length > min(MAX_HEADER, size - 8):
        raise wrong(f"it claims a header of {length} bytes in {size}")
    try:
        header = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        raise wrong("its header is not JSON") from None
    if not isinstance(header, dict):
        raise wrong("its header is not a table")
    return header, 8 + length


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name occurs twice")
    return table


def _read_meta(path: Path_, described: Any) -> dict[str, Any]:
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise ValueError(
            f"{path} is a safetensors file, but not a matfac model: give a file that a model's "
            "save wrote"
        )
    version = described.get("format_version")
    if (
        not isinstance(version, str)
        or not (version.isascii() and version.isdigit())
        or int(version[:9]) < 1
    ):
        _damaged(path, f"its format version is {version!r}")
    if len(version) > 9 or int(version) > VERSION:
        raise ValueError(
            f"{path} was written by a newer matfac (format {version[:9]}, this one reads up to "
            f"{VERSION}): upgrade matfac"
        )
    try:
        meta = json.loads(described["content"])
    except (KeyError, TypeError, ValueError, RecursionError):
        _damaged(path, "its description is not readable")
    if not isinstance(meta, dict):
        _damaged(path, "its description is not a table")
    return meta


def _spans(path: Path_, header: dict[str, Any], room: int) -> list[Span]:
    """Return where the arrays lie, once the header is found to fit the file without a gap."""
    spans = []
    for name, entry in header.items():
        try:
            dtype = np.dtype(DTYPES[entry["dtype"]])
            shape = tuple(entry["shape"])
            begin, end = entry["data_offsets"]
        except (KeyError, TypeError, ValueError):
            _damaged(path, f"its array {name!r} is not described soundly")
        whole = all(type(n) is int and 0 <= n < 2**62 for n in (*shape, begin, end))
        # Even an empty array's other lengths must be ones that NumPy can multiply.
        extent = math.prod(max(n, 1) for n in shape) * dtype.itemsize if whole else 0
        if not whole or len(shape) > MAX_RANK or extent >= 2**62:
            _damaged(path, f"its array {name!r} is not described soundly")
        if math.prod(shape) * dtype.itemsize != end - begin or end > room:
            _damaged(path, f"its array {name!r} does not fit the file")
        spans.append(Span(begin, end, name, dtype, shape))
    spans.sort(key=lambda span: span[:3])
    at = 0
    for span in spans:
        if span.begin != at:
            _damaged(path, f"its array {span.name!r} overlaps another or leaves a gap")
        at = span.end
    if at != room:
        _damaged(path, f"it has {room - at} bytes too many")
    return spans


def require(
    arrays: Arrays, name: str, *, dtype: DTypeLike | None = None, ndim: int, path: Path_
) -> NDArray[Any]:
    """Return an array that a model must have, of this dtype (None: floating) and rank."""
    array = arrays.get(name)
    if array is None:
        _damaged(path, f"it has no array {name!r}, only {', '.join(sorted(arrays)) or 'none'}")
    right = array.dtype.kind == "f" if dtype is None else array.dtype == np.dtype(dtype)
    if not right or array.ndim != ndim:
        wanted = "floating" if dtype is None else np.dtype(dtype).name
        _damaged(
            path,
            f"its array {name!r} is {array.dtype} of rank {array.ndim}, not {wanted} of {ndim}",
        )
    return array


def pack_strings(name: str, strings: NDArray[np.str_]) -> Arrays:
    """Encode strings as UTF-8 bytes and offsets, under ``name.bytes`` and ``name.offsets``."""
    # Lone surrogates can come from file names; they must come back.
    encoded = [text.encode("utf-8", "surrogatepass") for text in strings.tolist()]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return {
        f"{name}.bytes": np.frombuffer(b"".join(encoded), np.uint8),
        f"{name}.offsets": offsets,
    }


def unpack_strings(arrays: Arrays, name: str, *, path: Path_) -> NDArray[np.str_]:
    """Decode what `pack_strings` encoded."""
    data = require(arrays, f"{name}.bytes", dtype=np.uint8, ndim=1, path=path).tobytes()
    offsets = require(arrays, f"{name}.offsets", dtype=np.int64, ndim=1, path=path)
    sound = len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == len(data)
    if not sound or (offsets[1:] < offsets[:-1]).any():
        _damaged(path, f"the offsets of {name!r} do not fit its bytes")
    lengths = np.diff(offsets)
    check_width(
        f"{path} is damaged: {name!r}", int(lengths.max(initial=0)), len(lengths), len(data)
    )
    try:
        if data.isascii():
            return _unpack_ascii(data, lengths)
        bounds = offsets.tolist()
        strings = [data[a:b].decode("utf-8", "surrogatepass") for a, b in pairwise(bounds)]
        return np.array(strings, dtype=np.str_)
    except UnicodeDecodeError:
        _damaged(path, f"{name!r} is not UTF-8")
    except MemoryError:
        _damaged(path, f"the strings of {name!r} do not fit in memory")


def _unpack_ascii(data: bytes, lengths: NDArray[np.int64]) -> NDArray[np.str_]:
    """Decode ASCII strings without making each one a Python object."""
    width = max(1, int(lengths.max(initial=0)))
    table = np.zeros((len(lengths), width), np.uint32)  # NumPy's own form of strings
    table[np.arange(width) < lengths[:, None]] = np.frombuffer(data, np.uint8)
    return table.view(f"U{width}")[:, 0]

"""Packed files that would unpack to far more than they are: refused, not unpacked."""

from __future__ import annotations

import gzip
import math
import os
import tokenize
import zipfile
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

# Ratings pack to a third or a tenth; what packs a hundred times smaller is a trap, or says little.
TIMES = 100
FREE = 1 << 26  # bytes that any file may unpack to


class TooMuchError(ValueError):
    """A file would unpack to far more than it is."""


def check_unpacked(path: str | os.PathLike[str], unpacked: int) -> None:
    """Raise where `path`, a file or a folder, unpacks to more bytes than one of its size may."""
    parts = [file for file in Path(path).rglob("*") if file.is_file()] or [Path(path)]
    packed = sum(part.stat().st_size for part in parts)
    if unpacked > FREE + TIMES * packed:
        raise TooMuchError(
            f"{os.fspath(path)} has {packed} bytes and unpacks to {unpacked} or more, over "
            f"{TIMES} times as much: unpack it with another program if you trust it"
        )


class BoundedGzip(gzip.GzipFile):
    """A gzip file that stops where it becomes too much."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "rb")
        self._path = path

    def read(self, size: int | None = -1) -> bytes:
        return self._check(super().read(size))

    def read1(self, size: int = -1) -> bytes:
        return self._check(super().read1(size))

    def _check(self, data: bytes) -> bytes:
        check_unpacked(self._path, self.tell())
        return data


def check_npz(path: Path) -> None:
    """Raise where an .npz file is a bomb, or the header of an array lies about its size."""
    with zipfile.ZipFile(path) as file:
        members = file.infolist()
        check_unpacked(path, sum(member.file_size for member in members))
        for member in members:
            with file.open(member) as array:
                version = npy.read_magic(array)
                first = version == (1, 0)
                read = npy.read_array_header_1_0 if first else npy.read_array_header_2_0
                try:
                    shape, _, dtype = read(array)
                except (tokenize.TokenError, SyntaxError, MemoryError) as error:
                    # NumPy reads it as Python's text, and does not foresee all that Python says.
                    raise ValueError(f"its array {member.filename} has no header") from error
                held = member.file_size - array.tell()
            if math.prod(shape) * dtype.itemsize != held:
                raise ValueError(f"its array {member.filename} is not as its header says")


def check_width(what: str, longest: int, count: int, total: int) -> None:
    """Raise where one long string among many short ones would cost far more than they hold."""
    if 4 * longest * count > FREE + TIMES * total:
        raise ValueError(
            f"{what}: one of the {count} strings has {longest} characters, and every one gets room "
            f"for as many, {4 * longest * count} bytes in all: shorten it, or drop it"
        )


def fixed_width(strings: list[str], what: str) -> NDArray[np.str_]:
    """Return the strings as NumPy's array of them, or raise where that would be huge."""
    lengths = list(map(len, strings))
    check_width(what, max(lengths, default=0), len(lengths), sum(lengths))
    return np.array(strings, dtype=np.str_)

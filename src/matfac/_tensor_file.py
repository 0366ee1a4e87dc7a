"""Safetensors files of any dtype, read and written one tensor at a time."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from matfac._atomic import replacing
from matfac._engine import Floats
from matfac.model_io import read_header

# Bits of an element, of every dtype that the format names.
BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "U64": 64, "I32": 32, "U32": 32,
    "I16": 16, "U16": 16, "I8": 8, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "C64": 64,
}  # fmt: skip
FLOATS = ("F64", "F32", "F16", "BF16")
_CHUNK = 1 << 24  # bytes copied at a time


class Tensor(NamedTuple):
    """Where a tensor lies in its file, in bytes from its beginning."""

    name: str
    code: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class TensorFile:
    """A checked safetensors file. Nothing is read but what is asked for."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            header, start = read_header(path, file.read(8), size, file, "a safetensors file")
        metadata = header.pop("__metadata__", {})
        self.metadata: dict[str, str] = metadata if isinstance(metadata, dict) else {}
        self.tensors = {
            name: self._tensor(name, entry, start, size) for name, entry in header.items()
        }
        at = start
        for tensor in sorted(self.tensors.values(), key=lambda tensor: (tensor.begin, tensor.end)):
            if tensor.begin != at:
                self._damaged(f"its tensor {tensor.name!r} overlaps another or leaves a gap")
            at = tensor.end
        if at != size:
            self._damaged(f"it has {size} bytes, and describes {at}")

    def _damaged(self, what: str) -> NoReturn:
        raise ValueError(f"{self.path} is damaged or truncated: {what}; copy or download it again")

    def _tensor(self, name: str, entry: Any, start: int, size: int) -> Tensor:
        try:
            code, shape = entry["dtype"], tuple(entry["shape"])
            begin, end = entry["data_offsets"]
        except (KeyError, TypeError, ValueError):
            self._damaged(f"its tensor {name!r} is not described soundly")
        whole = all(type(n) is int and 0 <= n < 2**62 for n in (*shape, begin, end))
        if not whole or not isinstance(code, str) or begin > end:
            self._damaged(f"its tensor {name!r} is not described soundly")
        if start + end > size:
            self._damaged(f"its tensor {name!r} ends at {start + end} of {size} bytes")
        if code in BITS and math.prod(shape) * BITS[code] != 8 * (end - begin):
            self._damaged(f"its tensor {name!r} does not have the bytes that its shape takes")
        return Tensor(name, code, shape, start + begin, start + end)

    def chunks(self, name: str) -> Iterable[bytes]:
        """Yield a tensor's bytes, some at a time."""
        tensor = self.tensors[name]
        with open(self.path, "rb") as file:
            file.seek(tensor.begin)
            left = tensor.end - tensor.begin
            while left > 0:
                piece = file.read(min(left, _CHUNK))
                if not piece:
                    self._damaged("it ended while it was read")
                left -= len(piece)
                yield piece

    def floats(self, name: str) -> Floats:
        """A floating tensor as float64, or else float32 (a half is widened, exactly)."""
        tensor = self.tensors[name]
        return decode(b"".join(self.chunks(name)), tensor.code).reshape(tensor.shape)


def decode(data: bytes, code: str) -> Floats:
    """Floats of a dtype in `FLOATS`, as float64 or float32."""
    if code == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    array = np.frombuffer(data, {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[code])
    return array.astype(np.float32) if code == "F16" else array


def encode(array: Floats, code: str) -> NDArray[Any]:
    """The reverse, rounded to nearest; its bytes are what a file holds."""
    if code != "BF16":
        return np.ascontiguousarray(array, {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[code])
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    # Ties to even: half of the last kept bit, less one where that bit is 0.
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(array), np.uint32(0x7FC0), rounded).astype("<u2")


def write_tensors(
    path: str | os.PathLike[str],
    entries: list[tuple[str, str, tuple[int, ...], int]],
    data: Iterable[Iterable[Any]],
    metadata: dict[str, str],
) -> None:
    """Write a safetensors file, all or nothing: (name, dtype, shape, bytes), then their data.

    The data are asked for one tensor at a time, in the order of `entries`, and come in pieces.
    """
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    at = 0
    for name, code, shape, length in entries:
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [at, at + length]}
        at += length
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for pieces in data:
            file.writelines(pieces)
        if file.tell() != 8 + len(text) + at:
            raise AssertionError("the tensors written are not those announced")

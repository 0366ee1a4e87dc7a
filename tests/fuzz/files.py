"""Model files and tables that are damaged or hostile: refused, or read as what they were."""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from matfac import Interactions, model_io

Rng = np.random.Generator

ARRAYS = {
    "user_factors": np.arange(12, dtype=np.float32).reshape(6, 2),
    "item_factors": np.arange(8, dtype=np.float64).reshape(4, 2),
    "seen.indptr": np.arange(7),
    "seen.indices": np.zeros(6, np.int32),
    **model_io.pack_strings("user_ids", np.array(["ann", "bob", "ü", "", "d", "e"])),
}
META = {"class": "ExplicitMF", "history": [{"epoch": 1.0, "objective": 2.5}]}


def same(arrays: model_io.Arrays, meta: Any) -> bool:
    return meta == META and arrays.keys() == ARRAYS.keys() and all(
        arrays[name].dtype == array.dtype and np.array_equal(arrays[name], array)
        for name, array in ARRAYS.items()
    )  # fmt: skip


def flipped(rng: Rng, content: bytes) -> bytes:
    """Change, drop, repeat or add some bytes anywhere."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(len(data) + 1))
        match rng.integers(5):
            case 0 if at < len(data):
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                del data[at : at + int(rng.integers(1, 20))]
            case 2:
                data[at:at] = rng.integers(0, 256, rng.integers(1, 20), dtype=np.uint8).tobytes()
            case 3:
                data[at : at + 8] = struct.pack("<q", int(rng.choice([-1, 2**31, 2**62, 2**40])))
            case _:
                data[at:at] = data[at : at + int(rng.integers(1, 40))]
    return bytes(data)


LIES = (-1, 0, 1, 7, 2**31, 2**40, 2**61, 2**63, 2**64, 1e300, -0.5, "1", None, [], {}, True)


def lying(rng: Rng, content: bytes) -> bytes:
    """Change one thing that the header says of its arrays: length, offset, shape or dtype."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    names = [name for name in header if name != "__metadata__"]
    entry = header[names[rng.integers(len(names))]]
    lie = LIES[rng.integers(len(LIES))]
    match rng.integers(6):
        case 0:
            entry["data_offsets"][rng.integers(2)] = lie
        case 1:
            entry["shape"] = [lie] * int(rng.integers(1, 40))
        case 2 if entry["shape"]:
            entry["shape"][rng.integers(len(entry["shape"]))] = lie
        case 3:
            entry["dtype"] = ["F16", "BF16", "I8", "U64", "O", "", "../x", lie][rng.integers(8)]
        case 4:
            key = list(header["__metadata__"])[rng.integers(len(header["__metadata__"]))]
            header["__metadata__"][key] = ["", "2", "999999999999", "{", lie][rng.integers(5)]
        case _:
            header[str(rng.integers(99))] = entry
    text = json.dumps(header).encode()
    claim = len(text) if rng.random() < 0.8 else int(rng.choice([0, 2**26, 2**40, 2**63 - 1]))
    return struct.pack("<Q", claim) + text + content[8 + length :]


def model_files(n: int, seed: int = 0) -> int:
    """Try n model files that are not what was written."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model")
        model_io.write(path, ARRAYS, META)
        good = path.read_bytes()
        tried = 0
        while tried < n:
            content = (flipped, lying)[rng.integers(2)](rng, good)
            if content == good:
                continue
            tried += 1
            path.write_bytes(content)
            try:
                found = model_io.read(path, mmap=False)
            except ValueError:
                continue
            # Blanks and the order of keys may differ in JSON that says the same.
            assert same(*found), f"a damaged file was taken for good: {content!r}"
    return tried


# ------------------------------------------------------------------ tables

LINES = (
    "user,item,value", "1,2,3.5", "1;2;3", "a\tb\tc", "1::2::3::4", "", ",", ",,,", '"a","b",1',
    '"a', "1,2", "1,2,nan", "1,2,inf", "1,2,x", "1,2,1e400", "1,2,-0", "\0,1,2", "ü,é,1",
    "1,2,3,4,5",
    "9" * 400 + ",1,2", "1,2," + "9" * 400, "\ufeff1,2,3", "'1','2','3'", "1, 2, 3", "0x1,0b1,1_0",
)  # fmt: skip
NOISE = [*"\0\"',;:\t \r\n\\.-+eE_%#\ufeff\u202e\x1a", "\r\n", "::", "NaN"]


def table_text(rng: Rng) -> bytes:
    """Return lines of every sort, with noise in some."""
    lines = [LINES[i] for i in rng.integers(len(LINES), size=rng.integers(0, 8))]
    text = ["\n", "\r\n", "\r"][rng.integers(3)].join(lines)
    for _ in range(rng.integers(0, 4)):
        at = int(rng.integers(len(text) + 1))
        text = text[:at] + NOISE[rng.integers(len(NOISE))] + text[at:]
    data = text.encode()
    return flipped(rng, data) if data and rng.random() < 0.3 else data


def sound(data: Interactions) -> bool:
    """Tell whether what was read is a matrix of finite values with an id for each line."""
    matrix = data.matrix
    return (
        matrix.shape == (len(data.user_ids), len(data.item_ids))
        and matrix.nnz > 0
        and bool(np.isfinite(matrix.data).all())
        and len(set(data.user_ids.tolist())) == len(data.user_ids)
        and len(set(data.item_ids.tolist())) == len(data.item_ids)
    )


def read_table(path: Path, **options: Any) -> None:
    """Read a table; AssertionError where what is not sound was taken for good."""
    try:
        data = Interactions.read(path, **options)
    except (ValueError, OSError):
        return
    except TypeError as error:  # a damaged schema can be a sound one of other types
        if "must hold" in str(error):
            return
        raise
    assert sound(data), f"read as {data.matrix.toarray()} from {path.read_bytes()!r}"


def tables(n: int, seed: int = 0) -> int:
    """Try n text files and broken Parquet files."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        good = parquet(Path(folder, "good.parquet"))
        for _ in range(n):
            suffix = (".csv", ".tsv", ".dat", ".txt", ".parquet")[rng.integers(5)]
            path = Path(folder, f"table{suffix}")
            if suffix == ".parquet":
                path.write_bytes(flipped(rng, good))
                read_table(path, value=(None, "value")[rng.integers(2)])
                continue
            path.write_bytes(table_text(rng))
            options = [{}, {"value": None}, {"sep": ","}, {"user": 0, "item": 1}][rng.integers(4)]
            read_table(path, **options)
    return n


def parquet(path: Path) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet as pq

    columns = {"user": ["a", "b", "a"], "item": [1, 2, 3], "value": [1.0, 2.0, 3.0]}
    pq.write_table(pa.table(columns), path)
    return path.read_bytes()

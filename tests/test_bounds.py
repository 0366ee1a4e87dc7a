"""Files made to unpack to far more than they are: refused before they fill the memory."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matfac import Interactions, _bounds, datasets, model_io
from matfac._text_layout import open_text

resource = pytest.importorskip("resource")

BOMB = 1 << 28  # bytes, of some hundred thousand packed
SPLIT: dict[str, Any] = {
    "train_user": np.arange(3), "train_item": np.arange(3), "test_user": np.arange(3),
    "test_item": np.arange(3), "n_users": np.int64(3), "n_items": np.int64(3),
}  # fmt: skip


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call bombs what is no bomb yet, so that tests need not write real ones."""
    monkeypatch.setattr(_bounds, "FREE", 1 << 14)
    monkeypatch.setattr(_bounds, "TIMES", 10)


def peak() -> int:
    """Return the most memory that this process has had resident, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# ---------------------------------------------------------------- text


def packed(path: Path, line: bytes, size: int) -> Path:
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(size // (1 << 20) + 1):
            file.write(line * ((1 << 20) // len(line)))
    return path


def test_a_gzip_bomb_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.csv.gz", b" " * 64, BOMB)
    before = peak()
    with pytest.raises(ValueError, match=r"a\.csv\.gz has \d+ bytes and unpacks to \d+ or more"):
        Interactions.read(path)
    assert peak() - before < BOMB  # a line without end is read up to the limit


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("arrow", [True, False])
def test_arrow_reads_no_bomb_either(
    arrow: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if arrow:
        pytest.importorskip("pyarrow")
        monkeypatch.setattr("matfac._readers.ARROW_FROM_BYTES", 0)
    else:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = packed(tmp_path / "a.csv.gz", b"1,2,3\n", 1 << 20)
    with pytest.raises(ValueError, match="over 10 times as much"):
        Interactions.read(path)


@pytest.mark.parametrize("size", [-1, 1 << 12])
def test_every_way_to_read_gzip_is_bounded(size: int, tmp_path: Path, small_limits: None) -> None:
    path = packed(tmp_path / "a.gz", b"\0", 1 << 20)
    for method in ("read", "read1"):
        with _bounds.BoundedGzip(str(path)) as file:
            chunks = iter(lambda file=file, method=method: getattr(file, method)(size), b"")
            with pytest.raises(ValueError, match="over 10 times as much"):
                sum(map(len, chunks))


def test_what_packs_as_ratings_do_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.integers(0, 999, (20_000, 2)), rng.integers(1, 6, 20_000)])
    text = io.BytesIO()
    np.savetxt(text, rows, "%d", ",")
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(text.getvalue()))
    plain = tmp_path / "a.csv"
    plain.write_bytes(text.getvalue())
    assert len(text.getvalue()) > 2 * path.stat().st_size
    a, b = Interactions.read(path), Interactions.read(plain)
    assert (a.matrix != b.matrix).nnz == 0
    with open_text(str(path), ",", "utf-8") as file:
        assert file.read() == text.getvalue().decode()


# ---------------------------------------------------------------- strings of one width


def test_one_long_id_among_many_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = "".join(f"user{n},x,5\n" for n in range(10_000))
    path.write_text(f"{'u' * 100_000},x,5\n{rows}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"one of the 10001 strings has 100000 characters.*drop"):
        Interactions.from_csv(path, header=False)
    names = np.array(["u" * 100_000, *map(str, range(10_000))], object)
    with pytest.raises(ValueError, match=r"users: one of the 10001 strings has 100000"):
        Interactions.from_arrays(names, np.zeros(len(names), int))


def test_long_ids_alone_are_read() -> None:
    names = [f"{n:0100000d}x" for n in range(5)]
    data = Interactions.from_arrays(names, names)
    assert data.user_ids.tolist() == names


def test_one_long_string_in_a_model_file_is_refused() -> None:
    strings = ["u" * 100_000, *["a"] * 10_000]
    data = "".join(strings).encode()
    arrays = {
        "ids.bytes": np.frombuffer(data, np.uint8),
        "ids.offsets": np.cumsum([0, *map(len, strings)]),
    }
    with pytest.raises(ValueError, match="model is damaged: 'ids': one of the 10001 strings has"):
        model_io.unpack_strings(arrays, "ids", path="model")


# ---------------------------------------------------------------- .npz


def npz(path: Path, **changes: Any) -> Path:
    np.savez_compressed(path, **{**SPLIT, **changes})
    return path


def replaced(path: Path, content: bytes) -> Path:
    """Replace the array train_user of an .npz by other bytes."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, part in {**parts, "train_user.npy": content}.items():
            file.writestr(name, part)
    return path


def lie(shape: str, descr: str = "<i8") -> bytes:
    """Return an array's file of 24 bytes of data whose header says something else."""
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(24)


def read(folder: Path) -> datasets.Split:
    return datasets.load_split("ncf-ml-1m", folder)


def test_a_sound_npz_is_read(tmp_path: Path) -> None:
    replaced(npz(tmp_path / "ncf-ml-1m.npz"), lie("(3,)"))
    assert read(tmp_path).train.shape == (3, 3)


@pytest.mark.parametrize(
    ("shape", "descr"),
    [
        ("(9999999999999,)", "<i8"), ("(2,)", "<i8"), ("(3, 0)", "<i8"), ("(-3,)", "<i8"),
        ("(-1, -3)", "<i8"), ("(3,)", "|O"), ("(4,)", "<f8"), ("(1,)", "<U99999999"),
        ("(" + "9" * 5000 + ",)", "<i8"), ("__import__('os').abort()", "<i8"),
        ("(" * 2000 + ")" * 2000, "<i8"), ("(3,)", "no type"),
    ],
)  # fmt: skip
def test_an_npz_whose_headers_lie_is_refused(shape: str, descr: str, tmp_path: Path) -> None:
    replaced(npz(tmp_path / "ncf-ml-1m.npz"), lie(shape, descr))
    with pytest.raises(ValueError, match=r"ncf-ml-1m\.npz cannot be read"):
        read(tmp_path)


def test_an_npz_bomb_is_refused(tmp_path: Path) -> None:
    npz(tmp_path / "ncf-ml-1m.npz", train_user=np.zeros(BOMB // 8, np.int64))
    before = peak()
    with pytest.raises(ValueError, match=r"ncf-ml-1m\.npz has \d+ bytes and unpacks to 2684\d+ or"):
        read(tmp_path)
    assert peak() - before < 1 << 26


@pytest.mark.parametrize("n", [2**40, -1, 1.5, [3, 3]])
def test_a_matrix_that_claims_endless_rows_is_refused(n: Any, tmp_path: Path) -> None:
    npz(tmp_path / "ncf-ml-1m.npz", n_users=np.array(n))
    with pytest.raises(ValueError, match=r"ncf-ml-1m\.npz"):
        read(tmp_path)


def test_a_pickled_array_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "executed"

    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(marker),)

    npz(tmp_path / "ncf-ml-1m.npz", train_user=np.array([Hostile()] * 3))
    with pytest.raises(ValueError, match="cannot be read"):
        read(tmp_path)
    assert not marker.exists()


def test_any_damage_to_an_npz_is_an_error_or_none(tmp_path: Path) -> None:
    raw = npz(tmp_path / "ncf-ml-1m.npz").read_bytes()
    rng = np.random.default_rng(0)
    messages = []
    for _ in range(400):
        damaged = bytearray(raw)
        for at in rng.integers(0, len(raw), rng.integers(1, 4)):
            damaged[at] = rng.integers(256)
        (tmp_path / "ncf-ml-1m.npz").write_bytes(damaged)
        try:
            read(tmp_path)
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert all("ncf-ml-1m.npz" in message for message in messages)


# ---------------------------------------------------------------- Parquet


def parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(
        pa.table(columns), path, store_schema=False, **options
    )
    return path


@pytest.fixture(params=["pyarrow", "polars"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return which library reads Parquet; call it where the file is written."""
    for name in ("pyarrow", "polars"):
        pytest.importorskip(name)
    return str(request.param)


def without_pyarrow(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if library == "polars":
        monkeypatch.setitem(sys.modules, "pyarrow", None)


def test_a_parquet_bomb_is_refused(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.zeros(BOMB // 16, np.int64)
    path = parquet(tmp_path / "a.parquet", {"user": rows, "item": rows}, compression="zstd")
    assert path.stat().st_size < BOMB // 1000
    without_pyarrow(library, monkeypatch)
    with pytest.raises(ValueError, match=r"a\.parquet has \d+ bytes and unpacks to 26\d+ or more"):
        Interactions.from_parquet(path, value=None)


def test_a_long_string_repeated_is_not_unpacked(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pa = pytest.importorskip("pyarrow")
    codes = pa.array(np.zeros(100_000, np.int32))
    ids = pa.DictionaryArray.from_arrays(codes, pa.array(["x" * 100_000]))  # 10 GB
    path = parquet(tmp_path / "a.parquet", {"user": ids, "item": ids}, compression="zstd")
    before = peak()
    without_pyarrow(library, monkeypatch)
    if library == "polars":
        with pytest.raises(ValueError, match="unpacks to 20001600000 or more"):
            Interactions.from_parquet(path, value=None)
    else:
        assert Interactions.from_parquet(path, value=None).shape == (1, 1)
    assert peak() - before < 1 << 28


def test_a_folder_of_parquet_files_is_read(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        parquet(tmp_path / f"{n}.parquet", {"user": [f"a{n}", "b"], "item": [1, 2]})
    without_pyarrow(library, monkeypatch)
    assert Interactions.from_parquet(tmp_path, value=None).shape == (4, 2)


# ---------------------------------------------------------------- what a file cannot do


def test_reading_a_hostile_model_allocates_nothing(tmp_path: Path) -> None:
    """The header claims half a terabyte; the peak grows by less than 16 MiB."""
    program = """
import resource, struct, sys, json
from matfac import load
entry = {"dtype": "F32", "shape": [2**31, 64], "data_offsets": [0, 2**39]}
text = json.dumps({"__metadata__": {"format": "matfac", "format_version": "1", "content": "{}"},
                   "item_factors": entry}).encode()
with open(sys.argv[1], "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text + bytes(64))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load(sys.argv[1])
except ValueError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 14)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "model")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "does not fit the file" in done.stdout, done.stderr
    assert done.stdout.endswith("True\n")


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "..\\outside", "a\0b", "con"])
def test_names_of_arrays_are_keys_and_no_paths(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    model_io.write(folder / "x", {name: np.arange(3)}, {})
    arrays, _ = model_io.read(folder / "x")
    assert arrays[name].tolist() == [0, 1, 2]
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(folder) == ["x"]

"""Model files: what goes in comes out, and nothing else gets in."""

from __future__ import annotations

import json
import os
import stat
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from matfac import model_io

ARRAYS = {
    "user_factors": np.arange(12, dtype=np.float32).reshape(4, 3),
    "item_factors": np.linspace(0, 1, 6).reshape(2, 3),
    "item_ids": np.array([5, -7], np.int64),
    "seen.indices": np.array([1, 0], np.int32),
    "name.bytes": np.frombuffer(b"abc", np.uint8),
}
META = {"class": "ExplicitMF", "params": {"reg": 0.1, "k": None}, "history": [[1, 2.5], "é"]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A sound file."""
    file = tmp_path / "model.safetensors"
    model_io.write(file, ARRAYS, META)
    return file


def split(raw: bytes) -> tuple[dict[str, Any], bytes]:
    """Take a file apart into header and data."""
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def join(header: Any, data: bytes) -> bytes:
    """Put a file together."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def same(arrays: dict[str, Any], expected: dict[str, Any]) -> bool:
    return arrays.keys() == expected.keys() and all(
        arrays[name].dtype == array.dtype
        and arrays[name].shape == array.shape
        and arrays[name].tobytes() == array.tobytes()
        for name, array in expected.items()
    )


# ---------------------------------------------------------------- round trips


@pytest.mark.parametrize("mmap", [True, False])
def test_round_trip(path: Path, mmap: bool) -> None:
    arrays, meta = model_io.read(str(path), mmap=mmap)
    assert same(arrays, ARRAYS)
    assert meta == META
    for array in arrays.values():
        assert type(array) is np.ndarray
        assert array.flags.aligned
        assert array.flags.writeable is not mmap


TABLES = st.dictionaries(
    st.text(max_size=8).filter(lambda name: name != "__metadata__"),
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.uint8]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    min_size=1,  # without any, safetensors 0.4 writes what it cannot read
    max_size=4,
)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
METAS = st.dictionaries(st.text(max_size=5), st.recursive(
    LEAVES | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=5
), max_size=4)  # fmt: skip


@given(TABLES, METAS, st.booleans())
@settings(max_examples=60, deadline=None)
def test_anything_goes_round(arrays: dict[str, Any], meta: dict[str, Any], mmap: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "x")
        model_io.write(file, arrays, meta)
        read, described = model_io.read(file, mmap=False) if not mmap else model_io.read(file)
        assert same(read, arrays)
        assert described == meta
        assert os.listdir(folder) == ["x"]


def test_other_layouts_are_stored_plainly(tmp_path: Path) -> None:
    square = np.arange(6.0).reshape(2, 3)
    arrays = {"t": square.T, "strided": square[:, ::2], "big": np.arange(3, dtype=">i8")}
    model_io.write(tmp_path / "x", arrays, {})
    read, _ = model_io.read(tmp_path / "x")
    for name, array in arrays.items():
        assert np.array_equal(read[name], array)
        assert read[name].flags.c_contiguous


def test_other_programs_can_read_it(path: Path) -> None:
    assert same(safetensors.numpy.load_file(path), ARRAYS)
    with safetensors.safe_open(path, framework="np") as file:
        header = file.metadata()
    assert (header["format"], header["format_version"]) == ("matfac", "1")
    assert json.loads(header["content"]) == META


def test_rewritten_by_another_program_it_is_the_same_model(path: Path) -> None:
    with safetensors.safe_open(path, framework="np") as file:
        header = file.metadata()
    path.write_bytes(safetensors.numpy.save(dict(reversed(ARRAYS.items())), header))
    assert same(model_io.read(path, mmap=False)[0], ARRAYS)


def test_unaligned_arrays_are_copied(path: Path) -> None:
    header, data = split(path.read_bytes())
    text = json.dumps(header).encode()
    text += b" " * ((3 - len(text)) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    arrays, _ = model_io.read(path)
    assert same(arrays, ARRAYS)
    assert all(array.flags.aligned for array in arrays.values())


# ---------------------------------------------------------------- writing is all or nothing


@pytest.mark.parametrize(
    ("arrays", "meta", "message"),
    [
        (
            {"x": np.zeros(2, np.float16)},
            {},
            "array 'x' is float16, which a model file cannot hold",
        ),
        ({"x": np.array(["a"])}, {}, "array 'x' is <U1"),
        ({"x": np.array([None])}, {}, "array 'x' is object"),
        ({"x": [1.0]}, {}, "array 'x' is list"),
        ({"__metadata__": np.zeros(2)}, {}, "an array's name must be a string other than"),
        ({3: np.zeros(2)}, {}, "an array's name must be a string"),
        ({"x": np.zeros((1,) * 9)}, {}, "array 'x' has 9 dimensions, more than 8"),
        ({}, {"x": np.zeros(2)}, "meta must hold what JSON can"),
        ({}, {"x": float("nan")}, "meta must hold what JSON can"),
        ({}, [1], "meta must be a dict, got list"),
    ],
)
def test_bad_content_leaves_the_old_file(arrays: Any, meta: Any, message: str, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises((TypeError, ValueError), match=message):
        model_io.write(path, arrays, meta)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("step", ["_atomic.os.replace", "_atomic._sync"])
def test_failure_leaves_the_old_file(
    step: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(f"matfac.{step}", fail)
    before = path.read_bytes()
    with pytest.raises(OSError, match="disk full"):
        model_io.write(path, {"a": np.zeros(3)}, {})
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no directory"):
        model_io.write(tmp_path / "none" / "x", {}, {})
    with pytest.raises(IsADirectoryError, match="is a directory: give the name of a file"):
        model_io.write(tmp_path, {}, {})


@pytest.mark.skipif(os.name == "nt", reason="Windows replaces no mapped file")
def test_a_mapped_model_survives_its_replacement(path: Path) -> None:
    arrays, _ = model_io.read(path)
    model_io.write(path, {"a": np.zeros(100_000)}, {})
    assert same(arrays, ARRAYS)


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions and links")
def test_permissions_and_links(tmp_path: Path) -> None:
    target, link = tmp_path / "v1", tmp_path / "current"
    link.symlink_to(target)
    before = os.umask(0o027)
    try:
        model_io.write(link, ARRAYS, META)
    finally:
        os.umask(before)
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert same(model_io.read(link)[0], ARRAYS)


# ---------------------------------------------------------------- reading trusts nothing


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        model_io.read(tmp_path / "nowhere")


@pytest.mark.parametrize("mmap", [True, False])
def test_every_truncation_is_an_error(path: Path, mmap: bool) -> None:
    raw = path.read_bytes()
    for length in (*range(40), *range(40, len(raw), 7), len(raw) - 1):
        path.write_bytes(raw[:length])
        with pytest.raises(ValueError, match=r"model\.safetensors .*truncated"):
            model_io.read(path, mmap=mmap)
    path.write_bytes(raw + b"\0")
    with pytest.raises(ValueError, match="1 bytes too many"):
        model_io.read(path, mmap=mmap)


def test_every_flipped_byte_is_an_error(path: Path) -> None:
    raw = path.read_bytes()
    header = 8 + struct.unpack("<Q", raw[:8])[0]
    padding = header - len(raw[:header].rstrip())  # white space: its kind does not matter
    rng = np.random.default_rng(0)
    for at in [*range(header - padding), *range(header, len(raw))]:
        for bit in rng.choice(8, 2, replace=False):
            damaged = bytearray(raw)
            damaged[at] ^= 1 << int(bit)
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match=r"model\.safetensors (is|was) "):
                model_io.read(path, mmap=False)
            if at < header:
                with pytest.raises(ValueError, match=r"model\.safetensors (is|was) "):
                    model_io.read(path)


@given(st.binary(max_size=300), st.integers(0, 300))
@settings(max_examples=200, deadline=None)
def test_noise_is_an_error(noise: bytes, length: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "x")
        for raw in (noise, struct.pack("<Q", length) + noise):
            file.write_bytes(raw)
            with pytest.raises(ValueError, match="x is"):
                model_io.read(file)


def rewritten(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    """Return what damages a file by changing its header."""

    def damage(raw: bytes) -> bytes:
        header, data = split(raw)
        change(header)
        return join(header, data)

    return damage


def entry(**changes: Any) -> Callable[[bytes], bytes]:
    return rewritten(lambda header: header["user_factors"].update(changes))


def described(**changes: Any) -> Callable[[bytes], bytes]:
    return rewritten(lambda header: header["__metadata__"].update(changes))


LIES = {
    "foreign": (lambda raw: safetensors.numpy.save({"a": np.zeros(3)}), "but not a matfac model"),
    "foreign format": (described(format="pt"), "but not a matfac model: give a file that"),
    "no description": (rewritten(lambda header: header.pop("__metadata__")), "not a matfac model"),
    "newer": (described(format_version="3"), r"newer matfac \(format 3, .*\): upgrade matfac"),
    "much newer": (described(format_version="9" * 5000), "newer matfac .*: upgrade matfac"),
    "no version": (described(format_version="one"), "its format version is 'one'"),
    "number for version": (described(format_version=1), "its format version is 1"),
    "superscript": (described(format_version="²"), "its format version is '²'"),
    "description": (described(content="{"), "its description is not readable"),
    "description's kind": (described(content="[]"), "its description is not a table"),
    "deep description": (described(content="[" * 100_000), "its description is not readable"),
    "no content": (rewritten(lambda h: h["__metadata__"].pop("content")), "not readable"),
    "edited description": (described(content='{"class": "x"}'), "checksum of its header differs"),
    "no checksum": (rewritten(lambda h: h["__metadata__"].pop("header_crc32")), "checksum"),
    "renamed array": (rewritten(lambda h: h.update(x=h.pop("item_ids"))), "checksum of its header"),
    "dtype of the same size": (entry(dtype="I32"), "checksum of its header differs"),
    "unknown dtype": (entry(dtype="F16"), "'user_factors' is not described soundly"),
    "no dtype": (entry(dtype=None), "'user_factors' is not described soundly"),
    "shape is a number": (entry(shape=12), "not described soundly"),
    "negative shape": (entry(shape=[-4, -3]), "not described soundly"),
    "fractional shape": (entry(shape=[4.0, 3]), "not described soundly"),
    "true shape": (entry(shape=[True, 12]), "not described soundly"),
    "huge shape": (entry(shape=[2**61, 2**61]), "not described soundly"),
    "overflowing shape": (entry(shape=[2**32, 2**32, 12]), "not described soundly"),
    "empty but huge": (entry(shape=[0, 2**61]), "not described soundly"),
    "too many dimensions": (entry(shape=[1] * 40 + [12]), "not described soundly"),
    "other shape": (entry(shape=[4, 4]), "'user_factors' does not fit the file"),
    "transposed": (entry(shape=[3, 4]), "checksum of its header differs"),
    "offsets past the end": (entry(data_offsets=[10**6, 10**6 + 48]), "does not fit the file"),
    "offsets reversed": (entry(data_offsets=[48, 0]), "does not fit the file"),
    "one offset": (entry(data_offsets=[0]), "not described soundly"),
    "overlap": (entry(data_offsets=[0, 48]), "overlaps another or leaves a gap"),
    "entry is a list": (rewritten(lambda h: h.update(user_factors=[])), "not described soundly"),
    "array left out": (rewritten(lambda h: h.pop("user_factors")), "leaves a gap"),
    "header is a list": (lambda raw: join([1], b""), "its header is not a table"),
    "header is no JSON": (lambda raw: struct.pack("<Q", 4) + b"{{{{", "its header is not JSON"),
    "deep header": (lambda raw: struct.pack("<Q", 10**6) + b"[" * 10**6, "header is not JSON"),
    "header not UTF-8": (lambda raw: struct.pack("<Q", 4) + b'{"\xff"', "header is not JSON"),
    "repeated name": (lambda raw: struct.pack("<Q", 13) + b'{"a":1,"a":2}', "header is not JSON"),
    "huge header": (lambda raw: b"\xff" * 8 + raw[8:], "claims a header of 18446744073709551615"),
    "zip": (lambda raw: b"PK\x03\x04" + b"\0" * 100, "is not a matfac model"),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_are_found_out(lie: str, path: Path) -> None:
    damage, message = LIES[lie]
    path.write_bytes(damage(path.read_bytes()))
    for mmap in (True, False):
        with pytest.raises(ValueError, match=message) as caught:
            model_io.read(path, mmap=mmap)
        assert str(path) in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="makes a sparse file")
def test_a_huge_header_is_refused_unread(path: Path) -> None:
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", 1 << 32))
        file.truncate(1 << 33)
    with pytest.raises(ValueError, match="claims a header of 4294967296 bytes"):
        model_io.read(path)


def test_require(path: Path) -> None:
    arrays, _ = model_io.read(path)
    assert model_io.require(arrays, "user_factors", ndim=2, path=path) is arrays["user_factors"]
    model_io.require(arrays, "item_ids", dtype=np.int64, ndim=1, path=path)
    for name, dtype, ndim, message in [
        ("bias", None, 1, "it has no array 'bias', only item_factors, item_ids, "),
        ("item_ids", None, 1, "'item_ids' is int64 of rank 1, not floating of 1"),
        ("item_ids", np.int32, 1, "'item_ids' is int64 of rank 1, not int32 of 1"),
        ("user_factors", None, 1, "'user_factors' is float32 of rank 2, not floating of 1"),
    ]:
        with pytest.raises(ValueError, match=message) as caught:
            model_io.require(arrays, name, dtype=dtype, ndim=ndim, path=path)  # type: ignore[arg-type]
        assert str(path) in str(caught.value)


# ---------------------------------------------------------------- strings


@given(st.lists(st.text(max_size=6)) | st.lists(st.text(st.characters(codec="ascii"), max_size=6)))
@settings(deadline=None)
def test_strings_go_round(texts: list[str]) -> None:
    strings = np.array(texts, dtype=str)  # without zeros at the end of a text
    packed = model_io.pack_strings("ids", strings)
    assert packed["ids.bytes"].dtype == np.uint8
    assert packed["ids.offsets"].dtype == np.int64
    unpacked = model_io.unpack_strings(packed, "ids", path="x")
    assert unpacked.dtype.kind == "U"
    assert unpacked.tolist() == strings.tolist()


def test_lone_surrogates_go_round() -> None:
    strings = np.array(["\udc80", "a"])
    packed = model_io.pack_strings("ids", strings)
    assert (model_io.unpack_strings(packed, "ids", path="x") == strings).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids.offsets": np.array([], np.int64)}, "offsets of 'ids' do not fit its bytes"),
        ({"ids.offsets": np.array([0, 3, 2, 4])}, "do not fit"),
        ({"ids.offsets": np.array([1, 2, 3, 4])}, "do not fit"),
        ({"ids.offsets": np.array([0, 2, 3, 5])}, "do not fit"),
        ({"ids.offsets": np.array([-1, 4])}, "do not fit"),
        ({"ids.offsets": np.array([0, 4], np.int32)}, "is int32 of rank 1, not int64 of 1"),
        ({"ids.bytes": np.frombuffer(b"\xff\xff\xff\xff", np.uint8)}, "'ids' is not UTF-8"),
    ],
)
def test_damaged_strings(change: dict[str, Any], message: str) -> None:
    packed = model_io.pack_strings("ids", np.array(["ab", "c", "d"]))
    with pytest.raises(ValueError, match=message):
        model_io.unpack_strings({**packed, **change}, "ids", path="model")

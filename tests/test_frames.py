"""Frames and Parquet files: what is read, and what is said of what cannot be."""

from __future__ import annotations

import os
import sys
from datetime import date, datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from matfac.interactions import Interactions

ROWS = [("ann", 10, 4.5), ("bob", 10, 3.0), ("ann", 7, 1.0)]


def entries(data: Interactions) -> dict[tuple[Any, Any], float]:
    """The matrix as a dict of id pairs."""
    coo = data.matrix.tocoo()
    users, items = data.user_ids[coo.row], data.item_ids[coo.col]
    return dict(zip(zip(users.tolist(), items.tolist(), strict=True), coo.data, strict=True))


EXPECTED = {(user, item): value for user, item, value in ROWS}


def table(library: str, columns: dict[str, Any]) -> Any:
    """Make a frame of `library`."""
    module: Any = pytest.importorskip(library, reason=f"{library} is not installed")
    pytest.importorskip("narwhals", reason="frames need narwhals")
    return module.table(columns) if library == "pyarrow" else module.DataFrame(columns)


COLUMNS = {name: list(column) for name, column in
           zip(("user", "item", "rating"), zip(*ROWS, strict=True), strict=True)}  # fmt: skip
LIBRARIES = pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])


@LIBRARIES
def test_frames(library: str) -> None:
    data = Interactions.from_frame(table(library, COLUMNS))
    assert entries(data) == EXPECTED
    assert data.matrix.dtype == np.float32
    events = Interactions.from_frame(table(library, COLUMNS), value=None, dtype="float64")
    assert set(entries(events).values()) == {1.0}
    renamed = table(library, {"u": [1, 2], "i": [3, 4], "n": [True, False], "t": [5.5, 6.0]})
    data = Interactions.from_frame(renamed, user="u", item="i", value="n", timestamp="t")
    assert entries(data) == {(1, 3): 1, (2, 4): 0}
    assert data.timestamps is not None
    assert data.timestamps.tolist() == [5.5, 6.0]


@LIBRARIES
@pytest.mark.parametrize("with_pyarrow", [True, False])
def test_strings_with_and_without_pyarrow(
    library: str, with_pyarrow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = ["bob", "ann", "ann"] * 5
    frame = table(library, {"user": users, "item": list(range(15))})
    if not with_pyarrow and library != "pyarrow":
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    data = Interactions.from_frame(frame, value=None)
    assert data.user_ids.tolist() == ["ann", "bob"]
    assert np.diff(data.matrix.indptr).tolist() == [10, 5]


@pytest.mark.parametrize("with_pyarrow", [True, False])
def test_categories(with_pyarrow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    pl = pytest.importorskip("polars", reason="polars is not installed")
    words = ["b", "a", "b"]
    frames = [
        pd.DataFrame(
            {"user": pd.Categorical(words, categories=["z", "b", "a"]), "item": [1, 2, 3]}
        ),
        pl.DataFrame({"user": pl.Series(words, dtype=pl.Categorical), "item": [1, 2, 3]}),
        pl.DataFrame({"user": pl.Series(words, dtype=pl.Enum(["b", "z", "a"])), "item": [1, 2, 3]}),
    ]
    numbers = pd.DataFrame({"user": pd.Categorical([30, 10, 30]), "item": [1, 2, 3]})
    if not with_pyarrow:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    for frame in frames:
        data = Interactions.from_frame(frame, value=None)
        assert data.user_ids.tolist() == ["a", "b"]
        assert np.diff(data.matrix.indptr).tolist() == [1, 2]
    assert Interactions.from_frame(numbers, value=None).user_ids.tolist() == [10, 30]


def test_pandas_oddities() -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pd.DataFrame({
        "user": pd.array([5, 4], "Int64"), "item": np.array([1, "x"], object),
        "rating": pd.array([1, 2], "Int32"),
    })  # fmt: skip
    assert entries(Interactions.from_frame(frame)) == {(5, "1"): 1, (4, "x"): 2}
    with pytest.raises(ValueError, match=r"column 'user' is missing \(null\) in row 1 \(from 0\)"):
        Interactions.from_frame(pd.DataFrame({"user": [1, None], "item": [1, 2], "rating": [1, 2]}))


@pytest.mark.parametrize("coded", [False, True])
def test_a_wrong_id_is_found_in_its_row(coded: bool) -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pd.DataFrame({"user": [*"abab", "", "c"], "item": range(6)})
    if coded:
        frame["user"] = pd.Categorical(frame["user"], categories=["z", "b", "a", "", "c"])
    with pytest.raises(ValueError, match=r"column 'user': the id in row 4 \(from 0\) is empty"):
        Interactions.from_frame(frame, value=None)


def test_chunks_and_dictionaries_of_arrow() -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    users = pa.chunked_array([["b", "a"], ["c", "b"]]).dictionary_encode()
    views = pa.chunked_array([pa.array(["x", "y"]), pa.array(["x", "z"])]).cast(pa.large_string())
    data = Interactions.from_frame(pa.table({"user": users, "item": views}), value=None)
    assert entries(data) == {("b", "x"): 1, ("a", "y"): 1, ("c", "x"): 1, ("b", "z"): 1}


def test_string_views_of_arrow() -> None:
    pa = pytest.importorskip("pyarrow", minversion="18", reason="casts string views")
    users = pa.array(["b", "a", "b"]).cast(pa.string_view())
    data = Interactions.from_frame(pa.table({"user": users, "item": [1, 2, 3]}), value=None)
    assert data.user_ids.tolist() == ["a", "b"]


class Stream:
    """A frame that narwhals does not know, but Arrow does."""

    def __init__(self, frame: Any) -> None:
        self.frame = frame

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.frame.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
@pytest.mark.parametrize("with_pyarrow", [True, False])
def test_arrow_streams(library: str, with_pyarrow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pytest.importorskip("polars", reason="polars is not installed")
    frame = Stream(table(library, COLUMNS))
    if not with_pyarrow and library == "polars":
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert entries(Interactions.from_frame(frame)) == EXPECTED


def test_a_record_batch_of_arrow() -> None:
    (batch,) = table("pyarrow", COLUMNS).to_batches()
    assert entries(Interactions.from_frame(batch)) == EXPECTED


def test_lazy_frames() -> None:
    assert entries(Interactions.from_frame(table("polars", COLUMNS).lazy())) == EXPECTED


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_times_of_frames(library: str) -> None:
    columns = {
        "user": [1, 2], "item": [1, 2],
        "naive": [datetime(1970, 1, 2), datetime(1970, 1, 1, 0, 0, 0, 250_000)],
        "aware": [datetime(1970, 1, 2, tzinfo=timezone.utc)] * 2,
    }  # fmt: skip
    if library == "polars":
        columns["day"] = [date(1970, 1, 2), date(1970, 1, 3)]
    frame = table(library, columns)
    expected = {"naive": [86400, 0.25], "aware": [86400, 86400], "day": [86400, 172800]}
    for name in columns:
        if name in expected:
            data = Interactions.from_frame(frame, value=None, timestamp=name)
            assert data.timestamps is not None
            assert data.timestamps.tolist() == expected[name]


def test_times_as_objects() -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    berlin = pd.Series(pd.to_datetime(["2024-01-01", "2024-07-01"])).dt.tz_localize("Europe/Berlin")
    seconds = [1704063600.0, 1719784800.0]
    naive = [datetime(2023, 12, 31, 23), pd.Timestamp("2024-06-30 22:00")]
    for times in (berlin, pd.DatetimeIndex(berlin), list(berlin), naive, np.array(naive, object)):
        data = Interactions.from_arrays([1, 2], [1, 2], timestamps=times)
        assert data.timestamps is not None
        assert data.timestamps.tolist() == seconds
    frame = pd.DataFrame({"user": [1, 2], "item": [1, 2], "when": np.array(naive, object)})
    data = Interactions.from_frame(frame, value=None, timestamp="when")
    assert data.timestamps is not None
    assert data.timestamps.tolist() == seconds
    for missing in (berlin.where([True, False]), [naive[0], pd.NaT], [naive[0], None]):
        with pytest.raises(ValueError, match=r"timestamps is missing \(NaT\) in row 1"):
            Interactions.from_arrays([1, 2], [1, 2], timestamps=missing)
    for wrong in (["2024-01-01"] * 2, pd.PeriodIndex(["2024-01", "2024-02"], freq="M")):
        with pytest.raises((TypeError, ValueError), match=r"datetimes are taken too: .*_datetime"):
            Interactions.from_arrays([1, 2], [1, 2], timestamps=wrong)


@LIBRARIES
@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({}, {"user": "who"}, "frame has no column 'who'; it has 'user', 'item', 'rating': name"),
        ({}, {"value": "stars"}, r"give|name the column with value= \(None where there are no val"),
        ({}, {"item": "user"}, "item and user name the same column, 'user'"),
        ({}, {"user": 0}, "user must be the name of a column, got 0"),
        ({"user": ["a", None, "b"]}, {}, r"column 'user' is missing \(null\) in row 1"),
        ({"rating": [1, 2, None]}, {}, r"column 'rating' is missing \(null\) in row 2"),
        ({"rating": ["1", "2", "3"]}, {}, "column 'rating' must hold numbers, got String: cast"),
        ({"rating": [1.0, 2.0, float("inf")]}, {}, "values: the value in row 2 .*not finite"),
        ({"user": [1.5, 2.0, 3.0]}, {}, r"column 'user': the id in row 0 \(from 0\), 1.5"),
        ({"user": [datetime(2020, 1, 1)] * 3}, {}, "'user' must hold integers or strings, got D"),
        (
            {"when": ["x"] * 3},
            {"timestamp": "when"},
            "hold numbers, dates or datetimes, got Str.*_date",
        ),
        ({"user": ["a", "", "b"]}, {}, "column 'user': the id in row"),
    ],
)
def test_bad_frames(
    library: str, columns: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    frame = table(library, {**COLUMNS, **columns})
    with pytest.raises((ValueError, TypeError), match=message):
        Interactions.from_frame(frame, **options)


def test_what_is_no_frame() -> None:
    pytest.importorskip("narwhals", reason="frames need narwhals")
    with pytest.raises(TypeError, match=r"frame must be a pandas, polars or PyArrow table.* dict"):
        Interactions.from_frame({"user": [1]})
    frame = table("pandas", COLUMNS).set_index(["user", "item"])
    with pytest.raises(TypeError, match=r"got Series: make a series a table by reset_index\(\)"):
        Interactions.from_frame(frame["rating"])
    with pytest.raises(TypeError, match="got ChunkedArray"):
        Interactions.from_frame(table("pyarrow", COLUMNS)["rating"])
    with pytest.raises(ValueError, match=r"'user' in its index.*: give frame\.reset_index\(\)"):
        Interactions.from_frame(frame)
    with pytest.raises(TypeError, match=r"got the path 'x\.csv': use Interactions\.read"):
        Interactions.from_frame("x.csv")


def test_without_narwhals(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("narwhals", "narwhals.stable", "narwhals.stable.v1"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="reading a frame needs narwhals"):
        Interactions.from_frame(object())


# ---------------------------------------------------------------- Parquet


@pytest.fixture(params=["pyarrow", "polars"])
def parquet(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Path:
    """A Parquet file, to be read by either library."""
    pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    pytest.importorskip("narwhals", reason="Parquet needs narwhals")
    path = tmp_path / "ratings.parquet"
    if request.param == "polars":
        table("polars", COLUMNS).write_parquet(path)
        blocked: dict[str, ModuleType | None] = {"pyarrow": None, "pyarrow.parquet": None}
        for name, module in blocked.items():
            monkeypatch.setitem(sys.modules, name, module)
    else:
        pq = pytest.importorskip("pyarrow.parquet")
        pq.write_table(table("pyarrow", COLUMNS), path)
    return path


def test_parquet(parquet: Path) -> None:
    assert entries(Interactions.read(parquet)) == EXPECTED
    assert (
        entries(Interactions.from_parquet(os.fspath(parquet), value=None)).keys() == EXPECTED.keys()
    )
    with pytest.raises(ValueError, match=r"ratings\.parquet has no column 'who'; it has 'user', "):
        Interactions.read(parquet, user="who")
    parquet.write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"ratings\.parquet cannot be read as Parquet"):
        Interactions.read(parquet)


def test_folder_of_parquet_files(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    folder = tmp_path / "all.parquet"
    folder.mkdir()
    for k in range(2):
        pq.write_table(table("pyarrow", {**COLUMNS, "rating": [k, k, k]}), folder / f"{k}.parquet")
    data = Interactions.read(folder, duplicates="sum")
    assert entries(data) == dict.fromkeys(EXPECTED, 1.0)


def test_parquet_without_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    path.touch()
    for name in ("pyarrow", "pyarrow.parquet", "polars"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install matfac\[frames\]"):
        Interactions.read(path)


@pytest.mark.parametrize("coded", [False, True])
def test_text_that_is_not_utf8(coded: bool, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    pytest.importorskip("narwhals", reason="frames need narwhals")
    latin = pa.array([b"Zoe", "Zoë".encode("latin-1")], pa.binary())
    users = pa.Array.from_buffers(pa.string(), 2, latin.buffers())
    table = pa.table({"user": users.dictionary_encode() if coded else users, "item": [1, 2]})
    pq.write_table(table, tmp_path / "latin.parquet")
    with pytest.raises(ValueError, match=r"column 'user' is damaged, or is not text in UTF-8"):
        Interactions.from_frame(table, value=None)
    with pytest.raises(ValueError, match=r"column 'user' is damaged, or is not text in UTF-8"):
        Interactions.read(tmp_path / "latin.parquet", value=None)


def test_codes_outside_the_categories() -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pytest.importorskip("narwhals", reason="frames need narwhals")
    users = pa.DictionaryArray.from_arrays(
        pa.array([0, 7], pa.int32()), pa.array(["a", "b"]), safe=False
    )
    with pytest.raises(ValueError, match=r"column 'user' is damaged"):
        Interactions.from_frame(pa.table({"user": users, "item": [1, 2]}), value=None)


def test_pandas_columns_of_dates() -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("narwhals", reason="frames need narwhals")
    days = [date(2020, 1, 1), date(1969, 12, 31)]
    frame = pd.DataFrame({"user": [1, 2], "item": [1, 2], "rating": [1.0, 2.0], "day": days})
    found = Interactions.from_frame(frame, timestamp="day").timestamps
    assert found.tolist() == [1577836800, -86400]
    with pytest.raises(ValueError, match="column 'day' is missing"):
        Interactions.from_frame(frame.assign(day=[days[0], None]), timestamp="day")
    with pytest.raises(TypeError, match="column 'day' must hold numbers, dates or datetimes"):
        Interactions.from_frame(frame.assign(day=[days[0], "x"]), timestamp="day")


def test_a_folder_of_parquet_files(parquet: Path) -> None:
    assert entries(Interactions.read(parquet.parent)) == EXPECTED


def test_columns_of_one_name_are_refused() -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("narwhals", reason="frames need narwhals")
    frame = pd.DataFrame([[1, 1, 2.0]], columns=["user", "user", "rating"])
    with pytest.raises(ValueError, match=r"frame must have distinct names of columns.*'user' 2"):
        Interactions.from_frame(frame, item="user")

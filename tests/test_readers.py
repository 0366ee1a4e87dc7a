"""Text files: what is read, and what is said of what cannot be."""

from __future__ import annotations

import gzip
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matfac import _readers
from matfac.interactions import Interactions

ROWS = [("ann", 10, 4.5), ("bob", 10, 3.0), ("ann", 7, 1.0)]


def entries(data: Interactions) -> dict[tuple[Any, Any], float]:
    """The matrix as a dict of id pairs."""
    coo = data.matrix.tocoo()
    users, items = data.user_ids[coo.row], data.item_ids[coo.col]
    return dict(zip(zip(users.tolist(), items.tolist(), strict=True), coo.data, strict=True))


EXPECTED = {(user, item): value for user, item, value in ROWS}


@pytest.fixture(params=["standard library", "pyarrow"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Read small files by either reader."""
    if request.param == "pyarrow":
        pytest.importorskip("pyarrow", reason="the fast reader needs pyarrow")
        monkeypatch.setattr(_readers, "ARROW_FROM_BYTES", 0)
    return str(request.param)


def put(folder: Path, text: str, name: str = "ratings.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("sep", [",", "\t", ";", "|", "::", " "])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.usefixtures("reader")
def test_separators_headers_and_line_ends(sep: str, header: bool, end: str, tmp_path: Path) -> None:
    lines = [sep.join(map(str, row)) for row in ROWS]
    path = put(
        tmp_path, end.join(([sep.join(("user", "item", "stars"))] if header else []) + lines)
    )
    assert entries(Interactions.from_csv(path)) == EXPECTED
    assert entries(Interactions.from_csv(path, sep=sep, header=header)) == EXPECTED
    assert entries(Interactions.read(str(path))) == EXPECTED


@pytest.mark.parametrize("name", ["a.csv", "b.tsv", "c.txt", "d.dat", "e.CSV", "u.data", "f.tab"])
@pytest.mark.parametrize("zipped", [False, True])
def test_extensions(name: str, zipped: bool, tmp_path: Path) -> None:
    sep = "\t" if name.endswith(("tsv", "tab")) else ","
    text = "".join(sep.join(map(str, row)) + "\n" for row in ROWS).encode()
    path = tmp_path / (name + ".gz" if zipped else name)
    path.write_bytes(gzip.compress(text) if zipped else text)
    assert entries(Interactions.read(path)) == EXPECTED


def test_columns_by_name_and_number(tmp_path: Path) -> None:
    text = "when,rating,movie id,who\n100,5,1,ann\n200,4,2,ann\n"
    path = put(tmp_path, text)
    by_name = Interactions.from_csv(
        path, user="who", item="movie id", value="rating", timestamp="when"
    )
    by_number = Interactions.from_csv(path, user=3, item=2, value=1, timestamp=0)
    for data in (by_name, by_number):
        assert entries(data) == {("ann", 1): 5, ("ann", 2): 4}
        assert data.timestamps is not None
        assert data.timestamps.dtype == np.int64
        assert data.timestamps.tolist() == [100, 200]


@pytest.mark.usefixtures("reader")
def test_quotes_bom_blank_lines_and_spaces(tmp_path: Path) -> None:
    text = '\ufeffuser,item,rating\n\n"Smith, J",x , 4\n   \n"a ""b""",x,5\n\n'
    assert entries(Interactions.from_csv(put(tmp_path, text))) == {
        ("Smith, J", "x"): 4, ('a "b"', "x"): 5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        (["1", "20"], "i"), (["-3", "0"], "i"), (["1.0", "2.00"], "i"), ([" 1", "2 "], "i"),
        (["007", "7"], "U"), (["1", "x"], "U"), (["+5", "5"], "U"), (["1.5", "2"], "U"),
        (["1_0", "2"], "U"), (["９", "2"], "U"), ([str(2**63), "1"], "U"), (["-0", "1"], "U"),
        (["0x1", "2"], "U"), (["1", "02"], "U"), ([str(-(2**63)), str(2**63 - 1)], "i"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("reader")
def test_ids_are_integers_where_plainly_written(ids: list[str], kind: str, tmp_path: Path) -> None:
    path = put(tmp_path, "".join(f"{name},1,5\n" for name in ids))
    data = Interactions.from_csv(path, header=False)
    assert data.user_ids.dtype.kind == kind
    assert len(data.user_ids) == 2


@pytest.mark.parametrize(
    ("text", "options", "rows"),
    [
        ("user,item\nann,x\n", {"value": None}, 1),  # usual names
        ("who,what\n1,2\n", {"value": None}, 1),  # numbers below no numbers
        ("ann,x\nbob,y\n", {"value": None}, 2),
        ("1,2\n3,4\n", {"value": None}, 2),
        ("a,b,when\nann,x,2020-01-01\n", {"value": None, "timestamp": 2}, 1),
        ("ann,x,2020-01-01\n", {"value": None, "timestamp": 2}, 1),
        ("ann,x,5\n", {}, 1),
        ("a,b,c\nann,x,5\n", {}, 1),
        ("1,2,3\n4,5,6\n", {"header": True}, 1),
        ("ann,x\n", {"value": None, "header": False}, 1),
    ],
)
def test_whether_there_is_a_header(
    text: str, options: dict[str, Any], rows: int, tmp_path: Path
) -> None:
    assert Interactions.from_csv(put(tmp_path, text), **options).nnz == rows


def test_a_bad_first_value_is_no_header_where_the_ids_are_numbers(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line 1, column 2: 'x' is not a number"):
        Interactions.from_csv(put(tmp_path, "1,2,x\n1,3,4\n"))


@pytest.mark.parametrize(
    ("texts", "seconds"),
    [
        (["5", "7"], [5, 7]),
        (["5", "7.5"], [5, 7.5]),
        (["1970-01-01", "1970-01-02 00:00:01"], [0, 86401]),
        (["1970-01-01T00:00:00Z", "1970-01-01T02:00:00+01:00"], [0, 3600]),
    ],
)
@pytest.mark.usefixtures("reader")
def test_times(texts: list[str], seconds: list[float], tmp_path: Path) -> None:
    text = "user,item,when\n" + "".join(f"{k},1,{when}\n" for k, when in enumerate(texts))
    data = Interactions.from_csv(put(tmp_path, text), value=None, timestamp="when")
    assert data.timestamps is not None
    assert data.timestamps.tolist() == seconds


def test_duplicates_follow_the_time(tmp_path: Path) -> None:
    path = put(tmp_path, "1,1,5,20\n1,1,3,10\n")
    assert Interactions.from_csv(path).matrix.data.tolist() == [3]
    assert Interactions.from_csv(path, timestamp=3).matrix.data.tolist() == [5]
    assert Interactions.from_csv(path, value=None).matrix.data.tolist() == [2]


def test_encodings(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("é,1,5\n".encode("latin-1"))
    assert Interactions.from_csv(path, encoding="latin-1").user_ids.tolist() == ["é"]
    with pytest.raises(ValueError, match=r"is not text in utf-8 .*: give encoding="):
        Interactions.from_csv(path)
    with pytest.raises(ValueError, match="encoding 'klingon' is unknown"):
        Interactions.from_csv(path, encoding="klingon")


def test_a_file_longer_than_a_chunk(tmp_path: Path, reader: str) -> None:
    n = 3 * _readers.ROWS + 5
    lines = [f"u{k % 97},{k},{k % 5 + 1}\n" for k in range(n)]
    lines.insert(_readers.ROWS, "\n" * (_readers.ROWS + 1))  # a whole chunk of blank lines
    data = Interactions.from_csv(put(tmp_path, "".join(lines)))
    assert (data.shape, data.nnz) == ((97, n), n)
    assert entries(data)["u3", 97 + 3] == 1


FIELDS = st.text("ab01 ,\"'é-.", max_size=4)


@given(st.lists(st.tuples(FIELDS, FIELDS, st.sampled_from(["1", "2.5", " 3 ", "x", ""]))))
@settings(max_examples=150, deadline=None)
def test_both_readers_agree(rows: list[tuple[str, str, str]]) -> None:
    pytest.importorskip("pyarrow", reason="compares the fast reader, which needs pyarrow")
    quoted = [[field.replace('"', '""') for field in row] for row in [("u", "i", "v"), *rows]]
    outcomes: list[Any] = []
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = put(Path(folder), "".join('"{}","{}","{}"\n'.format(*row) for row in quoted))
        for smallest in (0, 1 << 40):
            patch.setattr(_readers, "ARROW_FROM_BYTES", smallest)
            try:
                outcomes.append(entries(Interactions.from_csv(path, sep=",", header=True)))
            except ValueError as error:
                outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


# ---------------------------------------------------------------- what is said


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("user,item,rating\na,x,5\nb,x,abc\n", {}, "line 3, column 'rating': 'abc' is not a num"),
        ("a,x,5\n\nb,x,\n", {}, "line 3, column 2: '' is not a number: mend the line, or name"),
        ("a,x,5\nb,x,nan\n", {}, "line 2, column 2: 'nan' is not finite"),
        ("a,x,5\nb,x,-inf\n", {}, "line 2, column 2: '-inf' is not finite"),
        ("a,x,5\nb\n", {}, r"line 2: 1 field\(s\), but column 1 is field 1 \(from 0\)"),
        ("a,x,5\n,x,4\n", {}, "line 2, column 0: '' is no id"),
        ("a,x,5\na, ,4\n", {}, "line 2, column 1: ' ' is no id"),
        ("a,x,5\nb,x,1_0\n", {}, "line 2, column 2: '1_0' is not a number"),
        ("a,x,5,7\nb,x,4,1_0\n", {"timestamp": 3}, "line 2, column 3: '1_0' is not a number"),
        ("a,x,5,7\nb,x,4,z\n", {"timestamp": 3}, "line 2, column 3: 'z' is not a number"),
        ("a,x,5,2020-01-01\nb,x,4,7\n", {"timestamp": 3}, "'7' is neither a number nor an ISO"),
        ("a,x,5,7\nb,x,4,2020-01-01\n", {"timestamp": 3}, "line 2, .* '2020-01-01' is not a num"),
        ("a,x\nb,y\n", {}, r"value=2, but the first line has 2 field\(s\), 'a', 'x' .*value=None"),
        ("a,b,c\n1,2,3\n", {"value": "stars"}, "no column 'stars'; its first line has 'a', 'b',"),
        ("a,b,c\n1,2,3\n", {"item": 0}, "user and item name the same column, 0"),
        ("a,b,c\n", {}, r"has a header and no rows \(header=False if line 1 is data\)"),
        ("", {}, "ratings.csv is empty"),
        ("\n  \n", {}, "ratings.csv is empty"),
        ("", {"sep": ","}, "ratings.csv is empty"),
        ("abc\n", {}, "cannot tell the separator from the first line, 'abc': give sep="),
        ("a,b,1\n", {"sep": ""}, "sep must be a string such as ','"),
        ("a,b,1\n", {"user": "a", "header": False}, "user='a' needs a header, but header=False"),
        ("a,b,1\n", {"user": -1}, "user must be a field's number from 0 or a .* got -1"),
        ("a,b,1\n", {"user": None}, "user must be a field's number"),
        ("a,b,1\n", {"value": True}, "value must be a field's number"),
        ("a,b,1\n", {"header": "no"}, "header must be True, False or None, got 'no'"),
        ("a,b,1\n", {"duplicates": "x"}, "duplicates must be one of"),
        ("a,b,1\n", {"dtype": "int8"}, "dtype must be 'float32' or 'float64'"),
        ("a,x,5\na,x,4\n", {"duplicates": "error"}, "ratings.csv: user 'a' and item 'x' occur"),
        ("a,x,1e39\n", {}, "ratings.csv: values: the value in row 0 .*not fit in float32"),
        ("a::x::5\nb::y\n", {}, "line 2: 2 field.*separator '::'"),
        ("a\0,x,5\n", {}, "ends in a NUL|line contains NUL"),
        ("a,x,5\n" + '"b,x,4\n' * 9999 + "9" * 140_000, {}, "quotation mark that is never closed"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("reader")
def test_errors_name_the_place(
    text: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        Interactions.from_csv(put(tmp_path, text), **options)


def test_errors_of_the_operating_system_stay(tmp_path: Path) -> None:
    for name in ("none.csv", "none.parquet"):
        with pytest.raises(FileNotFoundError, match=re.escape(name)):
            Interactions.read(tmp_path / name)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match=r"folder\.csv holds no Parquet file"):
        Interactions.read(tmp_path / "folder.csv")


@pytest.mark.parametrize("keep", [0, 12, -4])
def test_broken_gzip(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"a,x,5\n" * 1000)[:keep] if keep else b"no gzip at all")
    with pytest.raises(ValueError, match=r"a\.csv\.gz is no whole gzip file"):
        Interactions.from_csv(path)


def test_unknown_extension() -> None:
    with pytest.raises(ValueError, match=r"cannot tell what 'x\.xlsx' holds"):
        Interactions.read("x.xlsx")

"""Text files whose columns nobody named: by the usual names in the header, else the first three."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from matfac import Interactions
from matfac.cli import main

VALUES = {"u": ["ann", "bob", "ann"], "i": ["x", "x", "y"], "r": ["5", "3", "4"], "t": list("789")}
WANTED = [("ann", "x", 5.0), ("ann", "y", 4.0), ("bob", "x", 3.0)]


def write(folder: Path, header: str, kinds: str) -> Path:
    rows = zip(*(VALUES.get(kind, ["a", "b", "c"]) for kind in kinds), strict=True)
    path = folder / "ratings.csv"
    path.write_text("\n".join((header, *map(",".join, rows))) + "\n")
    return path


def entries(data: Interactions) -> list[Any]:
    u, i = data.matrix.tocoo().coords
    return list(zip(data.user_ids[u], data.item_ids[i], data.matrix.data.tolist(), strict=True))


@pytest.mark.parametrize(
    ("header", "kinds"),
    [
        ("userId,movieId,rating,timestamp", "uirt"),
        ("movieId,userId,rating", "iur"),
        ("rating,userId,movieId", "rui"),
        ("item_id,user_id,timestamp,stars", "iutr"),
        ("user_id,session_id,item_id,rating", "uair"),  # a usual name at its own place goes first
        ("User-ID,ISBN,Book-Rating", "uir"),  # nothing that the header contradicts
    ],
)
def test_columns_are_found(header: str, kinds: str, tmp_path: Path) -> None:
    path = write(tmp_path, header, kinds)
    assert entries(Interactions.from_csv(path)) == WANTED


def test_events_and_columns_that_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, "item,user", "iu")
    events = Interactions.from_csv(path, value=None)
    assert [entry[:2] for entry in entries(events)] == [entry[:2] for entry in WANTED]
    path = write(tmp_path, "movieId,userId,rating", "uir")  # a header that is wrong
    named = Interactions.from_csv(path, user="movieId", item="userId")
    assert entries(named) == WANTED


@pytest.mark.parametrize(
    ("header", "kinds", "message"),
    [
        (",userId,movieId,rating", "tuir", r"the first column has no name \(a pandas index\?\)"),
        ("title,userId,rating", "iur", "field 1, the item where none is named, is 'userId'"),
        ("Item,who,opinion", "uir", "field 0, the user where none is named, is 'Item'"),
        ("user,item,timestamp", "uit", "field 2, the value where .*value=None where there are no"),
        ("rating,user,movie,movie_id", "ruia", "the item where none is named, is 'user'"),
    ],
)
def test_headers_that_contradict_are_refused(
    header: str, kinds: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        Interactions.from_csv(write(tmp_path, header, kinds))


def test_fit_tells_what_it_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "--out", str(tmp_path / "m.safetensors"), "--factors", "2"]
    for header, kinds, told in (
        ("movieId,userId,rating", "iur", "(user 'userId', item 'movieId', value 'rating')"),
        ("zoe,z,1", "uir", "(user 0, item 1, value 2)"),
    ):
        path = write(tmp_path, header, kinds)
        assert main([*words, str(path)]) == 0
        assert capsys.readouterr().out.splitlines()[0].endswith(f"entries {told}")

"""Ids as callers have them: floats that are no longer exact, and kinds that do not meet."""

from __future__ import annotations

import difflib
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from matfac import Interactions
from matfac._ids import IdIndex

BIG = 2**60


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.array([BIG + 1, BIG + 3], float), "float64 beyond 9007199254740992"),
        (np.array([1.0, 2.0**53]), r"users: the id in row 1 .* 9007199254740992\.0, is float64"),
        (np.array([-(2.0**53), 1.0]), "row 0"),
        (np.array([2**24 + 1, 1], np.float32), "float32 beyond 16777216"),
        ([1.0, float(BIG)], "give integers or strings"),
        (np.array([7, float(BIG)], object), "row 1"),
        (np.array([1.0, 2.0**63]), "no 64-bit integer"),
    ],
)
def test_floats_that_stand_for_several_integers_are_refused(ids: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Interactions.from_arrays(ids, [1, 2])


def test_a_column_with_holes_taken_out() -> None:
    pd = pytest.importorskip("pandas")
    ids = pd.Series([BIG + 1, BIG + 3, None])
    with pytest.raises(ValueError, match=r"users: .*give integers or strings"):
        Interactions.from_arrays(ids.dropna(), [1, 2])
    with pytest.raises(ValueError, match=r"frame: column 'user'.*give integers or strings"):
        Interactions.from_frame(pd.DataFrame({"user": ids, "item": 1}).dropna(), value=None)
    assert Interactions.from_arrays(ids.dropna().astype("Int64") * 0 + BIG, [1, 2]).shape == (1, 2)


def test_exact_ids_stay() -> None:
    whole = Interactions.from_arrays([2.0**53 - 1, 5.0], [1, 2])
    assert whole.user_ids.tolist() == [5, 2**53 - 1]
    mixed = Interactions.from_arrays(np.array([BIG + 1, 3.0], object), [1, 2])
    assert mixed.user_ids.tolist() == [3, BIG + 1]


def test_aligned_names_what_it_was_given() -> None:
    named = Interactions(sp.eye_array(2), ["a", "b"], [1, 2])
    with pytest.raises(
        TypeError,
        match=r"^user_ids holds integers such as 1, but the ids of the interactions are strings "
        r"such as 'a': convert the strings to integers, or refit a model on strings",
    ):
        named.aligned([1, 2], [1])
    with pytest.raises(TypeError, match=r"^item_ids holds integers such as 1"):
        Interactions(sp.eye_array(2), [1, 2], ["a", "b"]).aligned([1, 2], [1])
    with pytest.raises(ValueError, match=r"^user_ids must be distinct, but 'a'"):
        named.aligned(["a", "a"], [1])
    assert named.aligned(["b"], ["2", "7"]).toarray().tolist() == [[1, 0]]


def test_a_close_spelling_is_searched_among_few(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    search = difflib.get_close_matches

    def counting(word: str, among: list[str], n: int) -> list[str]:
        compared.append(len(among))
        return search(word, among, n=n)

    monkeypatch.setattr(difflib, "get_close_matches", counting)
    known = np.char.add("user-", np.arange(50_000).astype(str))
    for ids in (known, known[::-1].copy()):
        with pytest.raises(ValueError, match=r"'user-1234x' \(did you mean 'user-1234\d?'\?\)"):
            IdIndex(ids).lookup(["user-1234x"])
    assert max(compared) <= 64

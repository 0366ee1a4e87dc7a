"""Ids, matrices and what becomes of pairs that occur again."""

from __future__ import annotations

import copy
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from matfac._ids import IdIndex, factorize, recode
from matfac.interactions import Interactions

USERS = ["bob", "ann", "bob", "cy", "bob"]
ITEMS = [30, 10, 10, 20, 30]
VALUES = [1.0, 2.0, 3.0, 4.0, 5.0]
TIMES = [50, 1, 2, 3, 40]


def entries(data: Interactions) -> dict[tuple[Any, Any], float]:
    """The matrix as a dict of id pairs."""
    coo = data.matrix.tocoo()
    users, items = data.user_ids[coo.row], data.item_ids[coo.col]
    return dict(zip(zip(users.tolist(), items.tolist(), strict=True), coo.data, strict=True))


# ---------------------------------------------------------------- from_arrays


def test_arrays_become_a_canonical_matrix() -> None:
    data = Interactions.from_arrays(USERS, ITEMS, VALUES)
    assert data.user_ids.tolist() == ["ann", "bob", "cy"]
    assert data.user_ids.dtype.kind == "U"
    assert data.item_ids.dtype == np.int64
    assert isinstance(data.matrix, sp.csr_array)
    assert data.matrix.has_canonical_format
    assert data.matrix.dtype == np.float32
    assert data.matrix.indices.dtype == np.int32
    assert (data.shape, data.nnz, data.timestamps) == ((3, 3), 4, None)
    assert entries(data) == {
        ("ann", 10): 2, ("bob", 10): 3, ("bob", 30): 5, ("cy", 20): 4,
    }  # fmt: skip
    assert repr(data) == "Interactions(3 users x 3 items, 4 entries, float32)"


@pytest.mark.parametrize(
    ("rule", "value", "when"),
    [("last", 1, 50), ("first", 5, 40), ("sum", 6, 50), ("mean", 3, 50), ("max", 5, 50)],
)
def test_duplicates_with_timestamps(rule: str, value: float, when: int) -> None:
    data = Interactions.from_arrays(USERS, ITEMS, VALUES, timestamps=TIMES, duplicates=rule)
    row, column = data.encode(["bob"], [30])
    assert data.matrix[row[0], column[0]] == value
    assert data.timestamps is not None
    assert data.timestamps.dtype == np.int64
    aligned = sp.csr_array((data.timestamps, data.matrix.indices, data.matrix.indptr))
    assert aligned[row[0], column[0]] == when
    assert repr(data).endswith("float32, with timestamps)")


@pytest.mark.parametrize(
    ("rule", "value"), [("last", 5), ("first", 1), ("sum", 6), ("mean", 3), ("max", 5), (None, 5)]
)
def test_duplicates_without_timestamps(rule: str | None, value: float) -> None:
    data = Interactions.from_arrays(USERS, ITEMS, VALUES, duplicates=rule)
    assert entries(data)["bob", 30] == value


def test_the_later_row_wins_among_equal_timestamps() -> None:
    data = Interactions.from_arrays([1, 1, 1], [1, 1, 1], [3.0, 4.0, 5.0], timestamps=[7, 9, 9])
    assert data.matrix.data.tolist() == [5.0]


def test_events_are_counted_by_default() -> None:
    assert entries(Interactions.from_arrays(USERS, ITEMS))["bob", 30] == 2
    for rule in ("last", "first", "mean", "max"):
        assert entries(Interactions.from_arrays(USERS, ITEMS, duplicates=rule))["bob", 30] == 1


def test_duplicates_can_be_errors() -> None:
    with pytest.raises(ValueError, match=r"user 'bob' and item 30 .* rows 0 and 4 .*1 rows repeat"):
        Interactions.from_arrays(USERS, ITEMS, VALUES, duplicates="error")
    Interactions.from_arrays([1, 2], [1, 1], duplicates="error")
    with pytest.raises(ValueError, match=r"duplicates must be one of 'last', .* got 'newest'"):
        Interactions.from_arrays(USERS, ITEMS, duplicates="newest")


rows = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(0, 4), st.integers(1, 9), st.integers(0, 3)),
    min_size=1,
    max_size=40,
)


@given(rows, st.sampled_from(["last", "first", "sum", "mean", "max"]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_assembling_agrees_with_a_dict(
    table: list[tuple[int, ...]], rule: str, timed: bool
) -> None:
    users, items, values, times = map(list, zip(*table, strict=True))
    groups: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    for row, (u, i, v, t) in enumerate(table):
        groups.setdefault((u, i), []).append((t if timed else 0, row, v))
    pick = {
        "last": lambda group: max(group)[2],
        "first": lambda group: min(group)[2],
        "sum": lambda group: sum(v for *_, v in group),
        "mean": lambda group: np.mean([v for *_, v in group]),
        "max": lambda group: max(v for *_, v in group),
    }[rule]
    data = Interactions.from_arrays(
        users, items, values, timestamps=times if timed else None, duplicates=rule, dtype="float64"
    )
    assert entries(data) == {pair: pytest.approx(pick(group)) for pair, group in groups.items()}
    assert data.matrix.has_canonical_format
    assert data.user_ids.tolist() == sorted(set(users))


def test_dtype() -> None:
    assert Interactions.from_arrays([1], [1], [2], dtype="float64").matrix.dtype == np.float64
    for wrong in ("int32", None, "x"):
        with pytest.raises(ValueError, match="dtype must be 'float32' or 'float64'"):
            Interactions.from_arrays([1], [1], dtype=wrong)
    with pytest.raises(ValueError, match=r"row 1 \(from 0\), 1e\+300, does not fit in float32"):
        Interactions.from_arrays([1, 2], [1, 1], [1.0, 1e300])
    with pytest.raises(ValueError, match="does not fit in float32"):
        Interactions.from_arrays([1, 1], [1, 1], [3e38, 3e38], duplicates="sum")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, np.nan], r"values: the value in row 1 \(from 0\), nan, is not finite"),
        ([-np.inf, 1.0], r"row 0 \(from 0\), -inf, is not finite"),
        ([1.0], "differ in length: users 2, items 2, values 1"),
        ([[1.0, 2.0]], r"one-dimensional, got shape \(1, 2\)"),
        ([1.0, "x"], "must hold numbers"),
        (np.array([1.0, "x"], object), r"row 1 \(from 0\), 'x', is no number"),
        (np.array([None, 1.0], object), "row 0 .*is not finite|row 0 .*None, is no number"),
        ([1.0, 2j], "must hold numbers, got dtype complex"),
    ],
)
def test_bad_values(values: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        Interactions.from_arrays([1, 2], [1, 2], values)


def test_timestamps() -> None:
    times = np.array(["1970-01-02", "1970-01-01T00:00:00.25"], "datetime64[ms]")
    data = Interactions.from_arrays([1, 2], [1, 2], timestamps=times)
    assert data.timestamps is not None
    assert data.timestamps.tolist() == [86400.0, 0.25]
    with pytest.raises(ValueError, match=r"timestamps is missing \(NaT\) in row 1"):
        Interactions.from_arrays([1, 2], [1, 2], timestamps=np.array(["2020", "NaT"], "M8[s]"))
    with pytest.raises(ValueError, match=r"timestamps: the value in row 0 \(from 0\), nan"):
        Interactions.from_arrays([1, 2], [1, 2], timestamps=[np.nan, 2])


def test_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="there are no interactions"):
        Interactions.from_arrays([], [])


# ---------------------------------------------------------------- from a matrix


def test_from_a_matrix() -> None:
    matrix = sp.coo_array(([1.0, 2.0, 3.0], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    data = Interactions(matrix, ["a", "b"], [7, 5])
    assert entries(data) == {("a", 5): 3.0, ("b", 7): 3.0}
    assert data.matrix.dtype == np.float64
    assert matrix.nnz == 3
    counts = sp.csr_matrix(np.array([[1, 0], [2, 3]]))
    timed = Interactions(counts, [1, 2], [1, 2], timestamps=[5, 6, 7])
    assert timed.matrix.dtype == np.float32
    assert isinstance(timed.matrix, sp.csr_array)
    assert counts.dtype.kind == "i"


def test_bad_matrices() -> None:
    eye = sp.csr_array(np.eye(2))
    with pytest.raises(TypeError, match="must be a SciPy sparse array, got ndarray"):
        Interactions(np.eye(2), [1, 2], [1, 2])
    with pytest.raises(ValueError, match=r"shape \(2, 2\), but there are 3 user_ids and 2"):
        Interactions(eye, [1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="timestamps has 1 entries, matrix has 2"):
        Interactions(eye, [1, 2], [1, 2], timestamps=[1])
    with pytest.raises(ValueError, match="timestamps need a CSR matrix"):
        Interactions(eye.tocoo(), [1, 2], [1, 2], timestamps=[1, 2])
    with pytest.raises(ValueError, match=r"^user_ids must be distinct, but 1 occurs repeatedly"):
        Interactions(eye, [1, 1], [1, 2])
    with pytest.raises(ValueError, match=r"^item_ids must be distinct, but 'x' occurs repeatedly"):
        Interactions(eye, [1, 2], ["x", "x"])
    with pytest.raises(ValueError, match=r"matrix\[1, 0\] = inf is not finite: remove the entry"):
        Interactions(sp.csr_array(np.array([[1.0, 2.0], [np.inf, 0.0]])), [1, 2], [1, 2])


def test_aligned() -> None:
    data = Interactions.from_arrays(USERS, ITEMS, VALUES)
    matrix = data.aligned(["dora", "bob"], [10, 99, 30])
    assert matrix.toarray().tolist() == [[0, 0, 0], [3, 0, 5]]
    assert (data.aligned(data.user_ids, data.item_ids) != data.matrix).nnz == 0


def test_lookups() -> None:
    data = Interactions.from_arrays(USERS, ITEMS)
    assert data.user_index(["cy", "ann"]).tolist() == [2, 0]
    assert data.item_index([20, 99], missing="ignore").tolist() == [1, -1]
    assert data.user_index("bob") == 1
    with pytest.raises(ValueError, match="the same length, got 1 and 2"):
        data.encode(["ann"], [10, 20])
    with pytest.raises(ValueError, match="items: unknown id 11"):
        data.encode(["ann"], [11])


# ---------------------------------------------------------------- ids


@pytest.mark.parametrize(
    ("ids", "clean"),
    [
        ([3, 1], [1, 3]),
        ([True, False], [0, 1]),
        ([2.0, -1.0], [-1, 2]),
        (np.array([5, 4], np.uint8), [4, 5]),
        (np.array([2, 1.0, np.int8(4)], object), [1, 2, 4]),
        ([2**62 + 1, 1.0], [1, 2**62 + 1]),
        (["b", "a"], ["a", "b"]),
        ([b"b", b"a"], ["a", "b"]),
        (["b", 1], ["1", "b"]),
        (("x", "é"), ["x", "é"]),
        (iter([7, 6]), [6, 7]),
        (range(2), [0, 1]),
        ([uuid.UUID(int=1)], [str(uuid.UUID(int=1))]),
        ([Decimal("1.5"), "a"], ["1.5", "a"]),
    ],
)
def test_ids_become_integers_or_strings(ids: Any, clean: list[Any]) -> None:
    if isinstance(ids, list) and ids[0] == 2**62 + 1:
        ids = np.array(ids, object)  # NumPy would round it
    index, codes = factorize(ids, "users")
    assert index.ids.tolist() == clean
    assert index.is_integer == isinstance(clean[0], int)
    assert not index.ids.flags.writeable
    assert sorted(codes.tolist()) == list(range(len(clean)))


def test_numpy_2_strings() -> None:
    dtypes = pytest.importorskip("numpy.dtypes")
    if not hasattr(dtypes, "StringDType"):
        pytest.skip("NumPy 1 has no StringDType")
    index, codes = factorize(np.array(["b", "a", "b"], dtypes.StringDType()), "users")
    assert index.ids.tolist() == ["a", "b"]
    assert codes.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, None], r"users: the id in row 1 \(from 0\) is missing \(None\)"),
        (["a", float("nan")], r"row 1 \(from 0\) is missing \(nan\)"),
        ([1.0, np.nan], r"row 1 \(from 0\), nan, is missing"),
        ([1.5], r"row 0 \(from 0\), 1.5, is no 64-bit integer"),
        ([np.inf], "is no 64-bit integer"),
        (["a", ""], r"row 1 \(from 0\) is empty"),
        (np.array(["a", ""]), r"row 1 \(from 0\), '', is empty"),
        (["a\0"], r"row 0 \(from 0\) ends in a NUL"),
        (np.array([2**63], np.uint64), "9223372036854775808, does not fit in int64"),
        ([2**70], r"row 0 .* does not fit in int64: give the ids as strings"),
        ([[1], [2]], "one-dimensional"),
        ([[1], [2, 3]], "must be a flat list"),
        ("abc", "must be an array or a list"),
        (5, "must be an array or a list"),
        ([object()], "must hold integers or strings, got object"),
        ([(1, 2), "a"], "integers or strings, got tuple|flat list"),
        (np.array(["2020"], "M8[D]"), "must hold integers or strings, got dtype datetime64"),
        ([1j], "must hold integers or strings, got dtype complex"),
    ],
)
def test_bad_ids(ids: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        factorize(ids, "users")


INTEGERS = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 50), min_size=1)
WORDS = st.lists(st.text(min_size=1, max_size=5).filter(lambda t: t[-1] != "\0"), min_size=1)


@given(INTEGERS | WORDS)
@settings(max_examples=200, deadline=None)
def test_factorize_inverts(values: list[Any]) -> None:
    array = np.array(values, np.int64 if isinstance(values[0], int) else object)
    index, codes = factorize(array, "users")
    assert index.ids[codes].tolist() == values
    assert index.lookup(array).tolist() == codes.tolist()
    assert index.ids.tolist() == sorted(set(values))
    shuffled = IdIndex(index.ids[::-1].copy())
    assert shuffled.take(shuffled.lookup(array)).tolist() == values
    again, recoded = recode(np.append(index.ids.astype(object), "unused"), codes, "users")
    assert len(again) == len(index)
    assert again.ids[recoded].astype(str).tolist() == [str(value) for value in values]


@pytest.mark.parametrize("ids", [np.arange(5, 5000), np.arange(5, 5000) * 10**12 + 7])
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("strings", [True, False])
def test_every_way_to_look_up(ids: np.ndarray, order: int, few: bool, strings: bool) -> None:
    known = ids[1::2]
    index = IdIndex(np.sort(known.astype(str) if strings else known)[::order].copy())
    asked = ids[:20] if few else ids
    found = index.lookup(asked.astype(str) if strings else asked, missing="ignore")
    assert found.dtype == np.int64
    assert (found[::2] == -1).all()
    assert (index.ids[found[1::2]].astype(np.int64) == asked[1::2]).all()
    assert index.lookup([-(2**63), 2**63 - 1], missing="ignore").tolist() == [-1, -1]


def test_unknown_ids_are_named() -> None:
    index = IdIndex(["alice", "bob"])
    with pytest.raises(
        ValueError,
        match=r"users: unknown id 'alise' \(did you mean 'alice'\?\) at position 1; 2 of 3 ids "
        r"given are not among the 2 known ones such as 'alice'",
    ):
        index.lookup(["bob", "alise", "zz"])
    with pytest.raises(ValueError, match="items: unknown id 7 at position 0"):
        IdIndex([1, 2]).lookup(7, argument="items")
    with pytest.raises(TypeError, match="users holds strings such as 'a', but the known ids are"):
        IdIndex([1, 2]).lookup(["a"], missing="ignore")
    with pytest.raises(ValueError, match="missing must be one of"):
        index.lookup(["bob"], missing="skip")


def test_interactions_do_not_change_with_what_they_were_made_of() -> None:
    matrix = sp.csr_array(np.eye(3, dtype=np.float32))
    times = np.arange(3)
    data = Interactions(matrix, [1, 2, 3], ["a", "b", "c"], times)
    matrix.data[:], matrix.indices[:], matrix.indptr[1:], times[:] = 7, 0, 3, 9
    assert data.matrix.toarray().tolist() == np.eye(3).tolist()
    assert data.timestamps is not None
    assert data.timestamps.tolist() == [0, 1, 2]


def test_integers_stand_for_their_digits_among_strings() -> None:
    assert IdIndex(["10", "x"]).lookup([10]).tolist() == [0]


def test_shapes_and_empty_queries() -> None:
    index = IdIndex([4, 2])
    assert index.lookup(2).shape == ()
    assert index.lookup([]).tolist() == []
    assert index.lookup(np.empty(0, object)).dtype == np.int64
    empty = IdIndex(np.empty(0, np.int64))
    assert empty.lookup([1], missing="ignore").tolist() == [-1]
    assert empty.take([-1, -1]).tolist() == [-1, -1]


def test_take_pads() -> None:
    index = IdIndex([7, 5])
    assert index.take([[1, -1], [0, 0]]).tolist() == [[5, -1], [7, 7]]
    assert IdIndex(["x", "yy"]).take([1, -1]).tolist() == ["yy", ""]
    assert index.take([]).tolist() == []
    with pytest.raises(IndexError, match=r"must lie in -1\.\.1, got 2"):
        index.take([2])
    with pytest.raises(IndexError, match=r"must lie in 0\.\.1, got -1"):
        index.take([-1], pad=False)
    with pytest.raises(TypeError, match="indices must be integers"):
        index.take([0.5])


def test_an_index_cannot_change() -> None:
    mine = np.array([3, 1])
    index = IdIndex(mine)
    mine[0] = 9
    assert index.ids.tolist() == [3, 1]
    with pytest.raises(ValueError, match="read-only"):
        index.ids[0] = 5


def test_copies_are_equal() -> None:
    index = IdIndex(["b", "a"])
    index.lookup(["a"])
    other = copy.deepcopy(index)  # goes through pickling's __reduce__
    assert other == index
    assert other.lookup(["a"]).tolist() == [1]
    assert index != IdIndex(["a", "b"])
    assert (repr(index), len(index)) == ("IdIndex(2 string ids)", 2)
    data = Interactions.from_arrays(USERS, ITEMS, VALUES)
    assert entries(copy.deepcopy(data)) == entries(data)

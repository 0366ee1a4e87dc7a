"""Interactions compared with a number, and added."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest

from matfac import ExplicitMF, Interactions, datasets, metrics, splits


def planted(kind: type = int, *, timed: bool = True) -> Interactions:
    ratings = datasets.planted_ratings(60, 40, 900, seed=0).train
    users, items = ratings.tocoo().coords
    return Interactions.from_arrays(
        users.astype(kind),
        items,
        ratings.data,
        timestamps=np.arange(ratings.nnz) if timed else None,
    )


def same(one: Interactions, other: Interactions) -> None:
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(one.matrix, name), getattr(other.matrix, name))
    np.testing.assert_array_equal(one.user_ids, other.user_ids)
    np.testing.assert_array_equal(one.item_ids, other.item_ids)
    np.testing.assert_array_equal(one.timestamps, other.timestamps)  # type: ignore[arg-type]
    assert one.matrix.has_canonical_format


@pytest.mark.parametrize("compare", [operator.ge, operator.gt, operator.le, operator.lt])
def test_entries_that_satisfy_a_comparison(compare: Any) -> None:
    data = planted()
    kept = compare(data, 4)
    wanted = compare(data.matrix.data, 4)
    assert kept.shape == data.shape
    assert kept.nnz == wanted.sum()
    assert (kept.matrix.data == 1).all()
    assert kept.matrix.dtype == data.matrix.dtype
    np.testing.assert_array_equal(kept.timestamps, data.timestamps[wanted])  # type: ignore[index]
    rows, columns = data.matrix.tocoo().coords
    assert (kept.matrix.toarray()[rows, columns] == wanted).all()
    for bad in ("4", True, data):
        with pytest.raises(TypeError, match="not supported between instances"):
            compare(data, bad)


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("kind", [int, str])
def test_parts_together_are_the_whole(kind: type, timed: bool) -> None:
    data = planted(kind, timed=timed)
    same(operator.add(*splits.entries(data, 0.3, random_state=0)), data)
    rows, columns = data.matrix.tocoo().coords
    first = data.matrix.data < 3
    parts = [
        Interactions.from_arrays(
            data.user_ids[rows[keep]],
            data.item_ids[columns[keep]],
            data.matrix.data[keep],
            timestamps=None if data.timestamps is None else data.timestamps[keep],
        )
        for keep in (first & (rows < 40), ~(first & (rows < 40)))
    ]
    assert parts[0].shape != data.shape
    same(parts[0] + parts[1], data)
    same(parts[1] + parts[0], data)


def test_parts_that_do_not_go_together() -> None:
    data = planted()
    count = f"{data.nnz} entries are in both parts, that of user 0 and item"
    with pytest.raises(ValueError, match=f"{count} .*: add disjoint parts"):
        _ = data + data
    with pytest.raises(ValueError, match="one of the parts has timestamps and the other none"):
        _ = data + planted(timed=False)
    with pytest.raises(TypeError, match="the user_ids of one part are integers"):
        _ = data + planted(str)
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = data + 1  # type: ignore[operator]


def test_in_evaluate() -> None:
    train, test = splits.entries(planted(), 0.3, random_state=0)
    train, validation = splits.entries(train, 0.2, random_state=0)
    model = ExplicitMF(n_factors=4, n_iter=3, random_state=0).fit(train)
    found = metrics.evaluate(model, test >= 4, train=train + validation, k=5)
    bare = ExplicitMF(n_factors=4, n_iter=3, random_state=0).fit(train.matrix)
    assert found == metrics.evaluate(
        bare, test.matrix >= 4, train=train.matrix + validation.matrix, k=5
    )

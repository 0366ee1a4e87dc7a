"""Metrics of lists of ids: the same as of the lists of indices that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from matfac import ImplicitMF, Interactions, datasets, metrics, splits

CLICKS = datasets.planted_clicks(60, 40, 900, seed=0).train
OF_LISTS = (
    metrics.hit_rate, metrics.precision, metrics.recall, metrics.recall_capped, metrics.ndcg,
    metrics.average_precision, metrics.reciprocal_rank,
)  # fmt: skip


@pytest.mark.parametrize("kind", [int, str])
def test_lists_of_ids(kind: type) -> None:
    users, items = CLICKS.tocoo().coords
    data = Interactions.from_arrays(users, (items + 500).astype(kind))
    train, test = splits.per_user(data, 0.3, random_state=0)
    model = ImplicitMF(n_factors=4, n_iter=3, random_state=0).fit(train)
    ids, _ = model.recommend(data.user_ids, k=38)
    assert ids[ids == (-1 if kind is int else "")].size  # padding
    model._item_index = model._user_index = None
    lists, _ = model.recommend(np.arange(data.shape[0]), k=38)
    for metric in OF_LISTS:
        np.testing.assert_array_equal(metric(ids, test), metric(lists, test.matrix))
        np.testing.assert_array_equal(metric(ids.tolist(), test), metric(lists, test.matrix))
    np.testing.assert_array_equal(metrics.novelty(ids, train), metrics.novelty(lists, train.matrix))
    assert metrics.coverage(ids[:, :3], data) == metrics.coverage(lists[:, :3], data.shape[1])


def test_ids_that_are_not_known() -> None:
    data = Interactions.from_arrays(["a", "b"], ["x", "y"])
    assert metrics.precision([["z", "x"], ["", ""]], data).tolist() == [0.5, 0]
    with pytest.raises(ValueError, match="lists: unknown id 'z'"):
        metrics.novelty([["z", "x"]], data)
    with pytest.raises(ValueError, match="lists: unknown id 'z'"):
        metrics.coverage([["z", "x"]], data)
    with pytest.raises(ValueError, match="relevant has 2 rows, but there are 1 lists"):
        metrics.ndcg([["x"]], data)
    with pytest.raises(TypeError, match="lists holds strings such as 'x', but the known ids are"):
        metrics.ndcg([["x"], ["y"]], Interactions.from_arrays([1, 2], [1, 2]))

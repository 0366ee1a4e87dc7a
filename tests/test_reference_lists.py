"""The NumPy metrics on lists worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from matfac import reference


def test_top_k_breaks_ties_by_index_and_pads() -> None:
    scores = np.array([[1.0, 2.0, 2.0], [-np.inf, 0.0, -np.inf]])
    lists, best = reference.top_k(scores, 2)
    np.testing.assert_array_equal(lists, [[1, 2], [1, -1]])
    np.testing.assert_array_equal(best, [[2.0, 2.0], [0.0, -np.inf]])
    lists, _ = reference.top_k(scores, 5)
    np.testing.assert_array_equal(lists, [[1, 2, 0, -1, -1], [1, -1, -1, -1, -1]])


def test_list_metrics_on_lists_worked_by_hand() -> None:
    relevant = np.array([0, 2, 2, 3]), np.array([1, 3, 0]), np.ones(3)
    lists = np.array([[3, 2, 1], [0, 1, 2], [2, 1, -1]])
    second, ideal = 1 / np.log2(3), 1 + 1 / np.log2(3)
    expected = {
        "hit_rate": [1.0, np.nan, 0.0],
        "precision": [2 / 3, np.nan, 0.0],
        "recall": [1.0, np.nan, 0.0],
        "recall_capped": [1.0, np.nan, 0.0],
        "ndcg": [(1 + 0.5) / ideal, np.nan, 0.0],
        "map": [(1 + 2 / 3) / 2, np.nan, 0.0],
        "mrr": [1.0, np.nan, 0.0],
    }
    found = reference.list_metrics(lists, relevant, 3)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, err_msg=name)
    found = reference.list_metrics(lists[:, ::-1], relevant, 2)  # 1 2 . | 2 1 . | -1 1 .
    np.testing.assert_allclose(found["recall"], [0.5, np.nan, 0.0])
    np.testing.assert_allclose(found["ndcg"], [1 / (1 + second), np.nan, 0.0])
    np.testing.assert_allclose(found["map"], [0.5, np.nan, 0.0])
    assert reference.list_metrics(lists, relevant, 1)["recall_capped"][0] == 1.0
    assert reference.list_metrics(lists, relevant, 1)["recall"][0] == 0.5


def test_auc_and_novelty_worked_by_hand() -> None:
    scores = [[3.0, 1.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0]]
    relevant = np.array([0, 1, 2, 2]), np.array([2, 0]), np.ones(2)
    np.testing.assert_allclose(reference.auc(scores, relevant), [0.5, 0.5, np.nan])
    seen = np.array([0, 1, 1, 1]), np.array([0]), np.ones(1)
    np.testing.assert_allclose(reference.auc(scores, relevant, seen), [0.75, 0.5, np.nan])
    train = np.array([0, 2, 3, 3, 3]), np.array([0, 1, 0]), np.ones(3)
    lists = np.array([[0, 1], [1, 2], [-1, -1]])
    np.testing.assert_allclose(reference.novelty(lists, train, 3), [1.5, 2.0, np.nan])


def test_rmse() -> None:
    assert reference.rmse([1.0, 2.0], [1.0, 4.0]) == pytest.approx(2**0.5)
    assert reference.rmse([1.0, 2.0], [1.0, 4.0], np.array([3.0, 1.0])) == pytest.approx(1.0)

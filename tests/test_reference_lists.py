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
    np.testing.assert_allclose(reference.recall_at_k(lists, relevant, 2), [0.5, np.nan, 0.0])
    np.testing.assert_allclose(reference.recall_at_k(lists, relevant, 3), [1.0, np.nan, 0.0])
    ideal = 1 + 1 / np.log2(3)
    expected = [(1 + 0.5) / ideal, np.nan, 0.0]
    np.testing.assert_allclose(reference.ndcg_at_k(lists, relevant, 3), expected)
    np.testing.assert_allclose(reference.ndcg_at_k(lists, relevant, 1), [1.0, np.nan, 0.0])


def test_rmse() -> None:
    assert reference.rmse([1.0, 2.0], [1.0, 4.0]) == pytest.approx(2**0.5)
    assert reference.rmse([1.0, 2.0], [1.0, 4.0], np.array([3.0, 1.0])) == pytest.approx(1.0)

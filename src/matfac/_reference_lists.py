"""Metrics in NumPy, the long way: what the loops of the core are tested against."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from matfac._reference_rows import Array, Csr

Float = NDArray[np.float64]


def rmse(truth: ArrayLike, predicted: ArrayLike, weights: Array | None = None) -> float:
    """The root of the (weighted) mean squared error."""
    errors = np.asarray(truth, dtype=np.float64) - np.asarray(predicted, dtype=np.float64)
    return float(np.sqrt(np.average(errors**2, weights=weights)))


def top_k(scores: ArrayLike, k: int) -> tuple[NDArray[np.int64], Float]:
    """The k best columns per row, (n, k), ties by the lower index, and their scores.

    Scores of -inf are never listed: index -1 and score -inf stand in for what is missing.

    Examples
    --------
    >>> [part.tolist() for part in top_k([[1.0, 3.0, 3.0, -np.inf]], 4)]
    [[[1, 2, 0, -1]], [[3.0, 3.0, 1.0, -inf]]]
    """
    table = np.asarray(scores, dtype=np.float64)
    table = np.pad(table, ((0, 0), (0, max(0, k - table.shape[1]))), constant_values=-np.inf)
    lists = np.argsort(-table, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(table, lists, axis=1)
    return np.where(best == -np.inf, -1, lists), best


def list_metrics(lists: Array, relevant: Csr, k: int) -> dict[str, Float]:
    """Every metric of lists cut at k, per row: NaN where nothing is relevant.

    ``lists`` is (n, any width), padded with -1, no item twice in a row; ``relevant`` has n rows,
    its values are not used. With T relevant items, h hits in the first k places and hit_j telling
    whether the one at place j (from 1) is one: hit_rate [h > 0], precision h / k, recall h / T,
    recall_capped h / min(k, T), ndcg sum_j hit_j / log2(j + 1) over the same of min(k, T) first
    places, map sum_j hit_j (hits down to j) / j over min(k, T), mrr 1 / (place of the first hit).
    """
    names = ("hit_rate", "precision", "recall", "recall_capped", "ndcg", "map", "mrr")
    out = {name: np.full(len(lists), np.nan) for name in names}
    for row, wanted in enumerate(np.split(relevant[1], relevant[0][1:-1])):
        if len(wanted) == 0:
            continue
        hit = np.isin(lists[row, :k], wanted) * 1.0
        place = np.arange(1, len(hit) + 1)
        most = min(k, len(wanted))
        down_to = np.cumsum(hit)
        out["hit_rate"][row] = hit.any()
        out["precision"][row] = hit.sum() / k
        out["recall"][row] = hit.sum() / len(wanted)
        out["recall_capped"][row] = hit.sum() / most
        ideal = (1 / np.log2(np.arange(2, most + 2))).sum()
        out["ndcg"][row] = (hit / np.log2(place + 1)).sum() / ideal
        out["map"][row] = (hit * down_to / place).sum() / most
        out["mrr"][row] = 1 / (1 + np.argmax(hit)) if hit.any() else 0.0
    return out


def auc(scores: ArrayLike, relevant: Csr, seen: Csr | None = None) -> Float:
    """Per row, the share of (relevant, other) pairs of unseen columns ranked right, ties half."""
    table = np.asarray(scores, dtype=np.float64)
    out = np.full(len(table), np.nan)
    for row, known in enumerate(np.split(relevant[1], relevant[0][1:-1])):
        kind = np.zeros(table.shape[1])
        kind[known] = 1
        if seen is not None:
            kind[seen[1][seen[0][row] : seen[0][row + 1]]] = -1
        ahead, behind = table[row, kind == 1], table[row, kind == 0]
        if ahead.size and behind.size:
            difference = np.sign(ahead[:, None] - behind[None, :])
            out[row] = ((difference + 1) / 2).mean()
    return out


def novelty(lists: Array, train: Csr, n_items: int) -> Float:
    """Per list, the mean over its items of -log2(share of the rows of ``train`` that hold it)."""
    holders = np.bincount(train[1], minlength=n_items)
    out = np.full(len(lists), np.nan)
    for row, listed in enumerate(lists):
        items = listed[listed >= 0]
        if len(items):
            out[row] = -np.log2(np.maximum(holders[items], 1) / (len(train[0]) - 1)).mean()
    return out

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


def _hits(lists: Array, relevant: Csr, k: int) -> tuple[Array, Array]:
    known = np.split(relevant[1], relevant[0][1:-1])
    hits = np.zeros(lists[:, :k].shape)
    for row, listed in enumerate(lists[:, :k]):
        hits[row] = np.isin(listed, known[row])
    return hits, np.diff(relevant[0])


def recall_at_k(lists: Array, relevant: Csr, k: int) -> Float:
    """Per row, the share of its relevant items in its first k; NaN where it has none.

    ``lists`` is (n, k or more), padded with -1; ``relevant`` has n rows, its values are not used.
    """
    hits, n_relevant = _hits(lists, relevant, k)
    shares = np.full(len(hits), np.nan)
    np.divide(hits.sum(axis=1), n_relevant, out=shares, where=n_relevant > 0)
    return shares


def ndcg_at_k(lists: Array, relevant: Csr, k: int) -> Float:
    """Per row, DCG over that of the best list of k (gain 1 each); NaN where nothing is relevant."""
    hits, n_relevant = _hits(lists, relevant, k)
    discounts = 1 / np.log2(np.arange(2, k + 2))
    best = np.concatenate([[0], np.cumsum(discounts)])[np.minimum(n_relevant, k)]
    gains = hits @ discounts[: hits.shape[1]]
    shares = np.full(len(hits), np.nan)
    np.divide(gains, best, out=shares, where=best > 0)
    return shares

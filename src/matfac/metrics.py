"""Metrics of predictions and of lists.

Lists are arrays of shape (n_users, k) of item indices, best first, padded with -1, as
``recommend`` returns them for a model without ids. The relevant items come as the rows of a sparse
matrix, or as its (indptr, indices).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

Relevant: TypeAlias = "sp.sparray | sp.spmatrix | tuple[NDArray[Any], NDArray[Any]]"


def rmse(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Return the root of the mean squared error.

    Examples
    --------
    >>> rmse([1, 2], [1, 4])
    1.4142135623730951
    """
    return float(np.sqrt(np.mean(_errors(truth, predicted) ** 2)))


def mae(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Return the mean absolute error.

    Examples
    --------
    >>> mae([1, 2], [1, 4])
    1.0
    """
    return float(np.mean(np.abs(_errors(truth, predicted))))


def _errors(truth: ArrayLike, predicted: ArrayLike) -> NDArray[np.float64]:
    a, b = np.asarray(truth, np.float64), np.asarray(predicted, np.float64)
    if a.shape != b.shape or a.size == 0:
        raise ValueError(
            f"truth and predicted must have one shape and not be empty, got {a.shape} and {b.shape}"
        )
    return a - b


def hits(lists: ArrayLike, relevant: Relevant) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Tell which listed items are relevant.

    Parameters
    ----------
    lists : array-like of int, shape (n_users, k)
        Item indices, best first; -1 is padding and never a hit.
    relevant : sparse matrix of n_users rows, or its (indptr, indices)
        Stored entries are the relevant items.

    Returns
    -------
    hit : ndarray of bool, shape (n_users, k)
    n_relevant : ndarray of int64, shape (n_users,)
    """
    array = np.asarray(lists)
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise ValueError(
            f"lists must be integers of shape (n_users, k), got {array.dtype} {array.shape}"
        )
    if isinstance(relevant, tuple):
        indptr, indices = relevant
    else:
        csr: Any = sp.csr_array(relevant)  # type: ignore[call-overload]
        indptr, indices = csr.indptr, csr.indices
    if len(indptr) != len(array) + 1:
        raise ValueError(f"relevant has {len(indptr) - 1} rows, but there are {len(array)} lists")
    sizes = np.diff(indptr).astype(np.int64)
    width = int(max(array.max(initial=0), indices.max(initial=0))) + 1
    rows = np.arange(len(array), dtype=np.int64)
    wanted = np.sort(np.repeat(rows, sizes) * width + indices)
    asked = rows[:, None] * width + array
    at = np.minimum(np.searchsorted(wanted, asked), max(len(wanted) - 1, 0))
    hit = (wanted[at] == asked) if len(wanted) else np.zeros(array.shape, bool)
    return hit & (array >= 0), sizes


def ndcg(lists: ArrayLike, relevant: Relevant) -> NDArray[np.float64]:
    """Return each user's NDCG@k: DCG over the DCG of an ideal list of min(k, n_relevant) hits.

    Gains are 1 for a relevant item, the discount is 1 / log2(rank + 1) with ranks from 1. NaN for a
    user without relevant items.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> ndcg([[2, 0, 1]], sp.csr_array([[0, 0, 1]]))
    array([1.])
    """
    hit, sizes = hits(lists, relevant)
    discount = 1 / np.log2(np.arange(2, hit.shape[1] + 2))
    ideal = np.concatenate(([0.0], np.cumsum(discount)))[np.minimum(sizes, hit.shape[1])]
    return _ratio(hit @ discount, ideal)


def recall(lists: ArrayLike, relevant: Relevant, *, capped: bool = False) -> NDArray[np.float64]:
    """Return each user's recall@k: hits over n_relevant or, `capped`, over min(k, n_relevant).

    NaN for a user without relevant items.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> relevant = sp.csr_array([[0, 0, 1, 1, 1]])
    >>> recall([[2, 0]], relevant), recall([[2, 0]], relevant, capped=True)
    (array([0.33333333]), array([0.5]))
    """
    hit, sizes = hits(lists, relevant)
    return _ratio(hit.sum(axis=1), np.minimum(sizes, hit.shape[1]) if capped else sizes)


def hit_rate(lists: ArrayLike, relevant: Relevant) -> NDArray[np.float64]:
    """Return 1 for each user with a relevant item in the list, else 0; NaN without relevant items.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> hit_rate([[2, 0], [0, 1]], sp.csr_array([[0, 0, 1], [0, 0, 1]]))
    array([1., 0.])
    """
    hit, sizes = hits(lists, relevant)
    return _ratio(np.asarray(hit.any(axis=1)), np.minimum(sizes, 1))


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> NDArray[np.float64]:
    out = np.full(len(denominator), np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out

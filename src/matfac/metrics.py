"""Metrics of predictions, of recommended lists and of whole rankings.

A list's metrics take arrays of shape (n_users, k) of item indices, best first, padded with -1, as
``recommend`` returns them for a model without ids, and the relevant items as the rows of a sparse
matrix; or of item ids, with an Interactions in the matrix's place. `evaluate` makes the lists
itself, from a fitted model or from factors.

Conventions, everywhere: equal scores are ranked by the lower item index. A row of the relevant
items counts every stored entry that is not 0, whatever its value. A list that ends early, k above
the number of items included, has no hits at the places it lacks. An item listed twice is a hit at
its first place only. A user without relevant items has the value NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from matfac._evaluate import covered, evaluate, list_metrics, mean_surprise, surprise
from matfac._ids import IdIndex
from matfac._validation import check_integer, check_pattern, check_threads
from matfac.interactions import Interactions

__all__ = [
    "average_precision", "coverage", "evaluate", "hit_rate", "mae", "ndcg", "novelty", "precision",
    "recall", "recall_capped", "reciprocal_rank", "rmse",
]  # fmt: skip


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
    a, b = _numbers("truth", truth), _numbers("predicted", predicted)
    if a.shape != b.shape or a.size == 0:
        raise ValueError(
            f"truth and predicted must have one shape and not be empty, got {a.shape} and {b.shape}"
        )
    for name, values in (("truth", a), ("predicted", b)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} must be finite, got {values[~np.isfinite(values)][0]}")
    return a - b


def _numbers(name: str, given: ArrayLike) -> NDArray[np.float64]:
    try:
        return np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name} must hold numbers: {error}") from error


def hit_rate(lists: ArrayLike, relevant: Any) -> NDArray[np.float64]:
    """Return 1 for each user with a relevant item in the list, else 0.

    Parameters
    ----------
    lists : array-like of int, shape (n_users, k)
        Item indices, best first; -1 is padding. Ids where `relevant` is an Interactions, with -1 or
        "" for padding.
    relevant : sparse matrix of shape (n_users, n_items), or Interactions
        Entries that are not 0 are the relevant items; a row for each list, in their order. An id
        that an Interactions does not know is no hit.

    Returns
    -------
    ndarray of shape (n_users,)
        NaN for a user without relevant items.

    Raises
    ------
    ValueError, TypeError
        Naming the argument.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> hit_rate([[2, 0], [0, 1]], sp.csr_array([[0, 0, 1], [0, 0, 1]]))
    array([1., 0.])
    """
    return _of_lists("hit_rate", lists, relevant)


def precision(lists: ArrayLike, relevant: Any) -> NDArray[np.float64]:
    """Return each user's hits over k, the width of the lists; as `hit_rate`.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> precision([[2, 0]], sp.csr_array([[0, 0, 1]]))
    array([0.5])
    """
    return _of_lists("precision", lists, relevant)


def recall(lists: ArrayLike, relevant: Any) -> NDArray[np.float64]:
    """Return each user's hits over the number of relevant items; as `hit_rate`.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> recall([[2, 0]], sp.csr_array([[0, 0, 1, 1, 1]]))
    array([0.33333333])
    """
    return _of_lists("recall", lists, relevant)


def recall_capped(lists: ArrayLike, relevant: Any) -> NDArray[np.float64]:
    """Return each user's hits over the most a list of k can hold, min(k, relevant items).

    Parameters, result and errors are those of `hit_rate`.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> recall_capped([[2, 0]], sp.csr_array([[0, 0, 1, 1, 1]]))
    array([0.5])
    """
    return _of_lists("recall_capped", lists, relevant)


def ndcg(lists: ArrayLike, relevant: Any) -> NDArray[np.float64]:
    """Return each user's NDCG@k: DCG over the DCG of an ideal list of min(k, relevant items) hits.

    Gains are 1 for a relevant item, the discount is 1 / log2(rank + 1) with ranks from 1. As
    `hit_rate`.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> ndcg([[2, 0, 1]], sp.csr_array([[0, 0, 1]]))
    array([1.])
    """
    return _of_lists("ndcg", lists, relevant)


def average_precision(lists: ArrayLike, relevant: Any) -> NDArray[np.float64]:
    """Return each user's AP@k, whose mean is MAP@k; as `hit_rate`.

    The sum over the hits of the precision down to each, over min(k, relevant items).

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> average_precision([[2, 0, 1]], sp.csr_array([[0, 1, 1]]))
    array([0.83333333])
    """
    return _of_lists("map", lists, relevant)


def reciprocal_rank(lists: ArrayLike, relevant: Any) -> NDArray[np.float64]:
    """Return 1 over the rank of each user's first hit, 0 without one; the mean is MRR@k.

    Parameters, result and errors are those of `hit_rate`.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> reciprocal_rank([[2, 0, 1]], sp.csr_array([[0, 1, 0]]))
    array([0.33333333])
    """
    return _of_lists("mrr", lists, relevant)


def coverage(lists: ArrayLike, n_items: int | Interactions) -> float:
    """Return the share of all items that some list holds.

    Lists of ids go with the Interactions that knows all items, in place of their number.

    Examples
    --------
    >>> coverage([[2, 0], [0, -1]], 4)
    0.5
    """
    checked = _check_lists(lists, n_items)
    n_items = n_items.shape[1] if isinstance(n_items, Interactions) else n_items
    n_items = check_integer("n_items", n_items, minimum=1)
    _check_inside(checked, n_items)
    return covered(checked, n_items)


def novelty(lists: ArrayLike, train: Any) -> NDArray[np.float64]:
    """Return the mean, over each list, of its items' -log2(share of users who have the item).

    Parameters
    ----------
    lists : array-like of int, shape (n_lists, k)
        Item indices; -1 is padding. Ids where `train` is an Interactions, which has to know them.
    train : sparse matrix of shape (n_users, n_items), or Interactions
        Entries that are not 0 say who has what. An item that nobody has counts as one that one
        user has.

    Returns
    -------
    ndarray of shape (n_lists,)
        In bits; NaN for a list without items.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> novelty([[0], [1]], sp.csr_array([[1, 1], [1, 0], [1, 0], [1, 0]]))
    array([0., 2.])
    """
    checked = _check_lists(lists, train)
    pattern = check_pattern(_matrix_of(train), "train")
    _check_inside(checked, train.shape[1])
    return mean_surprise(checked, surprise(pattern, train.shape[1]))


def _of_lists(name: str, lists: ArrayLike, relevant: Any) -> NDArray[np.float64]:
    checked = _check_lists(lists, relevant, unknown="ignore")
    pattern = check_pattern(_matrix_of(relevant), "relevant")
    if len(pattern[0]) != len(checked) + 1:
        raise ValueError(
            f"relevant has {len(pattern[0]) - 1} rows, but there are {len(checked)} lists"
        )
    _check_inside(checked, relevant.shape[1])
    return list_metrics(checked, pattern, checked.shape[1], check_threads(None))[name]


def _matrix_of(data: Any) -> Any:
    return data.matrix if isinstance(data, Interactions) else data


def _indices_of(ids: NDArray[Any], data: Interactions, unknown: str) -> NDArray[np.int64]:
    """Return the columns of the items listed; -1 for padding and, to "ignore", for unknown ids."""
    out = np.full(ids.shape, -1)
    listed = ids != (-1 if ids.dtype.kind in "iuf" else "")
    out[listed] = IdIndex(data.item_ids).lookup(ids[listed], "lists", unknown)
    return out


def _check_lists(lists: ArrayLike, data: Any = None, unknown: str = "error") -> NDArray[np.int32]:
    """Return checked lists of indices; given are ids where the data is an Interactions."""
    array = np.asarray(lists)
    if isinstance(data, Interactions) and array.ndim == 2:
        array = _indices_of(array, data, unknown)
    if array.ndim != 2 or array.shape[1] < 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"lists must be item indices of shape (n_users, k), got {array.dtype} {array.shape}"
        )
    if array.size and not -1 <= array.min() <= array.max() < 2**31:
        raise ValueError(
            "lists must hold item indices, or -1 for padding, got values from "
            f"{array.min()} to {array.max()}"
        )
    return np.ascontiguousarray(array, np.int32)


def _check_inside(lists: NDArray[np.int32], n_items: int) -> None:
    if lists.size and lists.max() >= n_items:
        raise ValueError(f"lists holds item {lists.max()}, but there are {n_items} items")

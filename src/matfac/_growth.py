"""`partial_fit`: new and changed rows of a fitted model, on both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from matfac import _als
from matfac._engine import Floats
from matfac._ids import IdIndex
from matfac._ratings import Pattern, Ratings
from matfac._validation import check_dtype, check_matrix, check_threads, seed_of
from matfac.interactions import Interactions

if TYPE_CHECKING:
    from matfac._model import FactorModel

Names: TypeAlias = "tuple[IdIndex | None, IdIndex | None]"


def grow(
    model: FactorModel,
    X: Any,
    users: ArrayLike | None,
    items: ArrayLike | None,
    weights: Any,
    n_sweeps: int,
) -> dict[str, Any]:
    """Return the attributes that a partial fit changes; see `FactorModel.partial_fit`."""
    if not (model.user_feature_factors_ is None and model.item_feature_factors_ is None):
        raise ValueError(
            "partial_fit takes no features, and the model was fitted with some: use transform or "
            "fold_in_items with features, or fit anew"
        )
    names = _grown_names(model, X)
    by_user = _aligned(model, X, weights, names)
    by_item = by_user.transposed(check_threads(model.n_threads))
    n_known = len(model.user_factors_), len(model.item_factors_)
    if users is None:
        rows = np.flatnonzero(np.diff(by_user.indptr))
    else:
        rows = _rows_of(users, names[0], by_user.shape[0], "users")
    columns = np.arange(n_known[1], by_user.shape[1])
    if items is not None:
        columns = _rows_of(items, names[1], by_user.shape[1], "items")
    _check_complete(by_user, rows, columns)

    tables = [
        _longer(table, n)
        for table, n in zip((model.user_factors_, model.item_factors_), by_user.shape, strict=True)
    ]
    biases = [
        None if bias is None else _longer(bias, n)
        for bias, n in zip((model.user_bias_, model.item_bias_), by_user.shape, strict=True)
    ]
    # New items start as in a fit: new users of nothing but new items would never leave zero.
    new = slice(n_known[1], None)
    tables[1][new] = _start(model, by_user.shape[1] - n_known[1], tables[1].shape[1])

    touched = (rows, by_user.choose(rows)), (columns, by_item.choose(columns))

    def solve(side: int) -> None:
        which, entries = touched[side]
        tables[side][which], own = model._solve(entries, tables[1 - side], biases[1 - side])
        whole = biases[side]
        if whole is not None and own is not None:
            whole[which] = own

    solve(0)
    for _ in range(n_sweeps if len(columns) else 0):
        solve(1)
        solve(0)
    seen = None if model._seen is None else _seen_after(model._seen, by_user, rows, columns)
    return {
        "user_factors_": tables[0],
        "item_factors_": tables[1],
        "user_bias_": biases[0],
        "item_bias_": biases[1],
        "n_features_in_": by_user.shape[1],
        "_user_index": names[0],
        "_item_index": names[1],
        "_seen": seen,
    }


def _longer(array: Floats, n: int) -> Floats:
    longer = np.zeros((n, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer


def _start(model: FactorModel, n: int, k: int) -> Floats:
    generator = np.random.default_rng(seed_of(model.random_state))
    positive = model._objective().nonnegative
    dtype = model.item_factors_.dtype
    return _als.random_table(n, k, model.init_std, dtype, generator, nonnegative=positive)[:, :k]


def _grown_names(model: FactorModel, X: Any) -> Names:
    """Return the model's ids and, behind them, those that only X has."""
    users, items = model._user_index, model._item_index
    if not isinstance(X, Interactions):
        return users, items
    if users is None or items is None:
        raise ValueError(
            "X is an Interactions, but the model was fitted on a bare matrix and knows no ids: "
            "pass a matrix, or fit on an Interactions"
        )
    return _appended(users, X.user_ids, "users"), _appended(items, X.item_ids, "items")


def _appended(index: IdIndex, ids: NDArray[Any], argument: str) -> IdIndex:
    new = ids[index.lookup(ids, argument, "ignore") < 0]
    if not len(new):
        return index
    return IdIndex(np.concatenate((index.ids, new if index.is_integer else new.astype(str))))


def _aligned(model: FactorModel, X: Any, weights: Any, names: Names) -> Ratings:
    """Return X as checked ratings over the grown model's users and items."""
    if isinstance(X, Interactions):
        assert names[0] is not None
        assert names[1] is not None
        ids = names[0].ids, names[1].ids
        if weights is not None:
            weights = Interactions(sp.csr_array(weights), X.user_ids, X.item_ids).aligned(*ids)
        X = X.aligned(*ids)
    ratings = check_matrix(
        model, X, check_dtype(model.dtype), reset=False, implicit=model._implicit, free=True
    )
    n_users, n_items = len(model.user_factors_), len(model.item_factors_)
    name, numbered = type(model).__name__, "it is numbered as the model is, new ones behind"
    if ratings.shape[1] < n_items:
        raise ValueError(
            f"X has {ratings.shape[1]} features, but {name} is expecting {n_items} features as "
            f"input (the items it knows) or more: {numbered}"
        )
    if ratings.shape[0] < n_users:
        raise ValueError(
            f"X has {ratings.shape[0]} rows, but {name} is expecting {n_users} (the users it "
            f"knows) or more: {numbered}"
        )
    for known, n in zip(names, ratings.shape, strict=True):
        if known is not None and len(known) != n:
            raise ValueError(
                f"X has shape {ratings.shape}, but the model has ids for {n_users} users and "
                f"{n_items} items: give new ones ids in an Interactions"
            )
    return model._weighted(weights, ratings)


def _rows_of(which: ArrayLike, index: IdIndex | None, n: int, side: str) -> NDArray[np.int64]:
    """Return the sorted rows of ids or, in a model without ids, of indices."""
    array = np.atleast_1d(np.asarray(which))
    if index is not None:
        return np.unique(index.lookup(array, side))
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{side} must be integer indices, got {array.dtype}")
    outside = (array < 0) | (array >= n)
    if outside.any():
        raise ValueError(f"{side} holds {array[outside][0]}, but X has {n} {side}")
    return np.unique(array.astype(np.int64))


def _check_complete(ratings: Ratings, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> None:
    """Refuse entries that are part of no complete row or column."""
    outside = np.ones(ratings.shape[0], np.bool_), np.ones(ratings.shape[1], np.bool_)
    outside[0][rows] = False
    outside[1][columns] = False
    row = np.repeat(np.arange(ratings.shape[0]), np.diff(ratings.indptr))
    stray = np.flatnonzero(outside[0][row] & outside[1][ratings.indices])
    if len(stray):
        raise ValueError(
            f"X has {len(stray)} entries whose user is not among users and whose item is neither "
            f"new nor among items, the first at [{row[stray[0]]}, {ratings.indices[stray[0]]}]: "
            "name the users or items whose whole history X holds, and leave out other entries"
        )


def _seen_after(
    seen: Pattern, ratings: Ratings, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> Pattern:
    """Return the entries' positions: X's in its complete rows and columns, elsewhere the old."""
    m, n = ratings.shape
    old_row = np.repeat(np.arange(len(seen[0]) - 1), np.diff(seen[0]))
    kept = ~np.isin(old_row, rows) & ~np.isin(seen[1], columns)
    row = np.concatenate((old_row[kept], np.repeat(np.arange(m), np.diff(ratings.indptr))))
    column = np.concatenate((seen[1][kept], ratings.indices))
    merged = sp.csr_array((np.ones(len(row), np.int8), (row, column)), shape=(m, n))
    merged.sum_duplicates()
    return merged.indptr.astype(np.int64), merged.indices.astype(np.int32)

"""`partial_fit`: new and changed rows of a fitted model, on both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import _get_feature_names

from matfac import _als
from matfac._derived import freeze
from matfac._engine import Floats
from matfac._feature_input import ids_of
from matfac._feature_rows import prior_for
from matfac._features import Prior
from matfac._ids import IdIndex
from matfac._ratings import Pattern, Ratings
from matfac._validation import check_dtype, check_integer, check_matrix, check_threads, seed_of
from matfac.interactions import Interactions

if TYPE_CHECKING:
    from typing_extensions import Self

    from matfac._model import FactorModel

Names: TypeAlias = "tuple[IdIndex | None, IdIndex | None]"


class Growing:
    """The part of a `FactorModel` that takes in new data."""

    def partial_fit(
        self,
        X: Any,
        y: None = None,
        *,
        users: ArrayLike | None = None,
        items: ArrayLike | None = None,
        weights: Any = None,
        user_features: Any = None,
        item_features: Any = None,
        n_sweeps: int = 3,
    ) -> Self:
        """Store new and changed users and items: their rows are solved, all others stay.

        The training data are not needed, and so X must hold the *whole history* of each user and
        item that it touches, and the features of each where the model was fitted with some. An
        unfitted estimator is fitted to X.

        Parameters
        ----------
        X : {sparse matrix, sparse array, array-like, Interactions} of shape (m, n)
            Of a model without ids: numbered as the model's users and items, the new ones behind, so
            that m and n are at least the model's. Of a model with ids: an Interactions of the
            touched users and items alone; unknown ids are appended to the model's.
        y : None
            Ignored.
        users : array-like, optional
            Ids or indices of the users whose whole history X holds. None: all that have entries,
            and those new to the model.
        items : array-like, optional
            Ids or indices of the items whose whole history X holds. None: those new to the model;
            known items then keep their factors.
        weights : matrix of X's shape, or Interactions, optional
            As in `fit` (`ExplicitMF`).
        user_features, item_features : {sparse matrix, sparse array, array-like}, optional
            A row for each row and column of X, by id or in order as in `fit`; the touched ones' are
            read. A new one without entries gets the factors that its features suggest.
        n_sweeps : int
            Where items are touched: how often these and the touched users are solved in turn, after
            a first solution of the users. Users alone need no more than that one.

        Returns
        -------
        self
            `mean_`, `history_`, `n_iter_`, `objective_` and what the features say stay those of the
            fit. After an error or Ctrl-C the model is as it was.

        Examples
        --------
        >>> from matfac import ImplicitMF, Interactions
        >>> seen = Interactions.from_arrays(["ann", "ann", "bob"], ["up", "jaws", "up"])
        >>> model = ImplicitMF(n_factors=2, random_state=0).fit(seen)
        >>> model = model.partial_fit(Interactions.from_arrays(["cid", "cid"], ["up", "it"]))
        >>> model.user_ids_, model.item_ids_
        (array(['ann', 'bob', 'cid'], dtype='<U3'), array(['jaws', 'up', 'it'], dtype='<U4'))
        """
        given = {
            "weights": weights,
            "user_features": user_features,
            "item_features": item_features,
        }
        given = {name: value for name, value in given.items() if value is not None}
        model = cast("FactorModel", self)
        if not hasattr(self, "item_factors_"):
            model.fit(X, **given)
            return self
        check_integer("n_sweeps", n_sweeps, minimum=1)
        grown = vars(self) | grow(model, X, users, items, n_sweeps=n_sweeps, **given)
        if grown.get("feature_names_in_") is None:
            grown.pop("feature_names_in_", None)
        self.__dict__ = grown  # at once: Ctrl-C falls before or after
        return self


def grow(
    model: FactorModel,
    X: Any,
    users: ArrayLike | None,
    items: ArrayLike | None,
    *,
    n_sweeps: int,
    weights: Any = None,
    user_features: Any = None,
    item_features: Any = None,
) -> dict[str, Any]:
    """Return the attributes that a partial fit changes; see `Growing.partial_fit`."""
    names = _grown_names(model, X)
    feature_names = _grown_feature_names(model, X)
    by_user = _aligned(model, X, weights, names)
    by_item = by_user.transposed(check_threads(model.n_threads))
    n_known = len(model.user_factors_), len(model.item_factors_)
    if users is None:
        touched_rows = np.diff(by_user.indptr) > 0
        touched_rows[n_known[0] :] = True
        rows = np.flatnonzero(touched_rows)
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
    priors = (
        _prior(model, "user", user_features, X, names[0], rows, by_user.shape[0]),
        _prior(model, "item", item_features, X, names[1], columns, by_user.shape[1]),
    )

    def solve(side: int) -> None:
        which, entries = touched[side]
        prior = priors[side]
        if prior is not None:  # which the solution uses up
            prior = prior._replace(table=prior.table.copy())
        tables[side][which], own = model._solve(entries, tables[1 - side], biases[1 - side], prior)
        whole = biases[side]
        if whole is not None and own is not None:
            whole[which] = own

    solve(0)
    for _ in range(n_sweeps if len(columns) else 0):
        solve(1)
        solve(0)
    seen = None if model._seen is None else _seen_after(model._seen, by_user, rows, columns)
    return {
        "user_factors_": freeze(tables[0]),
        "item_factors_": freeze(tables[1]),
        "user_bias_": biases[0],
        "item_bias_": biases[1],
        "n_features_in_": by_user.shape[1],
        "feature_names_in_": feature_names,
        "_user_index": names[0],
        "_item_index": names[1],
        "_seen": seen,
    }


def _prior(
    model: FactorModel,
    side: str,
    features: Any,
    X: Any,
    index: IdIndex | None,
    touched: NDArray[np.int64],
    n: int,
) -> Prior | None:
    """Return what the features say of the touched rows of a side."""
    if features is None:
        if getattr(model, f"{side}_feature_factors_") is None or not len(touched):
            return None
        raise ValueError(
            f"{side}_features is needed: the model was fitted with some, and X touches "
            f"{len(touched)} {side}s; give a row for each {side} of X, of zeros where nothing is "
            "known"
        )
    ids = ids_of(X, side)
    if index is None or ids is None:
        return prior_for(model, side, features, n, touched, None if index is None else index.ids)
    at = np.full(n, -1)
    at[index.lookup(ids, f"{side}s")] = np.arange(len(ids))
    missing = touched[at[touched] < 0]
    if len(missing):
        raise ValueError(
            f"{side}s names {index.ids[missing[0]].item()!r}, which is not among the {side}s of X, "
            f"so that {side}_features has no row for it"
        )
    return prior_for(model, side, features, len(ids), at[touched], ids)


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


def _grown_feature_names(model: FactorModel, X: Any) -> NDArray[Any] | None:
    """Return the names of the columns, where the model's and X's are known."""
    known: NDArray[Any] | None = getattr(model, "feature_names_in_", None)
    given: NDArray[Any] | None = _get_feature_names(X)
    if known is None:
        return None
    if given is None:  # a bare matrix may have more columns than there are names
        return known if np.shape(X)[1:] == known.shape else None
    if len(given) >= len(known) and (wrong := np.flatnonzero(given[: len(known)] != known)).size:
        raise ValueError(
            f"X has the column {given[wrong[0]]!r} at {wrong[0]}, where the model has "
            f"{known[wrong[0]]!r}: give its columns in the order of feature_names_in_, new ones "
            "behind"
        )
    return given


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
        if weights is not None and not isinstance(weights, Interactions):
            weights = Interactions(sp.csr_array(weights), X.user_ids, X.item_ids)
        weights = None if weights is None else weights.aligned(*ids)
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

"""What a fitted model answers: predictions, recommendations, neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from matfac import _core, _engine
from matfac._derived import directions, padded
from matfac._engine import Floats
from matfac._filters import candidates, row_mask
from matfac._known import KnownRows
from matfac._ratings import Pattern, Ratings
from matfac._validation import (
    check_choice,
    check_flag,
    check_length,
    check_threads,
    users_column,
)
from matfac.interactions import Interactions


@dataclass(frozen=True)
class _Rules:
    """What a top-k call may list, as the caller gave it."""

    exclude_seen: bool
    only: Any
    never: Any
    include: Any
    exclude: Any


def _is_list(users: Any) -> bool:
    """Whether these are ids or indices, one or a list, and no matrix."""
    if isinstance(users, list | tuple | range):
        return all(map(np.isscalar, users))
    return bool(np.isscalar(users)) or getattr(users, "ndim", 2) < 2


class Serving(KnownRows):
    """The questions a `FactorModel` answers from its factors; they change nothing."""

    def _ratings(self, X: Any, *, reset: bool, argument: str = "X") -> Ratings:
        raise NotImplementedError

    def _new_columns(self, X: Any) -> Ratings:
        raise NotImplementedError

    def _fold_in(self, ratings: Ratings, side: str = "users") -> tuple[Floats, Floats | None]:
        raise NotImplementedError

    def transform(self, X: Any) -> Floats:
        """Fold users in."""
        raise NotImplementedError

    def inverse_transform(self, T: ArrayLike) -> Floats:
        """Predict every item for folded-in users."""
        raise NotImplementedError

    def predict(self, users: Any, items: ArrayLike | None = None) -> Floats:
        """Score pairs of known users and items or, given one matrix, every item for its rows.

        Parameters
        ----------
        users : array-like, or matrix of shape (n_users, n_items) where `items` is None
            Known users; or rows to fold in, as for `transform`.
        items : array-like, broadcast against `users`
            Ids where the model was fitted on an Interactions, else column indices; and so `users`.

        Returns
        -------
        ndarray of float64 and of the broadcast shape; or of shape (n_users, n_items)
            Predicted ratings (explicit) or preferences, about 0 to 1 (implicit).
        """
        check_is_fitted(self)
        if items is None:
            if (column := users_column(users)) is not None:
                raise ValueError(
                    f"users is a table with a column {column!r}: give its columns, as in "
                    f"predict(table[{column!r}], table['item'])"
                )
            if _is_list(users):
                raise ValueError(
                    "items is missing: predict(users, items) scores known users, and a matrix in "
                    "place of users is folded in. Reshape your data, as in "
                    "numpy.reshape(X, (1, -1)), if it is one row of such a matrix"
                )
            return self.inverse_transform(self.transform(users))
        given = self._lookup(users, "users"), self._lookup(items, "items")
        try:
            user_index, item_index = np.broadcast_arrays(*given)
        except ValueError as error:
            raise ValueError(
                f"users and items must be of one shape, or broadcast to one, got {given[0].shape} "
                f"and {given[1].shape}: for every pair of two lists give users as a column, "
                "numpy.asarray(users)[:, None]"
            ) from error
        return self._pair_scores(user_index, item_index)

    def _pair_scores(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> Floats:
        """Score pairs of indices, of one shape."""
        scores = _core.predict(
            k=self.item_factors_.shape[1],
            users=padded(self.user_factors_),
            items=padded(self.item_factors_),
            user_bias=self.user_bias_,
            item_bias=self.item_bias_,
            mean=self.mean_,
            user_index=np.ascontiguousarray(users).ravel(),
            item_index=np.ascontiguousarray(items).ravel(),
            n_threads=check_threads(self.n_threads),
        )
        return scores.reshape(users.shape)

    def recommend(
        self,
        users: ArrayLike | None = None,
        k: int = 10,
        X: Any = None,
        *,
        vectors: ArrayLike | None = None,
        exclude_seen: bool = True,
        items: ArrayLike | None = None,
        exclude_items: ArrayLike | None = None,
        include: Any = None,
        exclude: Any = None,
    ) -> tuple[NDArray[Any], Floats]:
        """Return the k best items for each user, of those that the rules allow.

        Parameters
        ----------
        users : array-like of shape (n,), optional
            Known users, ids or indices. None: all of them, or the rows of X or of vectors.
        k : int
            Length of each list.
        X : {sparse matrix, sparse array, array-like, Interactions} of shape (n, n_items), optional
            Rows of new users to fold in, instead of `users`; the lists of an Interactions come in
            the order of its ``user_ids``. Weights count as 1 and features as 0: where the model was
            fitted with either, give ``vectors=transform(X, ...)`` and ``exclude=X``.
        vectors : array-like of shape (n, n_components), optional
            What `transform` returned, instead of `users`. Nothing counts as seen.
        exclude_seen : bool
            Leave out the items a user has entries for: in training, or in X.
        items : array-like of shape (n_allowed,), optional
            Items that any list may hold. None: all. Ids that the model does not know are ignored;
            where it has no ids, an index out of range is an error.
        exclude_items : array-like of shape (n_excluded,), optional
            Items that no list may hold.
        include, exclude : {sparse array, array-like, Interactions} of shape (n, n_items), optional
            A row per list: the items its nonzero entries name are the only ones that the list may
            hold (include), or are left out (exclude). An Interactions is aligned by ids.

        Returns
        -------
        items : ndarray of shape (n, k)
            Ids or indices, best first; equal scores by lower index. A list that runs out of items
            is padded with -1 (``""`` for string ids).
        scores : ndarray of shape (n, k)
            Predicted ratings or preferences, never NaN; -inf at padding.

        Examples
        --------
        >>> import numpy as np, matfac
        >>> clicks = np.array([[1, 1, 0, 0, 1], [1, 1, 1, 0, 0], [0, 1, 1, 1, 0]])
        >>> model = matfac.ImplicitMF(n_factors=2, random_state=0).fit(clicks)
        >>> mine = np.array([[0, 0, 0, 1, 1]])  # never these for this user
        >>> model.recommend([0], k=2, exclude=mine)[0].tolist()
        [[2, -1]]
        """
        check_is_fitted(self)
        rules = _Rules(exclude_seen, items, exclude_items, include, exclude)
        return self._lists("users", users, k, X, vectors, rules)

    def recommend_users(
        self,
        items: ArrayLike | None = None,
        k: int = 10,
        X: Any = None,
        *,
        vectors: ArrayLike | None = None,
        exclude_seen: bool = True,
        users: ArrayLike | None = None,
        exclude_users: ArrayLike | None = None,
        include: Any = None,
        exclude: Any = None,
    ) -> tuple[NDArray[Any], Floats]:
        """Return the k users who would like each item best, of those that the rules allow.

        Parameters
        ----------
        items : array-like of shape (n,), optional
            Known items, ids or indices. None: all of them, or those of X or of vectors.
        k : int
            Length of each list.
        X : {sparse matrix, sparse array, array-like, Interactions} of shape (n_users, n), optional
            Columns of new items to fold in, instead of `items`, without weights and features; with
            either, give ``vectors=fold_in_items(X, ...)`` and ``exclude=X``.
        vectors : array-like of shape (n, n_components), optional
            What `fold_in_items` returned, instead of `items`. Nothing counts as seen.
        exclude_seen : bool
            Leave out the users who have an entry for the item: in training, or in X.
        users, exclude_users : array-like, optional
            Users that any list may hold (None: all), and users that none may.
        include, exclude : {sparse array, array-like, Interactions} of shape (n_users, n), optional
            A column per list: the users that it may hold alone, or that it leaves out.

        Returns
        -------
        users : ndarray of shape (n, k)
            Ids or indices, best first, padded as in `recommend`.
        scores : ndarray of shape (n, k)
        """
        check_is_fitted(self)
        rules = _Rules(exclude_seen, users, exclude_users, include, exclude)
        return self._lists("items", items, k, X, vectors, rules)

    def _lists(
        self, side: str, which: Any, k: int, X: Any, vectors: Any, rules: _Rules
    ) -> tuple[NDArray[Any], Floats]:
        """Return lists of the other side's rows for known, new or raw rows of this side."""
        others = self.item_factors_ if side == "users" else self.user_factors_
        k = check_length(k, len(others))
        check_flag("exclude_seen", rules.exclude_seen)
        given = [
            name
            for name, value in ((side, which), ("X", X), ("vectors", vectors))
            if value is not None
        ]
        if len(given) > 1:
            raise ValueError(
                f"{' and '.join(given)} exclude each other: give known {side}, new ones as X, or "
                "vectors"
            )
        if sp.issparse(which) or isinstance(which, Interactions) or np.ndim(which) > 1:
            lines = "rows" if side == "users" else "columns"
            raise ValueError(
                f"{side} must be one-dimensional, ids or indices, got {type(which).__name__} of "
                f"shape {np.shape(which)}: {lines} of new {side} go in as X="
            )
        ids: NDArray[Any] | None = None
        seen: Pattern | None = None
        if vectors is not None:
            factors, bias = self._split_vectors(vectors)
        elif X is not None:
            ratings = self._ratings(X, reset=False) if side == "users" else self._new_columns(X)
            factors, bias = self._fold_in(ratings, side)
            seen = (ratings.indptr, ratings.indices) if rules.exclude_seen else None
            if isinstance(X, Interactions):
                ids = X.user_ids if side == "users" else X.item_ids
        else:
            index = self._chosen(which, side)
            table, biases = self._side(side)
            factors, bias = table[index], None if biases is None else biases[index]
            seen = self._seen_rows(index, side) if rules.exclude_seen else None
            names = self._names(side)
            ids = None if names is None else names.take(index)
        other = "items" if side == "users" else "users"
        table, biases = self._side(other)
        columns = self._names(other) or len(table)
        masks = {
            name: row_mask(mask, len(factors), columns, ids, name, transposed=side == "items")
            for name, mask in (("include", rules.include), ("exclude", rules.exclude))
            if mask is not None
        }
        best, scores = self._top_k(
            factors,
            table,
            biases,
            k,
            candidates=candidates(
                self._filter(rules.only, other, other),
                self._filter(rules.never, other, f"exclude_{other}"),
                len(table),
            ),
            include=masks.get("include"),
            exclude=[pattern for pattern in (seen, masks.get("exclude")) if pattern is not None],
        )
        offset = self.mean_ if bias is None else self.mean_ + bias[:, None]
        scores += np.asarray(offset, scores.dtype)
        return self._labels(best, other), scores

    def _top_k(
        self,
        queries: Floats,
        table: Floats,
        bias: Floats | None,
        k: int,
        *,
        candidates: NDArray[np.int32] | None = None,
        include: Pattern | None = None,
        exclude: Sequence[Pattern] = (),
    ) -> tuple[NDArray[np.int32], Floats]:
        return _core.top_k(
            k=table.shape[1],
            queries=_engine.table(np.ascontiguousarray(queries)),
            items=padded(table),
            item_bias=bias,
            candidates=candidates,
            include=include,
            exclude=exclude,
            n_best=k,
            n_threads=check_threads(self.n_threads),
        )

    def similar_items(
        self, items: ArrayLike, k: int = 10, *, metric: str = "cosine"
    ) -> tuple[NDArray[Any], Floats]:
        """Return the k nearest other items of each item, in factor space.

        Parameters
        ----------
        items : array-like of shape (n,)
            Ids or indices.
        k : int
            Length of each list.
        metric : {"cosine", "inner"}
            Cosine of the factors, or their inner product.

        Returns
        -------
        items : ndarray of shape (n, k)
            Nearest first, padded as in `recommend`.
        scores : ndarray of shape (n, k)
        """
        check_is_fitted(self)
        return self._similar(self.item_factors_, items, k, metric, "items")

    def similar_users(
        self, users: ArrayLike, k: int = 10, *, metric: str = "cosine"
    ) -> tuple[NDArray[Any], Floats]:
        """Return the k nearest other users of each user; as `similar_items`."""
        check_is_fitted(self)
        return self._similar(self.user_factors_, users, k, metric, "users")

    def _similar(
        self, factors: Floats, which: ArrayLike, k: int, metric: str, side: str
    ) -> tuple[NDArray[Any], Floats]:
        k = check_length(k, len(factors))
        if check_choice("metric", metric, ("cosine", "inner")) == "cosine":
            factors = directions(factors)
        index = self._chosen(which, side)
        itself = (np.arange(len(index) + 1, dtype=np.int64), index)
        best, scores = self._top_k(factors[index], factors, None, k, exclude=[itself])
        return self._labels(best, side), scores

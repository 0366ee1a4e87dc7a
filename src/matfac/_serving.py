"""What a fitted model answers: predictions, recommendations, neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from matfac import _core, _engine
from matfac._engine import Floats
from matfac._ids import IdIndex
from matfac._validation import Ratings, check_choice, check_integer, check_threads, take_rows


class Serving:
    """The questions a `FactorModel` answers from its factors; they change nothing."""

    n_threads: int | None
    user_factors_: Floats
    item_factors_: Floats
    user_bias_: Floats | None
    item_bias_: Floats | None
    mean_: float
    _user_index: IdIndex | None
    _item_index: IdIndex | None
    _seen: tuple[NDArray[np.int64], NDArray[np.int32]] | None

    def _ratings(self, X: Any, *, reset: bool, argument: str = "X") -> Ratings:
        raise NotImplementedError

    def _fold_in(self, ratings: Ratings) -> tuple[Floats, Floats | None]:
        raise NotImplementedError

    def transform(self, X: Any) -> Floats:
        """Fold users in."""
        raise NotImplementedError

    def inverse_transform(self, T: ArrayLike) -> Floats:
        """Predict every item for folded-in users."""
        raise NotImplementedError

    def _lookup(self, values: ArrayLike, side: str) -> NDArray[np.int32]:
        """Turn ids, or indices where the model has no ids, into checked indices."""
        index = self._user_index if side == "users" else self._item_index
        array = np.asarray(values)
        if index is not None:
            found = index.lookup(array.ravel(), argument=side).astype(np.int32)
            return found.reshape(array.shape)
        if array.size == 0:
            return np.zeros(array.shape, np.int32)
        if array.dtype.kind not in "iu":
            raise TypeError(
                f"{side} must be integer indices (the model was fitted on a bare matrix, without "
                f"ids), got {array.dtype} such as {array.flat[0]!r}"
            )
        n = len(self.user_factors_ if side == "users" else self.item_factors_)
        outside = (array < 0) | (array >= n)
        if outside.any():
            raise ValueError(
                f"{side} holds {array[outside].flat[0]}, but the model has {n} {side}: indices run "
                f"from 0 to {n - 1}"
                + ("; new users go to transform or recommend(X=...)" if side == "users" else "")
            )
        return array.astype(np.int32)

    def _labels(self, indices: NDArray[np.int32], side: str) -> NDArray[Any]:
        """Turn indices into ids where the model has ids; -1 becomes the sentinel."""
        index = self._user_index if side == "users" else self._item_index
        return indices if index is None else index.take(indices)

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
            return self.inverse_transform(self.transform(users))
        user_index, item_index = np.broadcast_arrays(
            self._lookup(users, "users"), self._lookup(items, "items")
        )
        scores = _core.predict(
            k=self.item_factors_.shape[1],
            users=_engine.table(self.user_factors_),
            items=_engine.table(self.item_factors_),
            user_bias=self.user_bias_,
            item_bias=self.item_bias_,
            mean=self.mean_,
            user_index=np.ascontiguousarray(user_index).ravel(),
            item_index=np.ascontiguousarray(item_index).ravel(),
            n_threads=check_threads(self.n_threads),
        )
        return scores.reshape(user_index.shape)

    def recommend(
        self,
        users: ArrayLike | None = None,
        k: int = 10,
        X: Any = None,
        *,
        exclude_seen: bool = True,
    ) -> tuple[NDArray[Any], Floats]:
        """Return the k best items for each user.

        Parameters
        ----------
        users : array-like of shape (n,), optional
            Known users, ids or indices. None: all of them, or the rows of X.
        k : int
            Length of each list.
        X : {sparse matrix, sparse array, array-like, Interactions} of shape (n, n_items), optional
            Rows of new users to fold in, instead of `users`.
        exclude_seen : bool
            Leave out the items a user has entries for: in training, or in X.

        Returns
        -------
        items : ndarray of shape (n, k)
            Ids or indices, best first; equal scores by lower index. A list that runs out of items
            is padded with -1 (``""`` for string ids).
        scores : ndarray of shape (n, k)
            Predicted ratings or preferences; -inf at padding.
        """
        check_is_fitted(self)
        k = check_integer("k", k, minimum=1)
        if X is not None:
            if users is not None:
                raise ValueError("users and X exclude each other: give known users, or rows X")
            ratings = self._ratings(X, reset=False)
            factors, bias = self._fold_in(ratings)
            seen = (ratings.indptr, ratings.indices) if exclude_seen else None
        else:
            index = self._chosen(users)
            factors = self.user_factors_[index]
            bias = None if self.user_bias_ is None else self.user_bias_[index]
            seen = self._seen_rows(index) if exclude_seen else None
        best, scores = self._top_k(factors, k, self.item_bias_, seen)
        offset = self.mean_ if bias is None else self.mean_ + bias[:, None]
        scores += np.asarray(offset, scores.dtype)
        return self._labels(best, "items"), scores

    def _chosen(self, users: ArrayLike | None) -> NDArray[np.int32]:
        if users is None:
            return np.arange(len(self.user_factors_), dtype=np.int32)
        index = np.atleast_1d(self._lookup(users, "users"))
        if index.ndim != 1:
            raise ValueError(f"users must be one-dimensional, got shape {index.shape}")
        return index

    def _seen_rows(self, index: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        if self._seen is None:
            raise ValueError(
                "exclude_seen=True needs the training entries, which this model was saved without: "
                "pass exclude_seen=False, or the users' entries as X"
            )
        return take_rows(*self._seen, index)

    def _top_k(
        self,
        queries: Floats,
        k: int,
        bias: Floats | None,
        exclude: tuple[NDArray[np.int64], NDArray[np.int32]] | None,
        table: Floats | None = None,
    ) -> tuple[NDArray[np.int32], Floats]:
        return _core.top_k(
            k=self.item_factors_.shape[1],
            queries=_engine.table(np.ascontiguousarray(queries)),
            items=_engine.table(self.item_factors_ if table is None else table),
            item_bias=bias,
            exclude_indptr=None if exclude is None else exclude[0],
            exclude_indices=None if exclude is None else exclude[1],
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
        k = check_integer("k", k, minimum=1)
        if check_choice("metric", metric, ("cosine", "inner")) == "cosine":
            norms = np.linalg.norm(factors, axis=1, keepdims=True)
            factors = factors / np.where(norms > 0, norms, 1)
        index = np.atleast_1d(self._lookup(which, side))
        if index.ndim != 1:
            raise ValueError(f"{side} must be one-dimensional, got shape {index.shape}")
        itself = (np.arange(len(index) + 1, dtype=np.int64), index)
        best, scores = self._top_k(factors[index], k, None, itself, factors)
        return self._labels(best, side), scores

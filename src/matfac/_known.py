"""A fitted model's users and items: their ids, indices, factors and entries."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from matfac._engine import Floats
from matfac._filters import columns_of
from matfac._ids import IdIndex
from matfac._ratings import Pattern, take_rows
from matfac._values import cast


class KnownRows:
    """What a model knows of its two sides, "users" and "items"."""

    n_threads: int | None
    user_factors_: Floats
    item_factors_: Floats
    user_bias_: Floats | None
    item_bias_: Floats | None
    mean_: float
    _user_index: IdIndex | None
    _item_index: IdIndex | None
    _seen: Pattern | None

    def _side(self, side: str) -> tuple[Floats, Floats | None]:
        if side == "users":
            return self.user_factors_, self.user_bias_
        return self.item_factors_, self.item_bias_

    def _names(self, side: str) -> IdIndex | None:
        return self._user_index if side == "users" else self._item_index

    def _chosen(self, which: ArrayLike | None, side: str) -> NDArray[np.int32]:
        if which is None:
            return np.arange(len(self._side(side)[0]), dtype=np.int32)
        index = np.atleast_1d(self._lookup(which, side))
        if index.ndim != 1:
            raise ValueError(f"{side} must be one-dimensional, got shape {index.shape}")
        return index

    def _filter(self, which: Any, side: str, argument: str) -> NDArray[np.int32] | None:
        """Return the indices of a list that applies to every row; unknown ids are left out."""
        if which is None:
            return None
        index = np.atleast_1d(self._lookup(which, side, argument, missing="ignore"))
        return index[index >= 0]

    def _split_vectors(self, vectors: Any) -> tuple[Floats, Floats | None]:
        given = np.asarray(vectors)
        if given.dtype.kind not in "fiub":
            raise TypeError(f"vectors must hold real numbers, got dtype {given.dtype}")
        array = cast(given, self.item_factors_.dtype)
        k, biased = self.item_factors_.shape[1], self.item_bias_ is not None
        if array.ndim != 2 or array.shape[1] != k + biased:
            raise ValueError(
                f"vectors must have shape (n, {k + biased}), {k} factors"
                f"{' and a bias' if biased else ''} as transform returns, got {array.shape}"
            )
        if not np.isfinite(given).all():
            raise ValueError("vectors must be finite, got NaN or infinity")
        if not np.isfinite(array).all():
            raise ValueError(
                f"vectors hold {given[~np.isfinite(array)][0]:g}, which overflows the model's "
                f"{array.dtype}: divide vectors by a constant"
            )
        return np.ascontiguousarray(array[:, :k]), array[:, k] if biased else None

    def _lookup(
        self, values: ArrayLike, side: str, argument: str = "", missing: str = "error"
    ) -> NDArray[np.int32]:
        """Turn ids, or indices where the model has no ids, into checked indices."""
        argument = argument or side
        index = self._names(side)
        array = np.asarray(values)
        if index is not None:
            found = index.lookup(array.ravel(), argument, missing).astype(np.int32)
            return found.reshape(array.shape)
        if array.size == 0:
            return np.zeros(array.shape, np.int32)
        if array.dtype.kind not in "iu":
            raise TypeError(
                f"{argument} must be integer indices (the model was fitted on a bare matrix, "
                f"without ids), got {array.dtype} such as {array.flat[0]!r}"
            )
        n = len(self.user_factors_ if side == "users" else self.item_factors_)
        outside = (array < 0) | (array >= n)
        if outside.any():
            raise ValueError(
                f"{argument} holds {array[outside].flat[0]}, but the model has {n} {side}: indices "
                f"run from 0 to {n - 1}"
                + ("; new users go to transform or recommend(X=...)" if side == "users" else "")
            )
        return array.astype(np.int32)

    def _labels(self, indices: NDArray[np.int32], side: str) -> NDArray[Any]:
        """Turn indices into ids where the model has ids; -1 becomes the sentinel."""
        index = self._names(side)
        return indices if index is None else index.take(indices)

    def _seen_rows(self, index: NDArray[np.int32], side: str) -> Pattern:
        if self._seen is None:
            raise ValueError(
                "exclude_seen=True needs the training entries, which this model was saved without: "
                "pass exclude_seen=False, or the entries as X"
            )
        if side == "users":
            return take_rows(*self._seen, index)
        return columns_of(self._seen, index, len(self.item_factors_))

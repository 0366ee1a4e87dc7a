"""What every fitted model can do: fold in, predict, recommend, find neighbours, save."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from matfac import _als, _persistence
from matfac._derived import freeze
from matfac._engine import Floats, parts_of
from matfac._explain import Explaining
from matfac._feature_input import ids_of
from matfac._feature_rows import prior_for, rows_of
from matfac._features import Prior
from matfac._growth import Growing
from matfac._ids import IdIndex
from matfac._loop import Record
from matfac._ratings import Ratings
from matfac._serving import Serving
from matfac._validation import (
    check_dtype,
    check_flag,
    check_matrix,
    check_threads,
    check_weights,
)
from matfac.interactions import Interactions

if TYPE_CHECKING:
    from typing_extensions import Self


NO_IDS = (
    "X is an Interactions, but the model was fitted on a bare matrix and knows no ids: pass a "
    "matrix, or fit on an Interactions"
)


def _joined(factors: Floats, bias: Floats | None) -> Floats:
    return factors if bias is None else np.column_stack((factors, bias))


class FactorModel(
    Serving, Growing, Explaining, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Base of the estimators: a fitted model is plain arrays, used here.

    Subclasses fit; they set `user_factors_`, `item_factors_`, `user_bias_`, `item_bias_` (None
    where there are none), the same four of their features, `mean_`, `history_`, `n_iter_` and
    `objective_`, and say in `_objective` what a fold-in minimises.
    """

    _implicit: bool
    _weighs = True  # entries may have weights
    n_threads: int | None
    init_std: float
    random_state: Any
    dtype: str
    user_factors_: Floats
    item_factors_: Floats
    user_bias_: Floats | None
    item_bias_: Floats | None
    user_feature_factors_: Floats | None
    item_feature_factors_: Floats | None
    user_feature_bias_: Floats | None
    item_feature_bias_: Floats | None
    mean_: float
    history_: list[Record]
    n_iter_: int
    objective_: float
    n_features_in_: int
    feature_names_in_: NDArray[Any]  # after a fit on a frame alone
    _user_index: IdIndex | None
    _item_index: IdIndex | None

    def _objective(self) -> _als.Objective:
        raise TypeError(
            f"{type(self).__name__} does not solve its rows by least squares, so that it has "
            "neither explain nor partial_fit"
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for name in ("user_factors_", "item_factors_"):  # arrays come out of a pickle writeable
            if name in vars(self):
                freeze(vars(self)[name])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.input_tags.positive_only = self._implicit
        tags.transformer_tags.preserves_dtype = [np.dtype(self.dtype).name]
        return tags

    @property
    def user_ids_(self) -> NDArray[Any] | None:
        """Ids of the users, ndarray of shape (n_users,); None after a fit on a bare matrix."""
        return None if self._user_index is None else self._user_index.ids

    @property
    def item_ids_(self) -> NDArray[Any] | None:
        """Ids of the items, ndarray of shape (n_items,); None after a fit on a bare matrix."""
        return None if self._item_index is None else self._item_index.ids

    # --- input -----------------------------------------------------------------------------

    def _ratings(self, X: Any, *, reset: bool, argument: str = "X") -> Ratings:
        """Return a user's matrix or Interactions as checked CSR over the model's items."""
        if isinstance(X, Interactions):
            X = X.matrix if reset else self._reindexed(X)
        return check_matrix(
            self,
            X,
            check_dtype(self.dtype),
            reset=reset,
            implicit=self._implicit,
            argument=argument,
        )

    def _reindexed(self, interactions: Interactions) -> sp.csr_array:
        """Map the columns of interactions to the model's items; unknown items are left out."""
        if self._item_index is None:
            raise ValueError(NO_IDS)
        columns = self._item_index.lookup(interactions.item_ids, argument="items", missing="ignore")
        coo = interactions.matrix.tocoo()
        at = columns[coo.coords[1]]
        known = at >= 0
        return sp.csr_array(
            (coo.data[known], (coo.coords[0][known], at[known])),
            shape=(interactions.matrix.shape[0], len(self._item_index)),
        )

    # --- fold-in ---------------------------------------------------------------------------

    def _fold_in(
        self, ratings: Ratings, side: str = "users", prior: Prior | None = None
    ) -> tuple[Floats, Floats | None]:
        """Solve rows of `side` against the model's other side."""
        return self._solve(ratings, *self._side("items" if side == "users" else "users"), prior)

    def _solve(
        self, ratings: Ratings, fixed: Floats, bias: Floats | None, prior: Prior | None = None
    ) -> tuple[Floats, Floats | None]:
        """Return the best factors and biases of rows, given those of their columns."""
        return _als.fold_in(
            ratings, self._objective(), fixed, bias, check_threads(self.n_threads), prior
        )

    def transform(self, X: Any, *, weights: Any = None, user_features: Any = None) -> Floats:
        """Fold users in: the factors a last half sweep of the fit would give their rows.

        Parameters
        ----------
        X : {sparse matrix, sparse array, array-like, Interactions} of shape (n_users, n_items)
            Entries of new or known users. Dense: NaN is missing. Of an Interactions, items that the
            model does not know are left out.
        weights : matrix of X's shape, or Interactions, optional
            Weight of each entry, where the model was fitted with weights.
        user_features : {sparse matrix, sparse array, array-like}, optional
            Of shape (n_users, n_features), where the model was fitted with user features; None
            stands for features of 0. With X None these alone say what the users are like. A pandas
            frame as in `fit`.

        Returns
        -------
        ndarray of shape (n_users, n_factors) or (n_users, n_factors + 1)
            The factors and, for a model with biases, the user bias as a last column, so that
            ``mean_ + item_bias_ + transform(X) @ components_`` predicts. A row without entries
            gives what its features say, without features zeros.
        """
        check_is_fitted(self)
        if X is None:
            return _joined(*rows_of(self, "user", user_features))
        ratings = self._weighted(weights, self._ratings(X, reset=False), X, items=self.item_ids_)
        prior = prior_for(self, "user", user_features, ratings.shape[0], ids=ids_of(X, "user"))
        return _joined(*self._fold_in(ratings, "users", prior))

    def fold_in_items(self, X: Any, *, weights: Any = None, item_features: Any = None) -> Floats:
        """Fold items in: the factors a half sweep over the items would give their columns.

        Parameters
        ----------
        X : {sparse matrix, sparse array, array-like, Interactions} of shape (n_users, n_new)
            A column per item, new or known; a row for each of the model's users. Dense: NaN is
            missing. Of an Interactions, users that the model does not know are left out.
        weights : matrix of X's shape, or Interactions, optional
            As in `transform`.
        item_features : {sparse matrix, sparse array, array-like}, optional
            Of shape (n_new, n_features), where the model was fitted with item features; None stands
            for features of 0. With X None these alone say what the items are like. A pandas frame
            as in `fit`.

        Returns
        -------
        ndarray of shape (n_new, n_factors) or (n_new, n_factors + 1)
            The factors and, for a model with biases, the item bias as a last column. An item
            without entries gets what its features say, without features zeros. `partial_fit` keeps
            new items in the model; ``recommend_users(X=X)`` asks who would like them.

        Examples
        --------
        >>> import numpy as np, matfac
        >>> X = np.array([[5, 4, np.nan], [4, np.nan, 1], [1, 1, 5], [1, np.nan, 4.0]])
        >>> model = matfac.ExplicitMF(n_factors=2, random_state=0).fit(X)
        >>> model.fold_in_items(np.array([[5], [np.nan], [1], [2]])).shape
        (1, 3)
        """
        check_is_fitted(self)
        if X is None:
            return _joined(*rows_of(self, "item", item_features))
        columns = self._new_columns(X, weights)
        prior = prior_for(self, "item", item_features, columns.shape[0], ids=ids_of(X, "item"))
        return _joined(*self._fold_in(columns, "items", prior))

    def _new_columns(self, X: Any, weights: Any = None) -> Ratings:
        """Return columns over the model's users as checked rows."""
        n_users, given = len(self.user_factors_), X
        if isinstance(X, Interactions):
            if self._user_index is None:
                raise ValueError(NO_IDS)
            X = X.aligned(self._user_index.ids, X.item_ids)
        ratings = check_matrix(
            self, X, check_dtype(self.dtype), reset=False, implicit=self._implicit, free=True
        )
        if ratings.shape[0] != n_users:
            raise ValueError(
                f"X must be a users x items matrix with a row for each of the model's {n_users} "
                f"users, got shape {ratings.shape}"
                + ("; pass X.T" if ratings.shape[1] == n_users else "")
            )
        weighted = self._weighted(weights, ratings, given, users=self.user_ids_)
        return weighted.transposed(check_threads(self.n_threads))

    def _weighted(
        self,
        weights: Any,
        ratings: Ratings,
        X: Any = None,
        *,
        users: NDArray[Any] | None = None,
        items: NDArray[Any] | None = None,
    ) -> Ratings:
        """Attach weights; those of Interactions by ids: X's, or those given of users or items."""
        if weights is not None and not self._weighs:
            raise ValueError(f"weights: {type(self).__name__} takes none; scale the values of X")
        if isinstance(weights, Interactions):
            if not isinstance(X, Interactions):
                raise TypeError(
                    "weights is an Interactions, and X is none: give weights as a matrix of X's "
                    "shape, or both as Interactions"
                )
            weights = weights.aligned(
                X.user_ids if users is None else users, X.item_ids if items is None else items
            )
        return check_weights(weights, ratings)

    def inverse_transform(self, T: ArrayLike) -> Floats:
        """Predict every item for users given by `transform`.

        Parameters
        ----------
        T : array-like of shape (n_users, n_components)
            What `transform` returns.

        Returns
        -------
        ndarray of shape (n_users, n_items)
            Dense: meant for a few users.
        """
        check_is_fitted(self)
        codes = np.asarray(T, dtype=self.item_factors_.dtype)
        components = self.components_
        if codes.ndim != 2 or codes.shape[1] != len(components):
            raise ValueError(
                f"T must have shape (n_users, {len(components)}), as transform returns, "
                f"got {codes.shape}"
            )
        offset = self.item_factors_.dtype.type(self.mean_)
        if self.item_bias_ is not None:
            offset = offset + self.item_bias_
        scores = np.empty((len(codes), components.shape[1]), codes.dtype)
        for rows in parts_of(scores):
            np.matmul(codes[rows], components, out=scores[rows])
            scores[rows] += offset
        return scores

    @property
    def components_(self) -> Floats:
        """What `transform`'s output is multiplied with, ndarray of shape (n_components, n_items).

        With biases a last row of ones meets the user bias.
        """
        check_is_fitted(self, "item_factors_")
        rows = self.item_factors_.T
        if self.item_bias_ is None:
            return rows
        return np.vstack((rows, np.ones((1, rows.shape[1]), rows.dtype)))

    @property
    def _n_features_out(self) -> int:
        return int(self.item_factors_.shape[1]) + (self.item_bias_ is not None)

    # --- files -----------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str], *, with_seen: bool = True) -> None:
        """Write the model to a safetensors file, all or nothing.

        Parameters
        ----------
        path : path-like
            The file; replaced if it exists.
        with_seen : bool
            Store the training entries' positions too (4 bytes each), which ``exclude_seen`` needs.
        """
        check_is_fitted(self)
        _persistence.save(self, path, with_seen=check_flag("with_seen", with_seen))

    def _training(self, ratings: Ratings, X: Any) -> dict[str, Any]:
        """Return what serving needs of the training data: positions, and ids if there were any."""
        known = isinstance(X, Interactions)
        users, items = (IdIndex(X.user_ids), IdIndex(X.item_ids)) if known else (None, None)
        seen = (ratings.indptr, ratings.indices)
        return {"_seen": seen, "_user_index": users, "_item_index": items}

    def fit(self, X: Any, y: None = None) -> Self:
        """Fit the model; see the subclass."""
        raise NotImplementedError

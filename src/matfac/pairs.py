"""Ratings as (user, item) pairs and targets, for scikit-learn's cross-validation tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.utils.validation import _check_feature_names, check_is_fitted

from matfac._assemble import check_numbers
from matfac.explicit import ExplicitMF
from matfac.interactions import Interactions

if TYPE_CHECKING:
    from typing_extensions import Self


class RatingRegressor(RegressorMixin, BaseEstimator):
    """Predict ratings from (user, item) pairs: an `ExplicitMF` behind fit(pairs, y).

    Holding out entries, as `cross_val_score` and `GridSearchCV` do on pairs, is the honest way to
    evaluate a ratings model: holding out rows of a matrix would fold users in from the very entries
    they are scored on.

    Parameters
    ----------
    model : ExplicitMF or None
        The model to fit, cloned first; its parameters are reached as ``model__reg`` and so on.
        None: ``ExplicitMF()``.
    clip : bool or (low, high)
        Limit the predictions to the range of the training ratings (True), or to a scale of your
        own.

    Attributes
    ----------
    model_ : ExplicitMF
        Fitted on the pairs' own ids.
    n_features_in_ : int
        2.
    feature_names_in_ : ndarray of shape (2,)
        The columns of the frame it was fitted on, where it was one; `predict` wants the same.

    Examples
    --------
    >>> from matfac import RatingRegressor
    >>> pairs = [["ann", "up"], ["ann", "jaws"], ["bob", "up"], ["bob", "jaws"]]
    >>> regressor = RatingRegressor().fit(pairs, [5, 1, 4, 1])
    >>> bool(regressor.predict([["ann", "up"]])[0] > regressor.predict([["ann", "jaws"]])[0])
    True
    """

    def __init__(
        self, model: ExplicitMF | None = None, *, clip: bool | tuple[float, float] = False
    ) -> None:
        self.model = model
        self.clip = clip

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags

    def set_params(self, **params: Any) -> Self:
        """Set parameters; ``model__reg`` and its like make a model of None an `ExplicitMF`."""
        nested = any(name.startswith("model__") for name in params)
        if nested and params.get("model", self.model) is None:
            params = {**params, "model": ExplicitMF()}
        super().set_params(**params)
        return self

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to ratings of pairs.

        Parameters
        ----------
        X : array-like or frame of shape (n, 2)
            Users and items, integer or string ids. A pair that occurs again replaces the earlier.
        y : array-like of shape (n,)
            Ratings.
        sample_weight : array-like of shape (n,), optional
            Weight of each rating.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            Naming X, y, sample_weight or a parameter.
        """
        if not (self.model is None or isinstance(self.model, ExplicitMF)):
            raise TypeError(
                f"model must be an ExplicitMF or None, got {type(self.model).__name__}: the others "
                "predict no ratings"
            )
        users, items = columns_of(X)
        ratings = _one_per_pair("y", y, len(users))
        interactions = Interactions.from_arrays(users, items, ratings, duplicates="last")
        weights = None
        if sample_weight is not None:
            given = _one_per_pair("sample_weight", sample_weight, len(users))
            if (given < 0).any() or not given.any():
                raise ValueError(
                    "sample_weight must be at least 0 and not all 0, got values from "
                    f"{given.min():g} to {given.max():g}"
                )
            weights = Interactions.from_arrays(users, items, given, duplicates="last").matrix
        model = ExplicitMF() if self.model is None else clone(self.model)
        self.model_ = model.fit(interactions, weights=weights)
        _check_feature_names(self, X, reset=True)
        self.n_features_in_ = 2
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Predict the ratings of pairs.

        Parameters
        ----------
        X : array-like or frame of shape (n, 2)
            Users and items. An id that was not in training counts with bias 0 and no factors, so
            that a new user gets the mean plus the item's bias.

        Returns
        -------
        ndarray of shape (n,)
        """
        check_is_fitted(self)
        model = self.model_
        limits = model._limits(self.clip)
        _check_feature_names(self, X, reset=False)
        users, items = columns_of(X)
        u = model._lookup(users, "users", missing="ignore")
        i = model._lookup(items, "items", missing="ignore")
        known = (u >= 0) & (i >= 0)
        out = np.full(len(u), model.mean_)
        if model.user_bias_ is not None and model.item_bias_ is not None:
            out += np.where(u >= 0, model.user_bias_[u], 0) + np.where(
                i >= 0, model.item_bias_[i], 0
            )
        out[known] = model._pair_scores(u[known], i[known])
        return out if limits is None else np.clip(out, *limits)


def _one_per_pair(name: str, given: ArrayLike, n: int) -> NDArray[Any]:
    """Return a number for each pair, as float32 holds them."""
    array = np.asarray(given)
    if array.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), one per pair, got {array.shape}")
    return check_numbers(array, name, np.float32)


def columns_of(X: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the user and item columns of an array or frame of pairs."""
    if sp.issparse(X):
        raise TypeError(
            f"X must hold pairs, a row (user, item) per rating, got the sparse {type(X).__name__}: "
            "give numpy.column_stack(X.nonzero()), or the matrix to ExplicitMF"
        )
    if hasattr(X, "columns") and hasattr(X, "shape") and len(X.columns) == 2:
        # The columns of an Arrow table are its arrays.
        first, second = (np.asarray(X[name]) for name in getattr(X, "column_names", X.columns))
        return first, second
    # As objects the ids of a list keep their kinds: one of each would all become strings.
    array = np.asarray(X, dtype=object if isinstance(X, list | tuple) else None)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(
            f"X must have exactly two columns (user, item), got shape {array.shape}"
            + (". Reshape your data: one row per rating" if array.ndim == 1 else "")
        )
    return array[:, 0], array[:, 1]

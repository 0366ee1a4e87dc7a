"""Why an item is recommended: the share of each of a user's entries in its score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from matfac._feature_rows import features_for
from matfac._ratings import Ratings
from matfac._titles import titles_of
from matfac.interactions import Interactions

if TYPE_CHECKING:
    from matfac._model import FactorModel

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Explanation:
    """The score of an item for a user as a sum over the user's entries.

    Attributes
    ----------
    user, item : int, str or None
        Who, None for a user the model does not know, and what.
    score : float
        ``mean + item_bias + features + contributions.sum()``.
    mean, item_bias : float
        Of the model; 0 where it has none. A user's bias is part of the contributions.
    items : ndarray of shape (n,)
        Items of the user's entries, ids or indices, the largest contribution first.
    values, contributions : ndarray of shape (n,)
        The entries' values, and what each adds to the score.
    feature_contributions : ndarray of shape (n_features,)
        What each of the user's features adds; of length 0 where none were given.
    """

    user: Any
    item: Any
    score: float
    mean: float
    item_bias: float
    items: NDArray[Any]
    values: Float
    contributions: Float
    feature_contributions: Float

    @property
    def features(self) -> float:
        """The share of the user's features: the sum of `feature_contributions`."""
        return float(self.feature_contributions.sum())

    def to_dict(self) -> dict[str, NDArray[Any]]:
        """Return the entries as columns, as data frames are made from."""
        return {"item": self.items, "value": self.values, "contribution": self.contributions}

    def text(self, titles: Mapping[Any, str] | None = None, k: int = 10) -> str:
        """Return a table of the k largest contributions, with titles where there are any."""

        def named(ids: NDArray[Any]) -> list[str]:
            found = titles_of(ids, titles)
            return [
                title or str(name)
                for name, title in zip(ids, ids if found is None else found, strict=True)
            ]

        whom = "" if self.user is None else f" for {self.user}"
        lines = [f"{self.score:8.4f}  {named(np.array([self.item]))[0]}{whom}"]
        if self.mean or self.item_bias:
            lines += [f"{self.mean:+8.4f}  mean", f"{self.item_bias:+8.4f}  the item's bias"]
        if len(self.feature_contributions):
            lines.append(f"{self.features:+8.4f}  the user's features")
        order = np.argsort(-np.abs(self.contributions), kind="stable")[:k]
        order = order[np.argsort(-self.contributions[order], kind="stable")]
        listed = zip(
            self.contributions[order], named(self.items[order]), self.values[order], strict=True
        )
        lines += [f"{part:+8.4f}  {name} ({value:g})" for part, name, value in listed]
        if len(self.items) > len(order):
            rest = self.contributions.sum() - self.contributions[order].sum()
            lines.append(f"{rest:+8.4f}  {len(self.items) - len(order)} other entries")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()


class Explaining:
    """What a `FactorModel` tells of its scores."""

    def explain(
        self, user: Any, item: Any, X: Any = None, *, weights: Any = None, user_features: Any = None
    ) -> Explanation:
        """Tell which of a user's entries made the score of an item, and how much each.

        A user's factors are the solution of a linear system whose right-hand side is a sum over the
        user's entries, so that a score is such a sum too (Hu, Koren, Volinsky 2008, section 5). It
        is that of fold-in: of a training user with the training entries, what `predict` gives.

        Parameters
        ----------
        user : int or str, or None
            A known user's id or index; None for another, whose one row is X.
        item : int or str
            Any item of the model, by id or index.
        X : {sparse matrix, sparse array, array-like, Interactions} of shape (m, n_items), optional
            The user's entries: a matrix of that row alone, the training matrix, or an Interactions
            with the user. The model keeps where its training entries are, but not their values, and
            so None will do only for an `ImplicitMF` that was fitted on values of 1.
        weights : matrix of X's shape, optional
            As in `fit` (`ExplicitMF`).
        user_features : {sparse matrix, sparse array, array-like}, optional
            Where the model was fitted with user features, which it does not keep: the user's row
            alone, or a row for each of the model's users. They get a share of their own.

        Returns
        -------
        Explanation
            ``str()`` shows it, ``to_dict()`` makes a data frame: ``pd.DataFrame(e.to_dict())``.

        Raises
        ------
        TypeError
            With non-negative factors, an L1 penalty or a pairwise loss: there is no such sum.

        Examples
        --------
        >>> from matfac import ImplicitMF, Interactions
        >>> clicks = Interactions.from_arrays(["ann", "ann", "bob"], ["up", "jaws", "up"])
        >>> model = ImplicitMF(n_factors=2, random_state=0).fit(clicks)
        >>> why = model.explain("bob", "jaws")
        >>> why.items
        array(['up'], dtype='<U4')
        >>> bool(abs(why.score - model.predict("bob", "jaws")) < 1e-5)
        True
        """
        check_is_fitted(self)
        return explain(cast("FactorModel", self), user, item, X, weights, user_features)


def explain(
    model: FactorModel, user: Any, item: Any, X: Any, weights: Any, user_features: Any
) -> Explanation:
    """Explain one score; see `FactorModel.explain`."""
    objective = model._objective()
    if objective.loss not in ("ratings", "ials", "hu"):
        raise TypeError(
            f"{type(model).__name__} has no explanations: with the loss {objective.loss!r} a "
            "user's factors are no sum over the entries"
        )
    if objective.descends:
        raise TypeError(
            f"{type(model).__name__} has no explanations with nonnegative or l1_reg: bounds and L1 "
            "penalties make a user's factors no sum over the entries"
        )
    if np.ndim(item) != 0 or np.ndim(user) != 0:
        raise ValueError("user and item must be one id or index each")
    column = int(model._lookup(item, "items"))
    row = None if user is None else int(model._lookup(user, "users"))
    assumed = X is None
    ratings = _clicks_of(model, row) if assumed else _row_of(model, user, row, X, weights)
    says = _priors_of(model, row, user_features)
    mean = model.mean_
    bias = np.zeros(len(model.item_factors_)) if model.item_bias_ is None else model.item_bias_
    table = model.item_factors_.astype(np.float64)
    gram = np.zeros((table.shape[1],) * 2)
    if objective.loss != "ratings":
        gram = (1.0 if objective.loss == "hu" else objective.alpha) * (table.T @ table)
    elif model.item_bias_ is not None:
        table = np.column_stack((table, np.ones(len(table))))
        gram = np.zeros((table.shape[1],) * 2)

    values = ratings.values.astype(np.float64)
    weight = np.ones(len(values)) if ratings.weights is None else ratings.weights
    if objective.loss == "ratings":
        curvature = weight
        linear = weight * (values - mean - bias[ratings.indices])
    else:
        curvature = weight * (objective.alpha if objective.loss == "hu" else 1.0) * values
        linear = curvature + weight * (objective.loss == "hu")
    own = table[ratings.indices]
    ridge = float(objective.ridge(ratings, 1)[0])
    gram += (own * curvature[:, None]).T @ own + ridge * np.eye(len(gram))
    if assumed and row is not None:
        target = own.T @ linear + ridge * says.sum(axis=0)
        _check_assumed(model, row, np.linalg.lstsq(gram, target, rcond=None)[0])
    # x = gram^-1 (sum_j linear_j y_j + ridge sum_f says_f), so that each entry and each feature
    # adds its term's product with the item. Without entries x is what the features say.
    towards = np.linalg.lstsq(gram, table[column], rcond=None)[0]
    contributions = linear * (own @ towards)
    of_features = says @ (ridge * towards if len(values) else table[column])
    order = np.argsort(-contributions, kind="stable")
    base = float(bias[column])
    return Explanation(
        user=user,
        item=item,
        score=float(mean + base + of_features.sum() + contributions.sum()),
        mean=float(mean),
        item_bias=base,
        items=model._labels(ratings.indices[order], "items"),
        values=values[order],
        contributions=contributions[order],
        feature_contributions=of_features,
    )


def _priors_of(model: FactorModel, row: int | None, user_features: Any) -> Float:
    """Return what each of a user's features says of the factors and the bias, a row for each."""
    width = model.item_factors_.shape[1] + (model.item_bias_ is not None)
    if user_features is None:
        if row is not None and model.user_feature_factors_ is not None:
            raise ValueError(
                "user_features is needed: the model was fitted with features of users, which it "
                "does not keep; give the user's row, or a row for each user"
            )
        return np.zeros((0, width))
    features, weights = features_for(model, "user", user_features, None)
    if features.shape[0] != 1:
        if row is None or features.shape[0] != len(model.user_factors_):
            raise ValueError(
                "user_features must be the user's row alone or, for a known user, a row for each "
                f"of the model's {len(model.user_factors_)} users; got {features.shape[0]} rows"
            )
        features = features[[row]]
    factors, bias = weights
    parts = factors if bias is None else np.column_stack((factors, bias))
    return np.asarray(features.toarray().T * parts.astype(np.float64))


def _row_of(model: FactorModel, user: Any, row: int | None, X: Any, weights: Any) -> Ratings:
    """Return the user's row of X as a matrix of one row."""
    ratings = model._weighted(weights, model._ratings(X, reset=False))
    if isinstance(X, Interactions) and user is not None:
        at = int(X.user_index(user))
    elif ratings.shape[0] == 1:
        at = 0
    elif row is not None and ratings.shape[0] == len(model.user_factors_):
        at = row
    else:
        raise ValueError(
            "X must be the user's row alone, or the training matrix with a row for each of the "
            f"{len(model.user_factors_)} users together with a known user; got {ratings.shape[0]} "
            f"rows and user={user!r}"
        )
    return ratings.choose(np.array([at]))


def _clicks_of(model: FactorModel, row: int | None) -> Ratings:
    """Return a known user's positions as entries of value 1."""
    if row is None or not model._implicit or model._seen is None:
        raise ValueError(
            "X is needed: the model does not keep the values of its training entries; give the "
            "user's row, the training matrix, or the Interactions"
        )
    indptr, indices = model._seen
    own = indices[indptr[row] : indptr[row + 1]]
    n_items = len(model.item_factors_)
    values = np.ones(len(own), model.item_factors_.dtype)
    return Ratings((1, n_items), np.array([0, len(own)], np.int64), own, values)


def _check_assumed(model: FactorModel, row: int, factors: NDArray[Any]) -> None:
    known = model.user_factors_[row]
    if not np.allclose(factors, known, rtol=1e-2, atol=1e-2 * (np.abs(known).max() + 1e-12)):
        raise ValueError(
            "X is needed: the user's factors are not the solution for training entries of value 1; "
            "they had other values, which the model does not keep, or it has changed since"
        )

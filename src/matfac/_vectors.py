"""Items and users as vectors whose inner product is the model's order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from matfac._model import FactorModel


def item_vectors(model: FactorModel) -> NDArray[np.float32]:
    """Return the items as vectors whose inner product with a user's ranks as the model does.

    Parameters
    ----------
    model : ExplicitMF, ImplicitMF or RankingMF
        Fitted.

    Returns
    -------
    ndarray of float32 and shape (n_items, n_coordinates), C-contiguous
        Row i is y_i; then, of a model with item biases, b_i; then, of a model with user biases, 1.

    Notes
    -----
    These vectors are for inner products alone. Cosine and Euclidean distance rank differently; for
    "items like this one" export `item_factors_` itself.

    Examples
    --------
    >>> import numpy as np
    >>> from matfac import ExplicitMF
    >>> from matfac.embeddings import item_vectors, user_vectors
    >>> X = np.array([[5, 4, np.nan, 1], [4, np.nan, 1, 1], [1, 1, 5, np.nan]])
    >>> model = ExplicitMF(n_factors=2, random_state=0).fit(X)
    >>> items, users = item_vectors(model), user_vectors(model)
    >>> items.shape, users.shape, items.dtype
    ((4, 4), (3, 4), dtype('float32'))
    >>> np.allclose(users @ items.T + model.mean_, model.predict(X), atol=1e-5)
    True
    """
    check_is_fitted(model)
    ones = None if model.user_bias_ is None else np.ones(len(model.item_factors_))
    return _columns(model.item_factors_, model.item_bias_, ones)


def user_vectors(
    model: FactorModel, users: ArrayLike | None = None, *, X: Any = None
) -> NDArray[np.float32]:
    """Return users as vectors to be multiplied with `item_vectors`.

    Parameters
    ----------
    model : ExplicitMF, ImplicitMF or RankingMF
        Fitted.
    users : array-like of shape (n,), optional
        Known users, ids or indices. None: all of them, or the rows of X.
    X : {sparse matrix, sparse array, array-like, Interactions} of shape (n, n_items), optional
        Rows of new users to fold in, instead of `users`.

    Returns
    -------
    ndarray of float32 and shape (n, n_coordinates), C-contiguous
        Row u is x_u; then, of a model with item biases, 1; then, of a model with user biases, b_u.
    """
    check_is_fitted(model)
    if X is not None:
        if users is not None:
            raise ValueError("users and X exclude each other: give known users, or rows X")
        codes = model.transform(X)
        k = model.item_factors_.shape[1]
        factors, bias = codes[:, :k], codes[:, k] if codes.shape[1] > k else None
    else:
        index = model._chosen(users, "users")
        factors = model.user_factors_[index]
        bias = None if model.user_bias_ is None else model.user_bias_[index]
    ones = None if model.item_bias_ is None else np.ones(len(factors))
    return _columns(factors, ones, bias)


def _columns(factors: NDArray[Any], *more: NDArray[Any] | None) -> NDArray[np.float32]:
    """Return the factors and further columns side by side."""
    extra = [column for column in more if column is not None]
    vectors = np.empty((len(factors), factors.shape[1] + len(extra)), np.float32)
    vectors[:, : factors.shape[1]] = factors
    for at, column in enumerate(extra, factors.shape[1]):
        vectors[:, at] = column
    return vectors

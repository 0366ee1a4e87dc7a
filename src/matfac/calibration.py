"""Scores of clicks models -> probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from matfac._evaluate import aligned, side_of
from matfac._ratings import Pattern
from matfac._serving import Serving
from matfac._validation import check_choice, check_integer, seed_of

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ScoreCalibrator"]

Floats = NDArray[np.float64]


class ScoreCalibrator(BaseEstimator):
    """Turn the scores of a fitted model into probabilities, learnt from validation data.

    The probability of a user and an item that are no entry of training is that of their being an
    entry of data drawn as the validation data was. It depends on how much that is: calibrated on
    one week of clicks, it is the chance of a click within a week; on a held-out tenth of all
    clicks, the chance that the pair is in such a tenth. It rises with the score, so that no ranking
    changes but for ties.

    It is learnt from every validation entry that is not in training and from a uniform sample of
    the cells that are in neither, weighted to stand for all of them.

    Parameters
    ----------
    model : fitted estimator
        Such as `ImplicitMF`. It stays as it is.
    method : {"isotonic", "logistic"}
        Any curve that rises, which needs some hundreds of validation entries; or the sigmoid of a
        line, for fewer.
    n_unobserved : int
        Size of the sample; all cells are taken where they are no more.
    random_state : int, RandomState or None
        Seed of the sample.

    Attributes
    ----------
    rate_ : float
        Share of the cells outside training that are validation entries: the mean probability.
    n_features_in_ : int
        1, the score.

    Examples
    --------
    >>> from matfac import ImplicitMF, datasets, splits
    >>> from matfac.calibration import ScoreCalibrator
    >>> clicks = datasets.planted_clicks(500, 200, 10_000, test_fraction=0, seed=0).train
    >>> train, validation = splits.per_user(clicks, 0.2, random_state=0)
    >>> model = ImplicitMF(n_factors=8, random_state=0).fit(train)
    >>> calibrator = ScoreCalibrator(model, random_state=0).fit(validation)
    >>> low, high = calibrator.predict(0, model.recommend([0], k=100)[0][0, [99, 0]])
    >>> bool(0 <= low < high <= 1)
    True
    """

    def __init__(
        self,
        model: Any,
        *,
        method: str = "isotonic",
        n_unobserved: int = 1_000_000,
        random_state: Any = None,
    ) -> None:
        self.model = model
        self.method = method
        self.n_unobserved = n_unobserved
        self.random_state = random_state

    def __sklearn_clone__(self) -> Self:
        """Return an unfitted calibrator of the same model, which stays fitted."""
        params = self.get_params(deep=False)
        model = params.pop("model")
        return type(self)(model, **{name: clone(params[name], safe=False) for name in params})

    def fit(self, validation: Any, *, train: Any = None) -> Self:
        """Learn the probabilities.

        Parameters
        ----------
        validation : sparse matrix of shape (n_users, n_items), or Interactions
            Entries that the model has not seen; those in `train` are left out. Stored zeros are no
            entries, other values do not count.
        train : sparse matrix of shape (n_users, n_items), or Interactions, optional
            Entries of training. None: those that the model has stored.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            Naming the argument.
        """
        check_choice("method", self.method, ("isotonic", "logistic"))
        n_wanted = check_integer("n_unobserved", self.n_unobserved, minimum=1)
        if not isinstance(self.model, Serving):
            raise TypeError(f"model must be a fitted estimator, got {type(self.model).__name__}")
        side = side_of(self.model, None)
        known = side.seen if train is None else aligned(train, side, "train")[0]
        if known is None:
            raise ValueError("the model was saved without its training entries: give them as train")
        n_items = side.shape[1]
        seen = _keys(known, n_items)
        positive = np.setdiff1d(_keys(aligned(validation, side, "validation")[0], n_items), seen)
        if len(positive) == 0:
            raise ValueError("validation has no entry that is not in training too")
        taken = np.union1d(seen, positive)
        n_cells = side.shape[0] * n_items
        n_other = n_cells - len(taken)
        if n_other == 0:
            raise ValueError("every cell is an entry of training or validation: nothing to tell")
        rng = np.random.default_rng(seed_of(self.random_state))
        other = _unobserved(n_cells, taken, n_wanted, rng)
        keys = np.concatenate((positive, other))
        scores = self.model._pair_scores(
            (keys // n_items).astype(np.int32), (keys % n_items).astype(np.int32)
        )
        label = np.arange(len(keys)) < len(positive)
        weight = np.where(label, 1.0, n_other / len(other))
        self.rate_ = len(positive) / (len(positive) + n_other)
        self.n_features_in_ = 1
        self._curve = _fit_curve(self.method, scores, label, weight)
        return self

    def predict(self, users: ArrayLike, items: ArrayLike) -> Floats:
        """Return the probabilities of pairs.

        Parameters
        ----------
        users, items : array-like, broadcast against each other
            As for the model's own ``predict``.

        Returns
        -------
        ndarray of the broadcast shape
            Between 0 and 1. For a pair of training, which cannot be held out, it says nothing.
        """
        check_is_fitted(self, "rate_")
        return self.transform(self.model.predict(users, items))

    def transform(self, scores: ArrayLike) -> Floats:
        """Return the probabilities of scores, such as ``recommend`` gives, in their shape."""
        check_is_fitted(self, "rate_")
        array = np.asarray(scores, np.float64)
        flat = np.maximum(array.ravel(), -1e30)  # padding scores -inf
        return np.asarray(self._curve(flat)).reshape(array.shape)


def _keys(pattern: Pattern, n_items: int) -> NDArray[np.int64]:
    """Number the cells of a pattern, row by row: rising."""
    indptr, indices = pattern
    rows = np.repeat(np.arange(len(indptr) - 1, dtype=np.int64), np.diff(indptr))
    return np.asarray(rows * n_items + indices)


def _unobserved(
    n_cells: int, taken: NDArray[np.int64], n_wanted: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw cells that are not taken, uniformly; or return all of them."""
    n_other = n_cells - len(taken)
    if n_other <= n_wanted:
        free = np.ones(n_cells, bool)
        free[taken] = False
        return np.flatnonzero(free)
    found = np.empty(0, np.int64)
    while len(found) < n_wanted:
        drawn = rng.integers(n_cells, size=int((n_wanted - len(found)) * n_cells / n_other) + 16)
        at = np.minimum(np.searchsorted(taken, drawn), len(taken) - 1)
        found = np.concatenate((found, drawn[taken[at] != drawn]))
    return found[:n_wanted]


def _fit_curve(method: str, scores: Floats, label: NDArray[np.bool_], weight: Floats) -> Any:
    """Return a function from scores to probabilities."""
    if method == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        isotonic = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        return isotonic.fit(scores, label.astype(np.float64), sample_weight=weight).predict
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(scores[:, None], sample_weight=weight)
    regression = LogisticRegression(C=1e6)  # no shrinkage that could be told from none
    regression.fit(scaler.transform(scores[:, None]), label, sample_weight=weight / weight.mean())
    return lambda values: regression.predict_proba(scaler.transform(values[:, None]))[:, 1]

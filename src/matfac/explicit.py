"""Explicit feedback: ratings."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from matfac import _core, _memory
from matfac._als import AlsSolver, Objective
from matfac._checkpoint import Checkpoint
from matfac._engine import Floats
from matfac._feature_input import Features
from matfac._fit import FitMixin, FittingSolver
from matfac._loop import Callback, Validation
from matfac._model import FactorModel
from matfac._ratings import Ratings
from matfac._sgd import STATE as SGD_STATE
from matfac._sgd import SgdSolver
from matfac._validation import (
    check_choice,
    check_real,
    check_steps,
    check_threads,
)
from matfac._values import check_some_above_zero, rating_scale

if TYPE_CHECKING:
    from typing_extensions import Self


class ExplicitMF(FitMixin, FactorModel):
    r"""Factorise a ratings matrix: biases and latent factors, by ALS or SGD.

    Minimises, over the stored entries S of X with weights w (1 where none are given),

    .. math::
        \sum_{(u,i) \in S} w_{ui} (r_{ui} - \mu - b_u - b_i - x_u \cdot y_i)^2
        + \lambda \Big( \sum_u n_u^{\nu} (|x_u|^2 + b_u^2)
        + \sum_i n_i^{\nu} (|y_i|^2 + b_i^2) \Big)

    with :math:`\mu` the (weighted) mean rating, :math:`\lambda` = `reg`, :math:`\nu` =
    `reg_exponent`, and n the number of entries of the row or column, or their sum of weights.

    Parameters
    ----------
    n_factors : int
        Length of the factors.
    solver : {"als", "sgd"}
        Alternating least squares, or parallel stochastic gradient descent. Both end with one exact
        solve of every user, so that `transform` reproduces the training users.
    reg : float
        Ridge. For ratings of 1 to 5 typical values are 0.03 to 0.1 with the default exponent; with
        0.5, often the better one, about 1. It goes with the ratings' scale: docs/parameters.md.
    reg_exponent : float
        1 scales the ridge by the entry count (weighted-lambda ALS, and what SGD minimises when
        every update decays both rows); 0 is the plain ridge.
    n_iter : int
        Epochs: sweeps over users and items, or passes over the ratings.
    cg_steps : int or None
        ALS: conjugate-gradient steps per row and half sweep, warm-started and over-relaxed; rows of
        few entries (16 at most) go to their exact solution instead, which takes less time. None
        solves each row exactly, by Cholesky. With `nonnegative` or `l1_reg` passes of coordinate
        descent; None as many as it takes, 2000 at most.
    learning_rate : float
        SGD: a row's step is this over the root of its sum of squared errors so far, and falls
        along half a cosine over `n_iter` epochs. Free of the ratings' scale.
    fit_bias : bool
        Fit user and item biases, jointly with the factors.
    nonnegative : bool
        Keep all factors at or above 0. Biases stay free: they stand for the level of a row, not
        for a part of it. Without biases the mean is 0 then, and the model is X ~ U V' itself.
        ALS solves each row's non-negative least squares by coordinate descent, SGD projects each
        step.
    l1_reg : float
        ALS: weight of the factors' absolute values, scaled like `reg`; adds to the objective
        :math:`\lambda_1 (\sum_u n_u^{\nu} |x_u|_1 + \sum_i n_i^{\nu} |y_i|_1)`. Zeros are exact.
    feature_reg : float
        Ridge of the map from features to factors, as a number of rows: where that many average rows
        have a feature, its factor is half of what they suggest. Used only in fits with features.
    init_std : float
        Standard deviation of the initial factors, times the root of `n_factors`, in units of the
        root of the ratings' standard deviation.
    deterministic : bool
        SGD: the same bits for any number of threads. False lets threads race (Hogwild). ALS is
        deterministic always.
    n_threads : int or None
        None: OMP_NUM_THREADS where set, else the cores this process may use. -1: all of them.
    random_state : int, RandomState or None
        Seed of the initial factors, the order of SGD and the validation split.
    dtype : {"float32", "float64"}
        Of the factors.
    early_stopping : bool
        Stop when the validation RMSE has not improved for `patience` epochs, and return to the
        best epoch.
    validation_fraction : float
        Share of the entries held out for early stopping where `fit` gets no validation set.
    patience : int
        Epochs without improvement that early stopping waits for.
    callback : callable, optional
        Called after each epoch with its number (from 1) and its record in `history_`; returning
        True ends the fit.
    verbose : bool or None
        Progress bar on standard error. None: on a terminal only.

    Attributes
    ----------
    user_factors_ : ndarray of shape (n_users, n_factors)
    item_factors_ : ndarray of shape (n_items, n_factors)
    user_bias_ : ndarray of shape (n_users,), or None
    item_bias_ : ndarray of shape (n_items,), or None
    mean_ : float
    rating_range_ : (float, float), or None
        Lowest and highest rating of the X of `fit`; None in a model from a file without them.
    components_ : ndarray of shape (n_components, n_items)
        `item_factors_` transposed and, with biases, a row of ones.
    user_feature_factors_, item_feature_factors_ : ndarray of shape (n_features, n_factors), or None
        What each feature adds to the factors expected of a user or item.
    user_feature_bias_, item_feature_bias_ : ndarray of shape (n_features,), or None
        And to the bias.
    user_ids_, item_ids_ : ndarray, or None
        Ids where the fit was on an `Interactions`.
    history_ : list of dict
        Per epoch: objective, train_rmse (of weighted squares, where there are weights),
        validation_rmse where there is a validation set, and seconds since the start. Under SGD
        objective and train_rmse are running values, each error taken just before its own update.
    n_iter_ : int
        Epochs that the model has seen.
    objective_ : float
        The objective's value for the fitted model.
    n_features_in_ : int
        Items.

    See Also
    --------
    ImplicitMF : For clicks, plays and purchases.
    RatingRegressor : The same model on (user, item) pairs, for cross-validation.

    References
    ----------
    Zhou et al. 2008, "Large-scale parallel collaborative filtering for the Netflix prize" (the
    ridge scaled by counts). Koren et al. 2009, "Matrix factorization techniques for recommender
    systems" (biases). Niu et al. 2011, "Hogwild!". Chin et al. 2015, "A learning-rate schedule for
    stochastic gradient methods to matrix factorization" (one adaptive rate per row).
    Agarwal, Chen 2009, "Regression-based latent factor models" (features; docs/features.md states
    the objective).

    Examples
    --------
    >>> import numpy as np
    >>> from matfac import ExplicitMF
    >>> X = np.array([[5, 4, np.nan, 1], [4, np.nan, 1, 1], [1, 1, 5, np.nan], [1, np.nan, 4, 5.0]])
    >>> model = ExplicitMF(n_factors=2, reg=0.05, random_state=0).fit(X)
    >>> bool(model.predict(0, 0) > model.predict(0, 3))
    True
    >>> items, scores = model.recommend([0], k=1)
    >>> items.shape
    (1, 1)
    """

    _implicit = False
    rating_range_: tuple[float, float] | None

    def __init__(
        self,
        n_factors: int = 64,
        *,
        solver: str = "als",
        reg: float = 0.08,
        reg_exponent: float = 1.0,
        n_iter: int = 15,
        cg_steps: int | None = 3,
        learning_rate: float = 1.5,
        fit_bias: bool = True,
        nonnegative: bool = False,
        l1_reg: float = 0.0,
        feature_reg: float = 10.0,
        init_std: float = 0.1,
        deterministic: bool = False,
        n_threads: int | None = None,
        random_state: Any = None,
        dtype: str = "float32",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 3,
        callback: Callback | None = None,
        verbose: bool | None = None,
    ) -> None:
        self.n_factors = n_factors
        self.solver = solver
        self.reg = reg
        self.reg_exponent = reg_exponent
        self.n_iter = n_iter
        self.cg_steps = cg_steps
        self.learning_rate = learning_rate
        self.fit_bias = fit_bias
        self.nonnegative = nonnegative
        self.l1_reg = l1_reg
        self.feature_reg = feature_reg
        self.init_std = init_std
        self.deterministic = deterministic
        self.n_threads = n_threads
        self.random_state = random_state
        self.dtype = dtype
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.callback = callback
        self.verbose = verbose

    def fit(
        self,
        X: Any,
        y: None = None,
        *,
        weights: Any = None,
        user_features: Any = None,
        item_features: Any = None,
        validation: Any = None,
        checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> Self:
        """Fit to ratings.

        Parameters
        ----------
        X : {sparse matrix, sparse array, array-like, Interactions} of shape (n_users, n_items)
            Sparse: stored entries are the known ratings, 0 included. Dense: NaN is missing.
        y : None
            Ignored.
        weights : matrix of X's shape, or Interactions, optional
            Weight of each entry of X; a weight must be stored for each. Interactions go by id.
        user_features, item_features : {sparse matrix, sparse array, array-like}, optional
            Numbers known of each user, (n_users, n_features), and item, (n_items, n_features); a
            user or item without entries gets the factors that its features suggest. A pandas frame
            indexed by an Interactions' ids is taken by id, any other in order. Columns of order 1
            suit `feature_reg`: scale years and prices. ALS only.
        validation : matrix of X's shape, or Interactions, optional
            Held-out ratings, for `history_` and early stopping.
        checkpoint : path-like or Checkpoint, optional
            Where the fit writes what it takes to go on, all or nothing: after every epoch, or as a
            `Checkpoint` says.
        resume : bool
            Go on from the file `checkpoint`, where there is one, to the same model as a fit that
            was never stopped (bit for bit, but for SGD whose threads race).

        Returns
        -------
        self
        """
        with self._whole_or_unchanged():
            self._check_parameters()
            ratings = self._weighted(weights, self._ratings(X, reset=True), X)
            features = self._check_features(X, ratings, user_features, item_features)
            self._run_fit(ratings, X, validation, features, checkpoint=checkpoint, resume=resume)
        return self

    def predict(
        self, users: Any, items: Any = None, *, clip: bool | tuple[float, float] = False
    ) -> Floats:
        """Predict the ratings of pairs of known users and items or, given one matrix, of all items.

        Parameters
        ----------
        users : array-like, or matrix of shape (n_users, n_items) where `items` is None
            Known users; or rows to fold in, as for `transform`.
        items : array-like, broadcast against `users`
            Ids where the model was fitted on an Interactions, else column indices; and so `users`.
        clip : bool or (low, high)
            Limit the predictions to `rating_range_` (True), or to a scale of your own.

        Returns
        -------
        ndarray of float64 and of the broadcast shape; or of shape (n_users, n_items)
        """
        check_is_fitted(self)
        limits = self._limits(clip)
        ratings = super().predict(users, items)
        return ratings if limits is None else np.clip(ratings, *limits)

    def _limits(self, clip: Any) -> tuple[float, float] | None:
        """Return what `clip` limits predictions to."""
        if clip is False:
            return None
        if clip is True:
            if self.rating_range_ is None:
                raise ValueError(
                    "clip=True needs the range of the training ratings, which the file of this "
                    "model does not hold: give the scale, as in clip=(1, 5)"
                )
            return self.rating_range_
        try:
            low, high = (float(limit) for limit in clip)
        except (TypeError, ValueError):
            raise TypeError(f"clip must be True, False or (low, high), got {clip!r}") from None
        if not low <= high:
            raise ValueError(f"clip must be (low, high) with low <= high, got {clip!r}")
        return low, high

    def _training(self, ratings: Ratings, X: Any) -> dict[str, Any]:
        limits = float(ratings.values.min()), float(ratings.values.max())
        return {**super()._training(ratings, X), "rating_range_": limits}

    def _check_parameters(self) -> None:
        self._check_shared()
        check_choice("solver", self.solver, ("als", "sgd"))
        check_real("reg_exponent", self.reg_exponent, maximum=10.0)
        check_steps(self.cg_steps)
        check_real("learning_rate", self.learning_rate, above=True)
        if check_real("l1_reg", self.l1_reg) and self.solver != "als":
            raise ValueError(
                f"l1_reg={self.l1_reg:g} goes with solver='als': the steps of SGD never end at an "
                "exact 0; set solver='als', or l1_reg=0"
            )

    def _objective(self) -> Objective:
        return self._objective_about(self.mean_)

    def _objective_about(self, mean: float) -> Objective:
        return Objective(
            "ratings", self.reg, self.reg_exponent, mean=mean, l1_reg=self.l1_reg,
            nonnegative=self.nonnegative,
        )  # fmt: skip

    def _make_solver(
        self, ratings: Ratings, features: tuple[Features, Features], seed: int
    ) -> AlsSolver | SgdSolver:
        # Factors are in units of the root of the ratings': their products are ratings.
        init_std = self.init_std * math.sqrt(rating_scale(ratings))
        # What is left after a mean could not be met from above alone.
        centred = self.fit_bias or not self.nonnegative
        if not centred:
            check_some_above_zero(ratings)
        objective = self._objective_about(ratings.mean if centred else 0.0)
        generator = np.random.default_rng(seed)
        n_threads = check_threads(self.n_threads)
        if self.solver == "als":
            return AlsSolver(
                ratings,
                objective,
                k=self.n_factors,
                fit_bias=self.fit_bias,
                features=features,
                feature_reg=self.feature_reg,
                init_std=init_std,
                cg_steps=self.cg_steps,
                n_threads=n_threads,
                generator=generator,
            )
        return SgdSolver(
            ratings,
            objective,
            k=self.n_factors,
            fit_bias=self.fit_bias,
            init_std=init_std,
            learning_rate=self.learning_rate,
            n_iter=self.n_iter,
            deterministic=self.deterministic,
            n_threads=n_threads,
            seed=seed,
            generator=generator,
        )

    def _check_takes_features(self) -> None:
        if self.solver == "sgd":
            raise ValueError("solver='sgd' takes no features: use solver='als'")

    def _working_bytes(self, m: int, n: int, nnz: int, itemsize: int) -> tuple[int, int]:
        arranged, factors = super()._working_bytes(m, n, nnz, itemsize)
        if self.solver == "als":
            return arranged, factors + self.fit_bias * (m + n) * itemsize
        arranged = _memory.plan_bytes(m, n, nnz, self.n_factors, itemsize)
        return arranged, factors + (m + n) * SGD_STATE * itemsize

    def _metric(self, solver: FittingSolver, train: Ratings, held_out: Ratings) -> Validation:
        users = np.repeat(np.arange(held_out.shape[0], dtype=np.int32), np.diff(held_out.indptr))
        n_threads = check_threads(self.n_threads)

        def rmse() -> float:
            user_bias, item_bias = solver.biases()
            predicted = _core.predict(
                k=solver.k,
                users=solver.tables["users"],
                items=solver.tables["items"],
                user_bias=user_bias,
                item_bias=item_bias,
                mean=solver.objective.mean,
                user_index=users,
                item_index=held_out.indices,
                n_threads=n_threads,
            )
            return float(np.sqrt(np.mean((predicted - held_out.values) ** 2)))

        return Validation("rmse", rmse, higher_is_better=False)

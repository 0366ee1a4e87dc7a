"""Implicit feedback: clicks, plays, purchases."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from matfac._als import AlsSolver, Objective
from matfac._checkpoint import Checkpoint
from matfac._feature_input import Features
from matfac._fit import FitMixin, FittingSolver
from matfac._loop import Callback, Validation
from matfac._model import FactorModel
from matfac._ranking_metric import ndcg_of
from matfac._ratings import Ratings
from matfac._validation import (
    check_real,
    check_steps,
    check_threads,
)

if TYPE_CHECKING:
    from typing_extensions import Self

DEFAULT_ALPHA0 = 0.1


class ImplicitMF(FitMixin, FactorModel):
    r"""Factorise positive-only feedback by alternating least squares over all cells.

    Two parametrisations of one objective, solved by one code path. With `alpha0` (the default)
    that of Rendle et al. 2021, "iALS": over the stored entries S of X, whose values r are weights,

    .. math::
        \sum_{(u,i) \in S} r_{ui} (x_u \cdot y_i - 1)^2 + \alpha_0 \sum_{u,i} (x_u \cdot y_i)^2
        + \lambda \Big( \sum_u (n_u + \alpha_0 N)^{\nu} |x_u|^2
        + \sum_i (n_i + \alpha_0 M)^{\nu} |y_i|^2 \Big)

    with n the sum of r of the row or column. With `alpha` that of Hu, Koren and Volinsky 2008:

    .. math::
        \sum_{u,i} c_{ui} (p_{ui} - x_u \cdot y_i)^2 + \lambda \Big( \sum_u n_u^{\nu} |x_u|^2
        + \sum_i n_i^{\nu} |y_i|^2 \Big)

    where :math:`c = 1 + \alpha r, p = 1` at the stored entries, :math:`c = 1, p = 0` elsewhere, and
    n is the number of entries. Weights w given to `fit` multiply what an entry adds to the loss of
    an unobserved cell: :math:`w r (x \cdot y - 1)^2` in the first form, :math:`w \big( (1 + \alpha
    r) (x \cdot y - 1)^2 - (x \cdot y)^2 \big)` in the second; n sums :math:`w r`, and w. An entry
    of weight 0 is as good as none, one of weight 2 as good as two.

    Parameters
    ----------
    n_factors : int
        Length of the factors.
    alpha0 : float, optional
        Weight of every cell beside the entries' own; 0.1 where neither `alpha0` nor `alpha` is
        given. Worth tuning over 1, 0.3, 0.1, 0.03, 0.01: larger for denser data.
    alpha : float, optional
        Confidence per unit of the value, in Hu and Koren's form. Excludes `alpha0`.
    reg : float
        Ridge. With `alpha0` and its default exponent typical values are 0.001 to 0.03; with `alpha`
        and a plain ridge 0.1 to 100.
    reg_exponent : float, optional
        How the ridge grows with a row's count. None: 1 with `alpha0`, 0 with `alpha`.
    n_iter : int
        Sweeps over users and items. With `alpha` and gradient steps each sweep ends by rescaling
        users against items so that the total ridge is smallest; products stay as they are.
    cg_steps : int or None
        Conjugate-gradient steps per row and half sweep, warm-started, over-relaxed and
        preconditioned by the part of the problem that all rows share; rows of few entries (12 at
        most with two steps) go to their exact solution instead, which takes less time. None solves
        each row exactly, by Cholesky. With `nonnegative` or `l1_reg` passes of coordinate descent;
        None as many as it takes, 2000 at most.
    nonnegative : bool
        Keep all factors at or above 0: non-negative least squares per row, by coordinate descent.
    l1_reg : float
        Weight of the factors' absolute values, scaled by the counts as `reg` is. Zeros are exact.
    feature_reg : float
        Ridge of the map from features to factors, as a number of rows: where that many average rows
        have a feature, its factor is half of what they suggest. Used only in fits with features.
    init_std : float
        Standard deviation of the initial factors, times the root of `n_factors`.
    n_threads : int or None
        None: OMP_NUM_THREADS where set, else the cores this process may use. -1: all of them. The
        result does not depend on it.
    random_state : int, RandomState or None
        Seed of the initial factors and the validation split.
    dtype : {"float32", "float64"}
        Of the factors.
    early_stopping : bool
        Stop when the validation NDCG@10 has not improved for `patience` epochs, and return to the
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
    user_bias_, item_bias_ : None
        Implicit models have none.
    mean_ : float
        0.
    components_ : ndarray of shape (n_factors, n_items)
    user_feature_factors_, item_feature_factors_ : ndarray of shape (n_features, n_factors), or None
        What each feature adds to the factors expected of a user or item.
    user_ids_, item_ids_ : ndarray, or None
        Ids where the fit was on an `Interactions`.
    history_ : list of dict
        Per epoch: objective, validation_ndcg@10 where there is a validation set, and seconds since
        the start.
    n_iter_ : int
        Epochs that the model has seen.
    objective_ : float
        The objective's value for the fitted model.
    n_features_in_ : int
        Items.

    See Also
    --------
    ExplicitMF : For ratings.
    RankingMF : For feedback too, by losses of the order of items.

    References
    ----------
    Hu, Koren, Volinsky 2008, "Collaborative filtering for implicit feedback datasets". Rendle,
    Krichene, Zhang, Koren 2021, "Revisiting the performance of iALS on item recommendation
    benchmarks". Takacs, Pilaszy, Tikk 2011, "Applications of the conjugate gradient method for
    implicit feedback collaborative filtering". Agarwal, Chen 2009, "Regression-based latent factor
    models" (features; docs/features.md states the objective).

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.sparse as sp
    >>> from matfac import ImplicitMF
    >>> X = sp.csr_array([[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]])
    >>> model = ImplicitMF(n_factors=2, random_state=0).fit(X)
    >>> items, scores = model.recommend([0], k=1)
    >>> int(items[0, 0])
    2

    Features of items, and a new item known by them alone:

    >>> genre = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 1]])
    >>> model = ImplicitMF(n_factors=2, random_state=0).fit(X, item_features=genre)
    >>> scores = model.user_factors_ @ model.fold_in_items(None, item_features=[[0, 1]]).T
    >>> bool(scores[2, 0] > scores[0, 0])
    True
    """

    _implicit = True

    def __init__(
        self,
        n_factors: int = 64,
        *,
        alpha0: float | None = None,
        alpha: float | None = None,
        reg: float = 0.005,
        reg_exponent: float | None = None,
        n_iter: int = 15,
        cg_steps: int | None = 2,
        nonnegative: bool = False,
        l1_reg: float = 0.0,
        feature_reg: float = 10.0,
        init_std: float = 0.1,
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
        self.alpha0 = alpha0
        self.alpha = alpha
        self.reg = reg
        self.reg_exponent = reg_exponent
        self.n_iter = n_iter
        self.cg_steps = cg_steps
        self.nonnegative = nonnegative
        self.l1_reg = l1_reg
        self.feature_reg = feature_reg
        self.init_std = init_std
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
        """Fit to feedback.

        Parameters
        ----------
        X : {sparse matrix, sparse array, array-like, Interactions} of shape (n_users, n_items)
            Values above 0; an entry that is 0 (or, dense, NaN) is no feedback.
        y : None
            Ignored.
        weights : matrix of X's shape, or Interactions, optional
            Weight of each entry of X; a weight must be stored for each. Interactions go by id.
        user_features, item_features : {sparse matrix, sparse array, array-like}, optional
            Numbers known of each user, (n_users, n_features), and item, (n_items, n_features); a
            user or item without entries gets the factors that its features suggest. A pandas frame
            indexed by an Interactions' ids is taken by id, any other in order. Columns of order 1
            suit `feature_reg`: scale years and prices.
        validation : matrix of X's shape, or Interactions, optional
            Held-out feedback, for `history_` and early stopping.
        checkpoint : path-like or Checkpoint, optional
            Where the fit writes what it takes to go on, all or nothing: after every epoch, or as a
            `Checkpoint` says.
        resume : bool
            Go on from the file `checkpoint`, where there is one, to the same model as a fit that
            was never stopped, bit for bit.

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

    def _check_parameters(self) -> None:
        self._check_shared()
        if self.alpha is not None and self.alpha0 is not None:
            raise ValueError(
                f"alpha={self.alpha} and alpha0={self.alpha0} exclude each other: alpha is Hu and "
                "Koren's confidence, alpha0 the weight of unobserved cells in iALS; give one"
            )
        if self.alpha is not None:
            check_real("alpha", self.alpha)
        if self.alpha0 is not None:
            check_real("alpha0", self.alpha0)
        if self.reg_exponent is not None:
            check_real("reg_exponent", self.reg_exponent, maximum=10.0)
        check_steps(self.cg_steps)
        check_real("l1_reg", self.l1_reg)

    def _objective(self) -> Objective:
        hu = self.alpha is not None
        exponent, alpha = self.reg_exponent, self.alpha if hu else self.alpha0
        return Objective(
            "hu" if hu else "ials",
            self.reg,
            (0.0 if hu else 1.0) if exponent is None else exponent,
            alpha=DEFAULT_ALPHA0 if alpha is None else alpha,
            l1_reg=self.l1_reg,
            nonnegative=self.nonnegative,
        )

    def _make_solver(
        self, ratings: Ratings, features: tuple[Features, Features], seed: int
    ) -> AlsSolver:
        return AlsSolver(
            ratings,
            self._objective(),
            k=self.n_factors,
            fit_bias=False,
            features=features,
            feature_reg=self.feature_reg,
            init_std=self.init_std,
            cg_steps=self.cg_steps,
            n_threads=check_threads(self.n_threads),
            generator=np.random.default_rng(seed),
        )

    def _metric(self, solver: FittingSolver, train: Ratings, held_out: Ratings) -> Validation:
        return ndcg_of(solver, train, held_out, check_threads(self.n_threads))

"""Implicit feedback by the order of items: BPR, WARP, logistic and sampled softmax losses."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from matfac import _memory
from matfac._als import Objective
from matfac._checkpoint import Checkpoint
from matfac._engine import Floats
from matfac._feature_input import Features
from matfac._features import Prior
from matfac._fit import FitMixin, FittingSolver
from matfac._loop import Callback, Validation
from matfac._model import FactorModel
from matfac._pairwise import PairwiseLoss, PairwiseSolver, fold_in
from matfac._ranking_metric import ndcg_of
from matfac._ratings import Ratings
from matfac._sgd import STATE as SGD_STATE
from matfac._validation import (
    check_choice,
    check_integer,
    check_real,
    check_threads,
)

if TYPE_CHECKING:
    from typing_extensions import Self

# The losses, with the negatives that each draws per positive and its ridge where the user does not
# say (benchmarks/defaults.py). WARP's weights make its steps larger.
LOSSES = {"bpr": (4, 0.01), "warp": (20, 0.03), "logistic": (8, 0.01), "softmax": (16, 0.01)}
MOST_NEGATIVES = 4096
NO_NEW_ITEMS = (
    "RankingMF folds in users, not items: a new item would have to be compared with all others by "
    "every user; fit again, or use ImplicitMF"
)


class RankingMF(FitMixin, FactorModel):
    r"""Factorise positive-only feedback by the order of items, by parallel SGD.

    A positive (u, i) is compared with items j that the user has no entry for, drawn anew in every
    epoch. With scores :math:`s_{ui} = b_i + x_u \cdot y_i` a positive costs, by `loss`,

    .. math::
        \text{bpr:} \quad & \sum_j \log(1 + e^{s_{uj} - s_{ui}}) \\
        \text{warp:} \quad & w_t \, (1 - s_{ui} + s_{uj})_+ ,\;
        j \text{ the first, found at trial } t \text{, with } s_{uj} > s_{ui} - 1 \\
        \text{logistic:} \quad & \log(1 + e^{-s_{ui}}) + \sum_j \log(1 + e^{s_{uj}}) \\
        \text{softmax:} \quad & \log\Big(1 + \sum_j e^{s_{uj} - s_{ui}}\Big)

    and every step adds :math:`\frac{\lambda}{2}` times the squares of the rows and biases it moves,
    :math:`\lambda` = `reg`; each :math:`j` of "bpr" and each item of "logistic" is a step of its
    own, "softmax" takes one for all. WARP's weight is :math:`w_t = H(\lfloor (N - 1) / t \rfloor) /
    H(N - 1)`, H the harmonic numbers: the rank that t trials suggest, first ones weighing most.
    "logistic" also has user biases and a fixed offset of minus the logarithm of `negatives`, so
    that its scores are log odds; for the others these would cancel.

    Parameters
    ----------
    n_factors : int
        Length of the factors.
    loss : {"bpr", "warp", "logistic", "softmax"}
        See above. "warp" and "softmax" look at the top of the list.
    negatives : int, optional
        Items drawn per positive; for "warp" at most, until one violates the margin. None: 4 for
        "bpr", 20 for "warp", 8 for "logistic", 16 for "softmax".
    sampling : {"uniform", "popularity"}
        Chance of an item to be drawn: the same for all, or in proportion to its entries. An item
        that the user has is never taken.
    learning_rate : float
        A row's step is this over the root of its sum of squared slopes so far, and falls along half
        a cosine over `n_iter` epochs.
    reg : float, optional
        Ridge per step. None: 0.03 for "warp", else 0.01.
    n_iter : int
        Epochs: passes over the positives.
    fit_bias : bool
        Fit item biases.
    init_std : float
        Standard deviation of the initial factors, times the root of `n_factors`.
    deterministic : bool
        The same bits for any number of threads. False lets threads race (Hogwild).
    n_threads : int or None
        None: OMP_NUM_THREADS where set, else the cores this process may use. -1: all of them.
    random_state : int, RandomState or None
        Seed of the initial factors, the order of SGD, the draws and the validation split.
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
        What fold-in gives for the rows of training.
    item_factors_ : ndarray of shape (n_items, n_factors)
    user_bias_ : ndarray of shape (n_users,), or None
        Zero except for "logistic"; it does not affect rankings.
    item_bias_ : ndarray of shape (n_items,), or None
    item_counts_ : ndarray of shape (n_items,), int64
        Training entries of each item.
    mean_ : float
        0, and for "logistic" minus the logarithm of `negatives`.
    components_ : ndarray of shape (n_components, n_items)
        `item_factors_` transposed and, with biases, a row of ones.
    user_ids_, item_ids_ : ndarray, or None
        Ids where the fit was on an `Interactions`.
    history_ : list of dict
        Per epoch: train_loss, the mean over the positives of the loss met on the way, each taken
        just before its own step, on that epoch's draws; objective, their sum plus the penalty at
        the epoch's end, with the expected number of steps of each row; validation_ndcg@10 where
        there is a validation set; learning_rate; and seconds since the start. All in float64.
    n_iter_ : int
        Epochs that the model has seen.
    objective_ : float
        The objective of the fitted model, on draws of its own.
    n_features_in_ : int
        Items.

    See Also
    --------
    ImplicitMF : Weighted least squares over all cells; often as good, and faster.

    Notes
    -----
    Every entry above 0 is a positive, whatever its value; an entry of 0 is none, and a negative one
    an error. A user who has every item has nothing to learn an order from and is skipped: their
    factors are 0.

    A new user's row is fitted by the same steps on the same loss with the items fixed, from zero,
    in 20 passes with draws that are always the same: the answer depends on the row and the model
    alone. The training rows are treated likewise after the last epoch, so that `transform` gives
    back `user_factors_`.

    References
    ----------
    Rendle et al. 2009, "BPR: Bayesian personalized ranking from implicit feedback". Weston, Bengio,
    Usunier 2011, "WSABIE: scaling up to large vocabulary image annotation" (WARP). Rendle,
    Krichene, Zhang, Anderson 2020, "Neural collaborative filtering vs. matrix factorization
    revisited" (logistic loss). Niu et al. 2011, "Hogwild!".

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> from matfac import RankingMF
    >>> X = sp.csr_array([[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]])
    >>> model = RankingMF(n_factors=2, random_state=0).fit(X)
    >>> items, scores = model.recommend([0], k=1)
    >>> int(items[0, 0])
    2
    """

    _implicit = True
    _weighs = False
    feature_reg = 1.0  # a check of all estimators; this one takes no features
    item_counts_: NDArray[np.int64]

    def __init__(
        self,
        n_factors: int = 64,
        *,
        loss: str = "bpr",
        negatives: int | None = None,
        sampling: str = "uniform",
        learning_rate: float = 0.5,
        reg: float | None = None,
        n_iter: int = 30,
        fit_bias: bool = True,
        init_std: float = 1.0,
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
        self.loss = loss
        self.negatives = negatives
        self.sampling = sampling
        self.learning_rate = learning_rate
        self.reg = reg
        self.n_iter = n_iter
        self.fit_bias = fit_bias
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
        validation: Any = None,
        checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> Self:
        """Fit to feedback.

        Parameters
        ----------
        X : {sparse matrix, sparse array, array-like, Interactions} of shape (n_users, n_items)
            Entries above 0 are positives, whatever their value; an entry that is 0 (or, dense, NaN)
            is none.
        y : None
            Ignored.
        validation : matrix of X's shape, or Interactions, optional
            Held-out feedback, for `history_` and early stopping.
        checkpoint : path-like or Checkpoint, optional
            Where the fit writes what it takes to go on, all or nothing: after every epoch, or as a
            `Checkpoint` says.
        resume : bool
            Go on from the file `checkpoint`, where there is one, to the same model as a fit that
            was never stopped (bit for bit, but where threads race).

        Returns
        -------
        self
        """
        with self._whole_or_unchanged():
            self._check_parameters()
            ratings = self._ratings(X, reset=True)
            self._run_fit(ratings, X, validation, checkpoint=checkpoint, resume=resume)
        return self

    def _check_parameters(self) -> None:
        self._check_shared()
        check_choice("loss", self.loss, tuple(LOSSES))
        check_choice("sampling", self.sampling, ("uniform", "popularity"))
        check_real("learning_rate", self.learning_rate, above=True)
        if self.negatives is not None:
            check_integer("negatives", self.negatives, minimum=1, maximum=MOST_NEGATIVES)

    def _check_reg(self) -> None:
        if self.reg is not None:
            check_real("reg", self.reg)

    def _loss(self) -> PairwiseLoss:
        negatives, reg = LOSSES[self.loss]
        return PairwiseLoss(
            self.loss,
            negatives if self.negatives is None else self.negatives,
            self.sampling,
            reg if self.reg is None else self.reg,
            self.learning_rate,
            self.fit_bias,
        )

    def _make_solver(
        self, ratings: Ratings, features: tuple[Features, Features], seed: int
    ) -> PairwiseSolver:
        return PairwiseSolver(
            ratings,
            self._loss(),
            k=self.n_factors,
            init_std=self.init_std,
            n_iter=self.n_iter,
            deterministic=self.deterministic,
            n_threads=check_threads(self.n_threads),
            seed=seed,
            generator=np.random.default_rng(seed),
        )

    def _check_takes_features(self) -> None:
        raise ValueError("RankingMF takes no features: use ImplicitMF")

    def _working_bytes(self, m: int, n: int, nnz: int, itemsize: int) -> tuple[int, int]:
        _, factors = super()._working_bytes(m, n, nnz, itemsize)
        arranged = _memory.pairwise_bytes(
            m, n, nnz, self.n_factors, itemsize, by_popularity=self.sampling == "popularity"
        )
        return arranged, factors + (m + n) * SGD_STATE * itemsize

    def _metric(self, solver: FittingSolver, train: Ratings, held_out: Ratings) -> Validation:
        return ndcg_of(solver, train, held_out, check_threads(self.n_threads))

    def _training(self, ratings: Ratings, X: Any) -> dict[str, Any]:
        counts = ratings.column_sums.astype(np.int64)
        return {**super()._training(ratings, X), "item_counts_": counts}

    def _objective(self) -> Objective:
        loss = self._loss()
        return Objective(loss.name, loss.reg, 1.0, mean=loss.mean)

    def _fold_in(
        self, ratings: Ratings, side: str = "users", prior: Prior | None = None
    ) -> tuple[Floats, Floats | None]:
        if side == "items":
            raise ValueError(NO_NEW_ITEMS)
        return super()._fold_in(ratings, side, prior)

    def _solve(
        self, ratings: Ratings, fixed: Floats, bias: Floats | None, prior: Prior | None = None
    ) -> tuple[Floats, Floats | None]:
        if len(fixed) != len(self.item_counts_):
            raise ValueError(NO_NEW_ITEMS)
        threads = check_threads(self.n_threads)
        return fold_in(ratings, self._loss(), fixed, bias, self.item_counts_, threads)

    def partial_fit(
        self,
        X: Any,
        y: None = None,
        *,
        users: ArrayLike | None = None,
        items: ArrayLike | None = None,
        weights: Any = None,
        user_features: Any = None,
        item_features: Any = None,
        n_sweeps: int = 3,
    ) -> Self:
        """Store new and changed users, folded in; as `ExplicitMF.partial_fit`, but never items.

        Raises
        ------
        ValueError
            `items` is given, or X has new ones: a new item would have to be compared with every
            other by every user, which takes a fit.
        """
        if items is not None:
            raise ValueError(NO_NEW_ITEMS)
        return super().partial_fit(
            X,
            y,
            users=users,
            weights=weights,
            user_features=user_features,
            item_features=item_features,
            n_sweeps=n_sweeps,
        )

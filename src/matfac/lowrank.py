"""Dense matrices with weights or holes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from matfac import _dense_als, _engine, _loop
from matfac._cells import Cells, check_cells
from matfac._engine import Floats
from matfac._progress import shown
from matfac._truncated import truncated_svd
from matfac._validation import (
    check_choice,
    check_flag,
    check_integer,
    check_real,
    check_threads,
    seed_of,
)

if TYPE_CHECKING:
    from typing_extensions import Self


class LowRankMF(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Factorise a dense matrix whose cells may be missing, or trusted unequally.

    Minimises, over the known cells of X with weights w (1 where none are given),

    .. math::
        \sum_{ij} w_{ij} (x_{ij} - u_i \cdot v_j)^2
        + \lambda \Big( \sum_i n_i^{\nu} |u_i|^2 + \sum_j n_j^{\nu} |v_j|^2 \Big)

    with :math:`\lambda` = `reg`, :math:`\nu` = `reg_exponent`, and n the sum of weights of the row
    or column (its number of known cells where there are no weights).

    Where every cell weighs the same the minimum has a closed form, the singular value
    decomposition with lowered singular values, and that is what `fit` computes. Elsewhere there is
    none (the problem is not convex): weighted alternating least squares starts from the closed form
    for the margins of the weights, and never ends above it.

    Parameters
    ----------
    n_factors : int
        Rank, at most the shorter side of X.
    reg : float
        Ridge. 0 is right for a complete X; with holes a larger one keeps the answer from
        following the noise of sparse rows. In units of X times X's: scale it with the values.
    reg_exponent : float
        1 scales the ridge by a row's weight, so that `reg` means the same for any share of missing
        cells; 0 is the plain ridge, whose minimum is that of the nuclear norm (soft-impute).
    nonnegative : bool
        Factors >= 0, for a non-negative X: parts that add up.
    svd_solver : {"exact", "randomized"}
        Of the closed form. Randomised is faster where `n_factors` is far below both sides of a
        large matrix, and approximate.
    n_iter : int
        Most sweeps of alternating least squares.
    tol : float
        They end once a sweep lowers the objective by less than this share.
    n_threads : int or None
        Of alternating least squares. None: OMP_NUM_THREADS where set, else the cores this process
        may use. -1: all of them.
    random_state : int, RandomState or None
        Of the randomised solver.
    callback : callable, optional
        Called after each sweep with its number (from 1) and its record in `history_`; returning
        True ends the fit.
    verbose : bool or None
        Progress bar on standard error. None: on a terminal only.

    Attributes
    ----------
    components_ : ndarray of shape (n_factors, n_features)
        v. Its rows are orthogonal, the longest first (but not where `nonnegative`). The dtype is
        X's: float32, or else float64.
    history_ : list of dict
        Per sweep: objective, and seconds since the start. Empty after a closed form.
    n_iter_ : int
        Sweeps done; 0 after a closed form.
    objective_ : float
        The objective's value for the fitted model.
    start_objective_ : float
        Its value where alternating least squares started; `objective_` after a closed form.
    n_features_in_ : int

    See Also
    --------
    ExplicitMF : For sparse ratings, with biases.
    compress : The same for a network's weight matrix, with ranks chosen by size or error.

    References
    ----------
    Eckart and Young 1936, "The approximation of one matrix by another of lower rank". Srebro and
    Jaakkola 2003, "Weighted low-rank approximations". Mazumder, Hastie and Tibshirani 2010,
    "Spectral regularization algorithms for learning large incomplete matrices"; Hastie et al. 2015,
    "Matrix completion and low-rank SVD via fast alternating least squares" (its minimum by these
    factors).

    Examples
    --------
    >>> import numpy as np
    >>> from matfac import LowRankMF
    >>> X = np.outer([1.0, 2, 3, 4], [1.0, 2, 3])
    >>> X[1, 2] = np.nan
    >>> model = LowRankMF(n_factors=1).fit(X)
    >>> model.impute(X).round(3)[1]
    array([2., 4., 6.])
    >>> model.transform(X).shape
    (4, 1)
    """

    components_: Floats
    start_objective_: float
    objective_: float
    history_: list[_loop.Record]
    n_iter_: int

    def __init__(
        self,
        n_factors: int = 8,
        *,
        reg: float = 0.0,
        reg_exponent: float = 1.0,
        nonnegative: bool = False,
        svd_solver: str = "exact",
        n_iter: int = 100,
        tol: float = 1e-4,
        n_threads: int | None = None,
        random_state: Any = None,
        callback: _loop.Callback | None = None,
        verbose: bool | None = None,
    ) -> None:
        self.n_factors = n_factors
        self.reg = reg
        self.reg_exponent = reg_exponent
        self.nonnegative = nonnegative
        self.svd_solver = svd_solver
        self.n_iter = n_iter
        self.tol = tol
        self.n_threads = n_threads
        self.random_state = random_state
        self.callback = callback
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.positive_only = self.nonnegative
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # --- fit -------------------------------------------------------------------------------

    def fit(self, X: Any, y: None = None, *, weights: ArrayLike | None = None) -> Self:
        """Fit to a matrix.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            NaN is missing.
        y : None
            Ignored.
        weights : array-like of X's shape, optional
            What a cell's squared error weighs, >= 0; 0 is missing, whatever X has there.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For a row or column without a known cell, weights that are negative or of another
            shape, or `n_factors` beyond the shorter side.
        """
        self._fit(X, weights)
        return self

    def fit_transform(self, X: Any, y: None = None, *, weights: ArrayLike | None = None) -> Floats:
        """Fit to a matrix and return the factors of its rows; see `fit` and `transform`."""
        return self._solve(self._fit(X, weights))

    def _checked(self, X: Any, weights: Any, *, reset: bool) -> Cells:
        check_flag("nonnegative", self.nonnegative)
        cells = check_cells(self, X, weights, reset=reset)
        if self.nonnegative and cells.values.min() < 0:
            raise ValueError(
                f"Negative values in data passed to {type(self).__name__}: nonnegative=True needs "
                f"X >= 0, got {cells.values.min():g}; shift X, or give nonnegative=False"
            )
        return cells

    def _check_parameters(self) -> None:
        check_integer("n_factors", self.n_factors, minimum=1)
        check_real("reg", self.reg)
        check_real("reg_exponent", self.reg_exponent, maximum=10.0)
        check_choice("svd_solver", self.svd_solver, ("exact", "randomized"))
        check_integer("n_iter", self.n_iter, minimum=1)
        check_real("tol", self.tol)
        shown(self.verbose)
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback must be callable or None, got {self.callback!r}")
        check_threads(self.n_threads)

    def _fit(self, X: Any, weights: Any) -> Cells:
        """Store a whole model, or leave all as it was."""
        self._check_parameters()
        before = dict(vars(self))
        try:
            cells = self._checked(X, weights, reset=True)
            m, n = cells.values.shape
            if self.n_factors > min(m, n):
                raise ValueError(
                    f"n_factors must be at most the shorter side of X, got n_factors = "
                    f"{self.n_factors} for n_samples = {m}, n_features = {n}"
                )
            alike = cells.weights is None and not self.nonnegative
            fitted, interrupted = self._closed_form(cells) if alike else self._als(cells)
            self.__dict__ |= fitted  # all at once: Ctrl-C falls before or after
        except BaseException:
            self.__dict__ = before
            raise
        if interrupted:
            raise KeyboardInterrupt
        return cells

    def _closed_form(self, cells: Cells) -> tuple[dict[str, Any], bool]:
        """Lowered singular values: the ridges a |u|^2 + b |v|^2 are 2 sqrt(ab) times their sum."""
        values, weight = cells.values, cells.weight
        m, n = values.shape
        row, column = (self.reg * (weight * side) ** self.reg_exponent for side in (n, m))
        found = truncated_svd(
            values,
            self.n_factors,
            randomized=self.svd_solver == "randomized",
            seed=seed_of(self.random_state),
        )
        lowered = np.maximum(found.singular - np.sqrt(row * column) / weight, 0)
        energy = float(np.vdot(values, values))
        rest = max(energy - float(np.sum(found.singular**2)), 0.0)
        objective = weight * (rest + float(np.sum((found.singular - lowered) ** 2)))
        objective += 2 * float(np.sqrt(row * column) * lowered.sum())
        balance = (row / column) ** 0.25 if column > 0 else 1.0
        scale = (balance * np.sqrt(lowered)).astype(values.dtype)
        return {
            "components_": scale[:, None] * found.right,
            "start_objective_": objective,
            "objective_": objective,
            "history_": [],
            "n_iter_": 0,
        }, False

    def _als(self, cells: Cells) -> tuple[dict[str, Any], bool]:
        start = _dense_als.closed_form_start(
            cells,
            self.n_factors,
            seed_of(self.random_state),
            randomized=self.svd_solver == "randomized",
        )
        if self.nonnegative:
            start = _dense_als.nonnegative_start(start)
        solver = _dense_als.DenseAls(
            cells.ratings,
            start,
            reg=self.reg * cells.weight ** (self.reg_exponent - 1),
            reg_exponent=self.reg_exponent,
            nonnegative=self.nonnegative,
            n_threads=check_threads(self.n_threads),
        )
        begin = solver.value()
        reached = [begin]

        def ended(number: int, record: _loop.Record) -> bool:
            reached.append(record["objective"])
            asked = self.callback is not None and bool(self.callback(number, record))
            return asked or not reached[-2] - reached[-1] > self.tol * reached[-2]

        schedule = _loop.Schedule(n_iter=self.n_iter, callback=ended, verbose=self.verbose)
        with _engine.single_threaded_blas():
            outcome = _loop.run(solver, schedule, type(self).__name__)
        columns = solver.factors()[1]
        return {
            "components_": np.ascontiguousarray(
                columns.T if self.nonnegative else _orthogonal(columns).T
            ),
            "start_objective_": cells.weight * begin,
            "objective_": cells.weight * outcome.objective,
            "history_": outcome.history,
            "n_iter_": outcome.n_iter,
        }, outcome.interrupted

    # --- use -------------------------------------------------------------------------------

    def transform(self, X: Any, *, weights: ArrayLike | None = None) -> Floats:
        """Return the factors of rows, new or known: their part of the objective's minimum.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            NaN is missing; every row needs a known cell.
        weights : array-like of X's shape, optional

        Returns
        -------
        ndarray of shape (n_samples, n_factors)
            u.
        """
        check_is_fitted(self)
        return self._solve(self._checked(X, weights, reset=False))

    def _solve(self, cells: Cells) -> Floats:
        components = self.components_
        if cells.values.dtype != components.dtype:
            components = components.astype(cells.values.dtype)
        if cells.weights is None and not self.nonnegative:
            return self._solve_alike(cells, components)
        with _engine.single_threaded_blas():
            return _dense_als.solve_rows(
                cells.ratings,
                np.ascontiguousarray(components.T),
                reg=self.reg * cells.weight ** (self.reg_exponent - 1),
                reg_exponent=self.reg_exponent,
                nonnegative=self.nonnegative,
                n_threads=check_threads(self.n_threads),
            )

    def _solve_alike(self, cells: Cells, components: Floats) -> Floats:
        """Rows whose cells weigh the same have one system in common."""
        double = components.astype(np.float64)
        ridge = self.reg * (cells.weight * double.shape[1]) ** self.reg_exponent / cells.weight
        values, vectors = scipy.linalg.eigh(double @ double.T)
        values += ridge
        # A direction that no component has, as a rank below n_factors leaves it, gets 0.
        keep = values > max(float(values[-1]), 1e-300) * 1e-13
        inverse = (vectors[:, keep] / values[keep]) @ vectors[:, keep].T
        solved: Floats = cells.values @ (double.T @ inverse).astype(components.dtype)
        return solved

    def inverse_transform(self, T: ArrayLike) -> Floats:
        """Return the matrix that factors of rows stand for.

        Parameters
        ----------
        T : array-like of shape (n_samples, n_factors)
            What `transform` returns.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        codes = np.asarray(T)
        if codes.ndim != 2 or codes.shape[1] != len(self.components_):
            raise ValueError(
                f"T must have shape (n_samples, {len(self.components_)}), as transform returns, "
                f"got {codes.shape}"
            )
        rows: Floats = codes @ self.components_
        return rows

    def impute(self, X: Any, *, weights: ArrayLike | None = None) -> Floats:
        """Return X with its missing cells filled in; the known ones stay as they are.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, new or known; NaN is missing.
        weights : array-like of X's shape, optional
            What the known cells weigh. Cells of weight 0 are kept where they are not NaN.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        filled = self.inverse_transform(self.transform(X, weights=weights))
        given = np.asarray(X, dtype=filled.dtype)
        np.copyto(filled, given, where=~np.isnan(given))
        return filled

    @property
    def _n_features_out(self) -> int:
        return int(self.components_.shape[0])


def _orthogonal(columns: Floats) -> Floats:
    """Rotate factors (n, r) so that their columns are orthogonal, longest first."""
    double = columns.astype(np.float64)
    vectors = scipy.linalg.eigh(double.T @ double)[1][:, ::-1]
    turned = double @ vectors
    at = np.abs(turned).argmax(axis=0)
    turned *= np.where(turned[at, np.arange(turned.shape[1])] < 0, -1, 1)
    rotated: Floats = turned.astype(columns.dtype)
    return rotated

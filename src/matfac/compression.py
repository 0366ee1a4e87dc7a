"""A trained network's weight matrices as products of two thin ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from matfac import _engine, _metric
from matfac._cells import Cells, check_cell_weights
from matfac._dense_als import DenseAls, Start
from matfac._engine import Floats
from matfac._interruptible import interruptible
from matfac._metric import Metric
from matfac._truncated import held, norm, of_unit_size, spectrum
from matfac._validation import (
    check_choice,
    check_flag,
    check_integer,
    check_real,
    check_threads,
    seed_of,
)

__all__ = ["Compressed", "break_even_rank", "compress"]

# Least element weight, as a share of the mean: no row or column is left without any.
_FLOOR = 1e-9


@dataclass(frozen=True)
class Compressed:
    """A matrix W (m x n) as ``A @ B``, and what that costs.

    Attributes
    ----------
    A : ndarray of shape (m, rank)
        Each of A and B has a half (the root) of the singular values.
    B : ndarray of shape (rank, n)
    error : float
        Root of the objective that was minimised: the (weighted) norm of ``W - A @ B``.
    relative_error : float
        `error` by the same norm of W.
    rank : int
    parameters_before, parameters_after : int
        ``m * n`` and ``rank * (m + n)``.
    break_even_rank : int
        The largest rank at which A and B are smaller than W; 0 where none is.
    history : list of float
        Of element weights: `error` at the start and after every sweep. Else empty.
    """

    A: Floats
    B: Floats
    error: float
    relative_error: float
    history: list[float]

    @property
    def rank(self) -> int:
        """Columns of A."""
        return int(self.A.shape[1])

    @property
    def parameters_before(self) -> int:
        """Elements of W."""
        return int(self.A.shape[0] * self.B.shape[1])

    @property
    def parameters_after(self) -> int:
        """Elements of A and B."""
        return self.A.size + self.B.size

    @property
    def break_even_rank(self) -> int:
        """The largest rank at which they are fewer than W's."""
        return break_even_rank(self.A.shape[0], self.B.shape[1])


def break_even_rank(m: int, n: int) -> int:
    """Return the largest rank at which the factors of an m x n matrix are smaller than it.

    Examples
    --------
    >>> break_even_rank(384, 384), break_even_rank(30522, 384)
    (191, 379)
    """
    return (m * n - 1) // (m + n)


def compress(
    W: ArrayLike,
    *,
    rank: int | None = None,
    energy: float | None = None,
    budget: float | None = None,
    row_weights: ArrayLike | None = None,
    col_weights: ArrayLike | None = None,
    inputs: ArrayLike | None = None,
    input_cov: ArrayLike | None = None,
    element_weights: ArrayLike | None = None,
    allow_larger: bool = False,
    svd_solver: str = "exact",
    n_iter: int = 50,
    tol: float = 1e-4,
    n_threads: int | None = None,
    random_state: Any = 0,
) -> Compressed:
    r"""Approximate a weight matrix W (outputs x inputs) by a product of two thin ones.

    Without weights the error is :math:`\|W - AB\|_F`, and the answer its minimum, the truncated
    singular value decomposition. Weights change the norm:

    =================  ========================================  ==============================
    given              minimised                                 known as
    =================  ========================================  ==============================
    `row_weights` d    :math:`\sum_{ij} d_i (W - AB)_{ij}^2`     FWSVD: row sums of the Fisher
    `col_weights` s    :math:`\sum_{ij} s_j (W - AB)_{ij}^2`     ASVD: mean absolute input ^ 2a
    `inputs` X         :math:`\|(W - AB) X^T\|_F^2`              SVD-LLM: error of the outputs
    `input_cov`        the same, from :math:`X^T X`              SVD-LLM
    `element_weights`  :math:`\sum_{ij} f_{ij} (W - AB)_{ij}^2`  element-wise Fisher
    =================  ========================================  ==============================

    All but the last have a closed form, of which this is the minimum; row weights go together with
    `col_weights` or inputs. Element weights are met by weighted alternating least squares, from the
    better of the closed forms for their row sums and for both margins; it never ends above it.

    Parameters
    ----------
    W : array-like of shape (m, n)
        As `torch.nn.Linear` keeps it.
    rank : int, optional
        Give one of `rank`, `energy` and `budget`. From 1 to the shorter side of W.
    energy : float, optional
        Share of W's squared (weighted) norm to keep, above 0, at most 1; the rank is the smallest
        that does. With element weights, the norm is that of their margins.
    budget : float, optional
        Share of W's parameters that A and B may have, between 0 and 1.
    row_weights : array-like of shape (m,), optional
        What a row's squared errors weigh, >= 0.
    col_weights : array-like of shape (n,), optional
        What a column's squared errors weigh, >= 0.
    inputs : array-like of shape (n_inputs, n), optional
        Rows that W is applied to. Whitened by QR; a ridge of 1e-6 of the mean square keeps
        directions that no input has from being lost.
    input_cov : array-like of shape (n, n), optional
        ``inputs.T @ inputs``, where the inputs themselves are too many.
    element_weights : array-like of shape (m, n), optional
        What each element's squared error weighs, >= 0.
    allow_larger : bool
        Accept a rank beyond break-even, where A and B are together no smaller than W.
    svd_solver : {"exact", "randomized"}
        Randomised is faster for ranks far below both sides of a large W, and approximate.
    n_iter, tol
        Of element weights: most sweeps, and the relative fall of the objective that ends them.
    n_threads : int or None
        Of element weights, as in `ExplicitMF`.
    random_state : int, RandomState or None
        Of the randomised solver.

    Returns
    -------
    Compressed
        Factors `A` and `B` of W's dtype (float32 or float64), kept apart, with the error and sizes.

    Raises
    ------
    ValueError
        For a rank out of range or beyond break-even, weights that are negative or of another
        shape, a W that is not a finite matrix, or one whose norm float64 does not hold.

    References
    ----------
    Eckart and Young 1936, "The approximation of one matrix by another of lower rank". Hsu et al.
    2022, "Language model compression with weighted low-rank factorization" (FWSVD). Yuan et al.
    2023, "ASVD: Activation-aware singular value decomposition for compressing large language
    models". Wang et al. 2024, "SVD-LLM: Truncation-aware singular value decomposition for large
    language model compression". Srebro and Jaakkola 2003, "Weighted low-rank approximations".

    Examples
    --------
    >>> import numpy as np
    >>> from matfac import compress
    >>> rng = np.random.default_rng(0)
    >>> W = rng.normal(size=(64, 8)) @ rng.normal(size=(8, 48))
    >>> small = compress(W, energy=0.9999)
    >>> small.rank, small.parameters_before, small.parameters_after, small.break_even_rank
    (8, 3072, 896, 27)
    >>> bool(np.abs(W - small.A @ small.B).max() < 1e-9)
    True
    """
    matrix = check_weight_matrix(W)
    m, n = matrix.shape
    check_choice("svd_solver", svd_solver, ("exact", "randomized"))
    check_integer("n_iter", n_iter, minimum=1)
    check_real("tol", tol)
    check_flag("allow_larger", allow_larger)
    randomized, seed = svd_solver == "randomized", seed_of(random_state)
    if element_weights is None:
        metric = _metric_of(m, n, row_weights, col_weights, inputs, input_cov)
        cells, exponent, of_weights = None, 0, 0
    else:
        _refuse_others(row_weights, col_weights, inputs, input_cov)
        weights = check_cell_weights("element_weights", element_weights, (m, n))
        if not weights.any():
            raise ValueError("element_weights must not be all 0")
        weights, of_weights = of_unit_size(weights)
        weights = np.maximum(weights, _FLOOR * weights.mean(dtype=np.float64))
        # Weights are free up to a factor: about 1, so that none leaves float32's range.
        unit, exponent = of_unit_size(matrix)
        cells = Cells(unit, (weights / weights.mean()).astype(matrix.dtype), weights.mean())
        metric = Metric(
            _metric.row_root(weights.sum(axis=1), m), _metric.column_root(weights.sum(axis=0), n)
        )
    chosen = _rank(m, n, rank, energy, budget, matrix, metric)
    if chosen > break_even_rank(m, n) and not allow_larger:
        raise ValueError(
            f"rank {chosen} would make A and B no smaller than W: {chosen * (m + n)} parameters "
            f"for {m * n}; a rank up to {break_even_rank(m, n)} makes them smaller. Keep W, lower "
            f"{'energy' if energy is not None else 'budget' if budget is not None else 'rank'}, "
            "or give allow_larger=True"
        )
    if cells is not None:
        found = _by_element(cells, chosen, metric, n_iter, tol, check_threads(n_threads))
        return _times(found, exponent, of_weights)
    A, B = metric.factors(matrix, chosen, randomized=randomized, seed=seed)
    error, whole = errors(matrix, A, B, metric)
    return Compressed(A, B, error, error / whole if whole > 0 else 0.0, [])


def check_weight_matrix(W: Any) -> Floats:
    """Return W as a finite float32 or float64 matrix."""
    array = np.asarray(W)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"W must hold real numbers, got dtype {array.dtype}")
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"W must be a matrix with rows and columns, got shape {array.shape}")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32 if array.dtype == np.float16 else np.float64)
    if not np.isfinite(array).all():
        i, j = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(f"W must be finite, got W[{i}, {j}] = {array[i, j]}")
    return array


def _metric_of(m: int, n: int, row: Any, column: Any, inputs: Any, input_cov: Any) -> Metric:
    given = [
        name
        for name, value in (("col_weights", column), ("inputs", inputs), ("input_cov", input_cov))
        if value is not None
    ]
    if len(given) > 1:
        raise ValueError(f"give one of {' and '.join(given)}: each is a norm of the columns")
    root = None
    if inputs is not None:
        root = _metric.root_of_inputs(inputs, n)
    elif input_cov is not None:
        root = _metric.root_of_covariance(input_cov, n)
    return Metric(
        None if row is None else _metric.row_root(row, m),
        None if column is None else _metric.column_root(column, n),
        root,
    )


def _refuse_others(*others: Any) -> None:
    if any(value is not None for value in others):
        raise ValueError(
            "element_weights must come alone: row_weights, col_weights and inputs are other norms"
        )


def _rank(
    m: int, n: int, rank: Any, energy: Any, budget: Any, matrix: Floats, metric: Metric
) -> int:
    if sum(value is not None for value in (rank, energy, budget)) != 1:
        raise ValueError("give exactly one of rank, energy and budget")
    if rank is not None:
        if check_integer("rank", rank, minimum=1) > min(m, n):
            raise ValueError(f"rank must be at most {min(m, n)} for W of shape {(m, n)}: {rank}")
        return int(rank)
    if budget is not None:
        chosen = int(check_real("budget", budget, above=True, below=1.0) * m * n / (m + n))
        if chosen < 1:
            raise ValueError(
                f"budget={budget} is less than rank 1 takes of W: {(m + n) / (m * n):.4g}"
            )
        return min(chosen, m, n)
    if check_real("energy", energy, above=True) > 1:
        raise ValueError(f"energy must be at most 1, got {energy}")
    kept = np.cumsum(of_unit_size(spectrum(metric.scaled(matrix)))[0] ** 2)
    # Rounding must not ask for one more than exists.
    return int(np.searchsorted(kept, energy * kept[-1] * (1 - 1e-12))) + 1


def errors(matrix: Floats, A: Floats, B: Floats, metric: Metric) -> tuple[float, float]:
    """The metric's norms of ``matrix - A @ B`` and of the matrix."""
    W, exponent = of_unit_size(matrix)
    if exponent:
        A, B = np.ldexp(A, -exponent // 2), np.ldexp(B, -exponent // 2)
    left = metric.scaled(interruptible(A.size * B.shape[1], lambda: W - A @ B))
    return held(norm(left), exponent), held(norm(metric.scaled(W)), exponent)


def _by_element(
    cells: Cells, rank: int, margins: Metric, n_iter: int, tol: float, n_threads: int
) -> Compressed:
    starts = []
    for metric in (Metric(margins.row), margins):
        A, B = metric.factors(cells.values, rank)
        starts.append(_solver(cells, (A, B.T), n_threads))
    solver = min(starts, key=DenseAls.value)
    best = solver.value()
    history, factors = [best], solver.factors()
    with _engine.single_threaded_blas():
        for sweep in range(n_iter):
            value = solver.epoch(sweep)["objective"]
            history.append(value)
            fell = best - value > tol * best
            if value < best:  # rounding apart it always is
                best, factors = value, solver.factors()
            if not fell:
                break
    assert cells.weights is not None
    whole = float(np.vdot(cells.weights.astype(np.float64), cells.values.astype(np.float64) ** 2))
    root: NDArray[np.float64] = np.sqrt(np.array([best, whole, *history]) * cells.weight)
    A, B = factors[0], np.ascontiguousarray(factors[1].T)
    relative = float(root[0] / root[1]) if whole > 0 else 0.0
    return Compressed(A, B, float(root[0]), relative, root[2:].tolist())


def _times(found: Compressed, exponent: int, of_weights: int) -> Compressed:
    """What was found of W and element weights over powers of two, of these exponents."""
    if not (exponent or of_weights):
        return found
    A, B = (np.ldexp(factor, exponent // 2) for factor in (found.A, found.B))
    error, *history = (
        held(value, exponent + of_weights // 2) for value in (found.error, *found.history)
    )
    return Compressed(A, B, error, found.relative_error, history)


def _solver(cells: Cells, start: Start, n_threads: int) -> DenseAls:
    return DenseAls(
        cells.ratings, start, reg=0.0, reg_exponent=1.0, nonnegative=False, n_threads=n_threads
    )

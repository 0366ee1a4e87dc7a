"""Truncated singular value decompositions of dense matrices: exact by the Gram, or randomised."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from matfac import _engine
from matfac._engine import Floats
from matfac._interruptible import interruptible

OVERSAMPLING = 10
POWER_ITERATIONS = 4
_ROWS = 4096  # taken to float64 at a time
# A Gram squares the condition: where less than this share of the energy lies beyond the rank,
# its float64 eigenvectors no longer tell that rest from rounding.
_GRAM_RESOLVES = 1e-9
_SAFE = 32  # binary exponents of a largest value whose squares and their sums any dtype holds
_TOO_LARGE = "W, with its weights, has a norm beyond what float64 holds: divide W by a constant"


class Truncated(NamedTuple):
    """``matrix ~ left * singular @ right``, largest first: (m, r), (r,) and (r, n) arrays."""

    left: Floats
    singular: NDArray[np.float64]
    right: Floats


def of_unit_size(matrix: Floats) -> tuple[Floats, int]:
    """The matrix over a power of two, and its exponent, so that sums of squares can be held.

    The exponent is even, its half that of the roots; 0, where the matrix needs none.
    """
    largest = max(float(matrix.max()), -float(matrix.min()))
    if not math.isfinite(largest):  # a weighted matrix: W itself is checked
        raise ValueError(_TOO_LARGE)
    exponent = math.frexp(largest)[1]
    if abs(exponent) <= _SAFE:
        return matrix, 0
    exponent -= exponent % 2
    return np.ldexp(matrix, -exponent), exponent


def held(value: float, exponent: int) -> float:
    """``value * 2**exponent`` of a weight matrix, or an error where float64 cannot hold it."""
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        raise ValueError(_TOO_LARGE) from None


def norm(matrix: Floats) -> float:
    """The Frobenius norm."""
    unit, exponent = of_unit_size(matrix)
    return held(float(np.linalg.norm(unit)), exponent)


def spectrum(matrix: Floats) -> NDArray[np.float64]:
    """All singular values, largest first."""
    unit, exponent = of_unit_size(matrix)
    values = interruptible(_cost(unit), lambda: np.linalg.eigvalsh(_gram(unit)))[::-1]
    # What the Gram cannot resolve is at most 1e-8 of the largest: noise, and never negative.
    return _singular(np.sqrt(np.maximum(values, 0.0)), exponent)


def _singular(values: NDArray[np.float64], exponent: int) -> NDArray[np.float64]:
    held(float(values[0]), exponent)
    return np.ldexp(values, exponent)


def truncated_svd(
    matrix: Floats, rank: int, *, randomized: bool = False, seed: int = 0
) -> Truncated:
    """The ``rank`` leading singular triplets of an m x n matrix.

    Exact: eigenvectors of the shorter side's Gram in float64 (several times faster than an SVD);
    where that cannot resolve the rest beyond the rank, an SVD. Randomised: Halko, Martinsson
    and Tropp 2011, with power iterations.

    The routines are NumPy's: SciPy's hold Python's lock, and Ctrl-C with it.
    """
    unit, exponent = of_unit_size(matrix)

    def found() -> Truncated:
        if randomized:
            return _randomized(unit, rank, np.random.default_rng(seed))
        return _by_gram(unit, rank) or _by_svd(unit, rank)

    left, singular, right = _signed(interruptible(_cost(unit), found))
    return Truncated(left, _singular(singular, exponent), right)


def _cost(matrix: Floats) -> float:
    """Multiplications of the shorter side's Gram, about."""
    return float(matrix.size * min(matrix.shape))


def _gram(matrix: Floats) -> NDArray[np.float64]:
    """The Gram of the shorter side, summed in float64."""
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    gram = np.zeros((tall.shape[1],) * 2)
    for begin in range(0, len(tall), _ROWS):
        rows = tall[begin : begin + _ROWS].astype(np.float64, copy=False)
        gram += rows.T @ rows
    return gram


def _by_gram(matrix: Floats, rank: int) -> Truncated | None:
    m, n = matrix.shape
    side = min(m, n)
    if rank == side:
        return None
    gram = _gram(matrix)
    energy = float(np.trace(gram))
    # Divide and conquer gives all eigenvectors for the price of about an eighth of them by MRRR.
    if 8 * rank > side:
        values, vectors = np.linalg.eigh(gram)
    else:
        values, vectors = _engine.leading_eigen(gram, rank)
    values = values[: -rank - 1 : -1]
    vectors = vectors[:, : -rank - 1 : -1].astype(matrix.dtype)
    if not energy - values.sum() > _GRAM_RESOLVES * energy or values[-1] <= 0:
        return None
    singular = np.sqrt(values)
    scale = (1 / singular).astype(matrix.dtype)
    if m >= n:
        return Truncated(matrix @ vectors * scale, singular, np.ascontiguousarray(vectors.T))
    return Truncated(vectors, singular, scale[:, None] * (vectors.T @ matrix))


def _by_svd(matrix: Floats, rank: int) -> Truncated:
    left, singular, right = np.linalg.svd(matrix, full_matrices=False)
    return Truncated(left[:, :rank], singular[:rank].astype(np.float64), right[:rank])


def _randomized(matrix: Floats, rank: int, generator: np.random.Generator) -> Truncated:
    size = min(rank + OVERSAMPLING, *matrix.shape)
    sample = matrix @ generator.standard_normal((matrix.shape[1], size), dtype=matrix.dtype)
    for _ in range(POWER_ITERATIONS):
        sample = matrix @ _basis(matrix.T @ _basis(sample))
    basis = _basis(sample)
    left, singular, right = np.linalg.svd(basis.T @ matrix, full_matrices=False)
    return Truncated(basis @ left[:, :rank], singular[:rank].astype(np.float64), right[:rank])


def _basis(sample: Floats) -> Floats:
    return np.linalg.qr(sample)[0]


def _signed(found: Truncated) -> Truncated:
    """Make the largest entry of every right vector positive: the same signs from every route."""
    at = np.abs(found.right).argmax(axis=1)
    signs = np.where(found.right[np.arange(len(at)), at] < 0, -1, 1).astype(found.right.dtype)
    return Truncated(found.left * signs, found.singular, found.right * signs[:, None])

"""Checked sparse matrices, as the solvers take them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matfac import _engine
from matfac._engine import Csr, Floats

# Entries that a sum over all of them converts at a time.
PIECE = 1 << 17

Pattern: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int32]]  # indptr and sorted indices


@dataclass(frozen=True)
class Ratings:
    """A checked matrix in canonical CSR: rows sorted, no duplicates, finite values."""

    shape: tuple[int, int]
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: Floats
    weights: Floats | None = None

    @property
    def nnz(self) -> int:
        return int(self.indptr[-1])

    @cached_property
    def core(self) -> Csr:
        """The matrix in the core's hands."""
        return _engine.make_csr(self.shape[1], self.indptr, self.indices, self.values, self.weights)

    def transposed(self, n_threads: int) -> Ratings:
        """Return the matrix with rows and columns exchanged."""
        turned = _engine.transpose(self.core, n_threads)
        return Ratings(
            self.shape[::-1], turned.indptr, turned.indices, turned.values, turned.weights
        )

    def row_sums(self, n_threads: int) -> NDArray[np.float64]:
        """Return entries per row, or the row's sum of weights where there are weights."""
        if self.weights is None:
            return np.diff(self.indptr).astype(np.float64)
        return _engine.row_sums(self.indptr, self.weights, None, n_threads)

    def value_sums(self, n_threads: int) -> NDArray[np.float64]:
        """Return the sum of each row's values, times their weights where there are weights."""
        return _engine.row_sums(self.indptr, self.values, self.weights, n_threads)

    @property
    def mean(self) -> float:
        """The (weighted) mean of the values."""
        if self.weights is None:
            return float(self.values.mean(dtype=np.float64))
        weighted = np.einsum("i,i", self.values, self.weights, dtype=np.float64)
        return float(weighted / self.weights.sum(dtype=np.float64))

    @property
    def variance(self) -> float:
        """The variance of the values, a piece at a time: no copy of them is made."""
        mean = self.values.mean(dtype=np.float64)
        squares = 0.0
        for at in range(0, self.nnz, PIECE):
            # NumPy 1 would stay with float32, whose squares vanish.
            differences = np.subtract(self.values[at : at + PIECE], mean, dtype=np.float64)
            squares += float(np.square(differences, out=differences).sum())
        return squares / self.nnz

    @property
    def column_sums(self) -> Floats:
        """Entries per column, or their sum of weights, a piece at a time."""
        sums = np.zeros(self.shape[1])
        for at in range(0, self.nnz, PIECE):
            part = slice(at, at + PIECE)
            weights = None if self.weights is None else self.weights[part]
            sums += np.bincount(self.indices[part], weights, minlength=len(sums))
        return sums

    def choose(self, index: NDArray[np.integer[Any]]) -> Ratings:
        """Return the matrix of the chosen rows."""
        everything = np.arange(self.nnz)
        indptr, entries = take_rows(self.indptr, everything, index)
        return Ratings(
            (len(index), self.shape[1]),
            indptr,
            self.indices[entries],
            self.values[entries],
            None if self.weights is None else self.weights[entries],
        )

    def rows(self, index: NDArray[np.integer[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return indptr and indices of the chosen rows."""
        return take_rows(self.indptr, self.indices, index)

    def take(self, keep: NDArray[np.bool_]) -> Ratings:
        """Return the matrix of the entries where `keep` is true."""
        running = np.concatenate(([0], np.cumsum(keep, dtype=np.int64)))
        return Ratings(
            self.shape,
            running[self.indptr],
            self.indices[keep],
            self.values[keep],
            None if self.weights is None else self.weights[keep],
        )


def apart(pattern: Pattern, matrix: Any) -> Pattern:
    """Return a pattern of one's own: copies of what is the matrix's, which may yet change."""
    theirs = [getattr(matrix, name, None) for name in ("indptr", "indices")]

    def own(array: NDArray[Any]) -> NDArray[Any]:
        shared = any(isinstance(a, np.ndarray) and np.may_share_memory(array, a) for a in theirs)
        return array.copy() if shared else array

    return own(pattern[0]), own(pattern[1])


def take_rows(
    indptr: NDArray[np.int64], indices: NDArray[Any], index: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return indptr and indices of the chosen rows of a CSR pattern."""
    if len(index) == len(indptr) - 1 and (index == np.arange(len(index))).all():
        return indptr, indices
    lengths = np.diff(indptr)[index]
    chosen = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    shift = np.repeat(indptr[index] - chosen[:-1], lengths)
    return chosen, indices[shift + np.arange(chosen[-1])]

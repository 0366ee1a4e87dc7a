"""Side features: one side's features mapped into factor space, as the prior mean of its factors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.linalg.blas import dsyrk

from matfac import _core, _engine
from matfac._engine import Csr, Floats

# Up to here the normal matrix is formed once and factorised; its doubles take 32 MiB.
DIRECT_UP_TO = 2048
DENSE_FROM = 0.1  # share of stored entries from which dense products form that matrix faster
BLOCK = 1 << 17  # cells, or stored entries, that it is formed from at a time
COLUMNS = 256  # of it, formed at a time from stored entries
GRADIENT_STEPS = 200  # at most, of conjugate gradient


class FeatureWeights(NamedTuple):
    """The map W: a factor of length k per feature and, in a model with biases, a bias."""

    factors: Floats  # n_features x k
    bias: Floats | None


class Prior(NamedTuple):
    """What the ridge pulls rows towards: a padded table, and the biases where there are any."""

    table: Floats
    bias: Floats | None


def core_csr(features: sp.csr_array, values: Floats | None = None) -> Csr:
    """Hand checked features to the core, with other values where these are given."""
    return _engine.make_csr(
        features.shape[1],
        features.indptr.astype(np.int64, copy=False),
        features.indices.astype(np.int32, copy=False),
        features.data if values is None else values,
    )


def prior_of(features: sp.csr_array, weights: FeatureWeights, n_threads: int) -> Prior:
    """Return f_i W of every row of the features."""
    k = weights.factors.shape[1]
    table = _engine.empty_table(features.shape[0], k, features.dtype)
    _core.multiply(
        core_csr(features),
        k=k,
        table=_engine.table(weights.factors),
        out=table,
        n_threads=n_threads,
    )
    return Prior(table, None if weights.bias is None else features @ weights.bias)


class FeatureMap:
    """Ridge regression of one side's factors on its features, the same features for a whole fit.

    Minimises sum_i ridge_i |y_i - f_i W|^2 + penalty |W|^2 over W, with y_i the factors and bias of
    row i. Rows without entries take no part: they are their prior, whatever it is.
    """

    def __init__(
        self,
        features: sp.csr_array,
        ridge: Floats,
        known: np.ndarray[tuple[int], np.dtype[np.bool_]],
        feature_reg: float,
        n_threads: int,
    ) -> None:
        self.features = features
        self.n_threads = n_threads
        weight = np.where(known, ridge.astype(np.float64), 0.0)
        self.penalty = feature_reg * float(weight.sum()) / max(int(known.sum()), 1)
        self._known = known
        self._weight = weight.astype(features.dtype)
        weighted = np.repeat(self._weight, np.diff(features.indptr))
        weighted *= features.data
        self._turned = _engine.transpose(core_csr(features, weighted), n_threads)
        del weighted
        self._direct = features.shape[1] <= DIRECT_UP_TO
        with _engine.single_threaded_blas():
            if self._direct:
                self._factor = scipy.linalg.cho_factor(self._normal_matrix(), overwrite_a=True)
            else:
                self._diagonal = self._normal_diagonal()

    def _normal_matrix(self) -> Floats:
        """Return F' D F + penalty: all of it, or in Fortran order its upper triangle."""
        n, p = self.features.shape
        dense = self.features.nnz > DENSE_FROM * n * p
        step = max(BLOCK * n // max(n * p if dense else self.features.nnz, 1), 1)
        root = np.sqrt(self._weight.astype(np.float64))
        normal = np.zeros((p, p), order="F")
        for begin in range(0, n, step):
            rows = self.features[begin : begin + step].astype(np.float64)
            rows = sp.diags_array(root[begin : begin + step]) @ rows
            if dense:
                normal = dsyrk(1.0, rows.toarray().T, beta=1.0, c=normal, overwrite_c=True)
                continue
            turned = rows.T.tocsr()
            for first in range(0, p, COLUMNS):
                columns = slice(first, first + COLUMNS)
                normal[:, columns] += (turned @ rows[:, columns]).toarray()
        normal[np.diag_indices(p)] += self.penalty
        return normal

    def _normal_diagonal(self) -> Floats:
        f = self.features
        squares = sp.csr_array((np.square(f.data), f.indices, f.indptr), shape=f.shape)
        return np.asarray(squares.T @ self._weight, np.float64) + self.penalty

    def fit(self, table: Floats, k: int, bias: Floats | None) -> FeatureWeights:
        """Return the map that explains a factor table (and biases) best."""
        right = self._times(self._turned, table, k)[:, :k].astype(np.float64)
        if bias is not None:
            right = np.column_stack((right, self.features.T @ (self._weight * bias)))
        if self._direct:
            solved = scipy.linalg.cho_solve(self._factor, right, overwrite_b=True)
        else:
            solved = self._by_gradient(right)
        weights = solved.astype(table.dtype)
        return FeatureWeights(
            np.ascontiguousarray(weights[:, :k]),
            None if bias is None else np.ascontiguousarray(weights[:, k]),
        )

    def prior(self, weights: FeatureWeights, *, everyone: bool) -> Prior:
        """Return the prior of every row; of rows without entries only where `everyone`, else 0.

        While the model is fitted they stay out of it: a cell of a row that nobody has met is no
        evidence against it.
        """
        prior = prior_of(self.features, weights, self.n_threads)
        if not everyone:
            prior.table[~self._known] = 0
            if prior.bias is not None:
                prior.bias[~self._known] = 0
        return prior

    def fill_unknown(self, table: Floats, bias: Floats | None, weights: FeatureWeights) -> None:
        """Give the rows without entries their prior."""
        unknown = ~self._known
        prior = prior_of(self.features[unknown], weights, self.n_threads)
        table[unknown] = prior.table
        if bias is not None:
            bias[unknown] = prior.bias

    def penalty_of(self, weights: FeatureWeights) -> float:
        """Return penalty |W|^2."""
        parts = [part for part in weights if part is not None]
        return self.penalty * sum(float(np.sum(part.astype(np.float64) ** 2)) for part in parts)

    def _times(self, matrix: Csr, table: Floats, k: int) -> Floats:
        out = _engine.empty_table(matrix.shape[0], k, table.dtype)
        _core.multiply(matrix, k=k, table=table, out=out, n_threads=self.n_threads)
        return out

    def _by_gradient(self, residual: Floats) -> Floats:
        """Solve (F' D F + penalty) W = residual by conjugate gradient, all columns at once."""
        width, dtype = residual.shape[1], self.features.dtype
        forth = core_csr(self.features)
        inverse = 1 / self._diagonal[:, None]
        enough = np.finfo(dtype).eps ** 2 * 100  # of the squared residual, beyond rounding
        solved = np.zeros_like(residual)
        direction = inverse * residual
        size = first = (residual * direction).sum(axis=0)
        for _ in range(GRADIENT_STEPS):
            active = size > enough * first
            if not active.any():
                break
            scores = self._times(forth, _engine.table(direction.astype(dtype)), width)
            image = self._times(self._turned, scores, width)[:, :width] + self.penalty * direction
            curvature = (direction * image).sum(axis=0)
            active &= curvature > 0
            step = np.divide(size, curvature, out=np.zeros(width), where=active)
            solved += step * direction
            residual -= step * image
            z = inverse * residual
            following = (residual * z).sum(axis=0)
            direction *= np.divide(following, size, out=np.zeros(width), where=active)
            direction += z
            size = following
        return solved

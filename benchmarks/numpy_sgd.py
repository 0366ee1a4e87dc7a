"""SGD as NumPy can do it: mini-batches.

One rating after another, as the core and `matfac.reference.sgd_epoch` go, would be a Python loop.
Here a batch of ratings is scored at once, its gradients are added up row by row, and every row
takes one step. The adding up is SciPy's sparse product, three times as fast as the best of NumPy
alone (``np.add.reduceat``). Rates follow the core's rule; a row that a batch meets n times takes a
damped step in place of n, as the sum of n steps from one point would overshoot.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from matfac import reference
from matfac._reference_rows import entry_rows
from problem import SGD_HEAD_START, SGD_RATE, Floats, Problem, model_of


class _Side(NamedTuple):
    """The rows of one side that a batch meets."""

    rows: Floats
    met: Floats  # how often
    incidence: sp.csr_array  # rows x ratings; its values are the errors


class _Batch(NamedTuple):
    users: Floats
    items: Floats
    values: Floats  # less the mean
    sides: tuple[_Side, _Side]


class _Table:
    """The factors of one side and their state."""

    def __init__(self, start: Floats, std: float, dtype: str) -> None:
        self.factors = start.astype(dtype)
        self.bias = np.zeros(len(start), dtype)
        self.sums = np.full(len(start), SGD_HEAD_START * std**2, dtype)


class NumpySgd:
    """Mini-batch SGD with one adaptive rate per row. The batches are cut once, before the time."""

    blas_threads = 1  # there is no BLAS in it

    def __init__(self, problem: Problem, dtype: str) -> None:
        self.name = f"NumPy {dtype}"
        indptr, indices, values = problem.case.csr
        self._mean, self._decay = problem.mean, problem.solver.reg
        self._std = problem.std
        self._tables = [_Table(start, self._std, dtype) for start in problem.start]
        # Larger batches are faster but fall behind in loss: a few hundred an epoch keep up.
        size = int(np.clip(len(indices) // 400, 256, 4096))
        self.note = f"mini-batches of {size}, sums by SciPy's sparse product"
        order = np.random.default_rng(3).permutation(len(indices))
        users = entry_rows(indptr).astype(np.int32)[order]
        items, centred = indices[order], (values[order] - np.float32(self._mean)).astype(dtype)
        self._batches = [
            _batch(users[part], items[part], centred[part])
            for part in (slice(b, b + size) for b in range(0, len(users), size))
        ]

    def sweep(self) -> None:
        users, items = self._tables
        for batch in self._batches:
            x, y = users.factors.take(batch.users, axis=0), items.factors.take(batch.items, axis=0)
            error = batch.values - users.bias[batch.users] - items.bias[batch.items]
            error -= np.einsum("jk,jk->j", x, y)
            self._step(users, batch.sides[0], y, error)
            self._step(items, batch.sides[1], x, error)

    def _step(self, table: _Table, side: _Side, other: Floats, error: Floats) -> None:
        rows, met, incidence = side
        incidence.data[:] = error[incidence.indices]
        rate = SGD_RATE / np.sqrt(table.sums[rows])
        rate /= 1 + self._std * rate * (met - 1)
        decay = met * self._decay
        moved = table.factors.take(rows, axis=0)
        moved *= (1 - rate * decay)[:, None]
        gradient = incidence @ other
        gradient *= rate[:, None]
        moved += gradient
        table.factors[rows] = moved
        starts = incidence.indptr[:-1]
        errors = np.add.reduceat(incidence.data, starts)
        table.bias[rows] += self._std * rate * (errors - decay * table.bias[rows])
        table.sums[rows] += np.add.reduceat(incidence.data**2, starts)

    def factors(self) -> reference.Factors:
        users, items = self._tables
        factors, bias = [users.factors, items.factors], [users.bias, items.bias]
        return model_of(factors, bias, self._mean)


def _batch(users: Floats, items: Floats, values: Floats) -> _Batch:
    sides = tuple(_side(index, values.dtype) for index in (users, items))
    return _Batch(users, items, values, (sides[0], sides[1]))


def _side(index: Floats, dtype: np.dtype[np.floating]) -> _Side:
    rows, inverse, met = np.unique(index, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable").astype(np.int32)
    indptr = np.concatenate(([0], np.cumsum(met))).astype(np.int32)
    shape = (len(rows), len(index))
    incidence = sp.csr_array((np.empty(len(index), dtype), order, indptr), shape=shape)
    return _Side(rows, met.astype(dtype), incidence)

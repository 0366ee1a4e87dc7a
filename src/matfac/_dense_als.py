"""Weighted ALS on a dense matrix with weights or holes, from a closed-form start."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from matfac import _core, _engine
from matfac._als import Objective
from matfac._cells import Cells
from matfac._engine import Floats
from matfac._loop import Record
from matfac._ratings import Ratings
from matfac._truncated import truncated_svd

Start = tuple[Floats, Floats]  # (m, r) and (n, r) factors


class DenseAls:
    """Alternates exact half sweeps over rows and columns; what `_loop.run` drives."""

    limit = np.inf  # every half sweep lowers the objective

    def __init__(
        self,
        cells: Ratings,
        start: Start,
        *,
        reg: float,
        reg_exponent: float,
        nonnegative: bool,
        n_threads: int,
    ) -> None:
        self.step_factor = 0.0
        self.k = start[0].shape[1]
        self.objective = Objective("ratings", reg, reg_exponent)
        self.nonnegative = nonnegative
        self.n_threads = n_threads
        dtype = cells.values.dtype
        self.tables: dict[str, Floats] = {}
        for name, factors in zip(("users", "items"), start, strict=True):
            self.tables[name] = _engine.empty_table(len(factors), self.k, dtype)
            self.tables[name][:, : self.k] = factors
        m, n = cells.shape
        columns = _engine.transpose(cells.core, n_threads)
        turned = Ratings((n, m), columns.indptr, columns.indices, columns.values, columns.weights)
        self._sides = (cells, turned)
        self._ridges = tuple(self.objective.ridge(side, n_threads) for side in self._sides)

    def step_size(self) -> str:
        """Describe the step size: there is none."""
        return f"reg={self.objective.reg:g}"

    def epoch(self, number: int) -> Record:
        """Solve every row, then every column."""
        self.half(0)
        self.half(1)
        return {"objective": self.value()}

    def half(self, side: int) -> None:
        """Solve the rows (0) or the columns (1) against the other side."""
        names = ("users", "items")
        _core.half_sweep(
            self._sides[side].core,
            loss="ratings",
            k=self.k,
            fixed=self.tables[names[1 - side]],
            solved=self.tables[names[side]],
            ridge=self._ridges[side],
            cg_steps=0,
            nonnegative=self.nonnegative,
            n_threads=self.n_threads,
        )

    def stop(self) -> None:
        """Do nothing: the tables of a whole epoch are a model."""

    def finish(self) -> float:
        """Return the objective: rows and columns are as the last epoch left them."""
        return self.value()

    def value(self) -> float:
        """The objective, summed in float64."""
        value = _core.loss_value(
            self._sides[0].core,
            loss="ratings",
            k=self.k,
            users=self.tables["users"],
            items=self.tables["items"],
            n_threads=self.n_threads,
        )
        for name, ridge in zip(("users", "items"), self._ridges, strict=True):
            value += _core.ridge_value(self.tables[name], self.k, None, ridge, self.n_threads)
        return value

    def factors(self) -> Start:
        """The factors, (m, r) and (n, r)."""
        return (
            _engine.factors_of(self.tables["users"], self.k),
            _engine.factors_of(self.tables["items"], self.k),
        )


def solve_rows(
    cells: Ratings,
    columns: Floats,
    *,
    reg: float,
    reg_exponent: float,
    nonnegative: bool,
    n_threads: int,
) -> Floats:
    """Return the factors (m, r) of rows against fixed column factors (n, r)."""
    k = columns.shape[1]
    solved = _engine.empty_table(cells.shape[0], k, columns.dtype)
    _core.half_sweep(
        cells.core,
        loss="ratings",
        k=k,
        fixed=_engine.table(columns),
        solved=solved,
        ridge=Objective("ratings", reg, reg_exponent).ridge(cells, n_threads),
        cg_steps=0,
        nonnegative=nonnegative,
        keep_basis=True,
        n_threads=n_threads,
    )
    return _engine.factors_of(solved, k)


def closed_form_start(cells: Cells, rank: int, seed: int, *, randomized: bool = False) -> Start:
    """Return the factors that are best for weights ``d_i s_j``, the margins of the cells' weights.

    Missing cells are filled with what their row and column means say.
    """
    weights = cells.weights
    if weights is None:
        found = truncated_svd(cells.values, rank, randomized=randomized, seed=seed)
        root = np.sqrt(found.singular).astype(cells.values.dtype)
        return found.left * root, found.right.T * root
    total = weights.sum(dtype=np.float64)
    row, column = weights.sum(axis=1), weights.sum(axis=0)
    filled = np.where(weights > 0, cells.values, _additive(cells.values, weights, row, column))
    root_row, root_column = (
        np.sqrt(side * size / total).astype(filled.dtype)
        for side, size in ((row, len(row)), (column, len(column)))
    )
    filled *= root_row[:, None]
    filled *= root_column
    found = truncated_svd(filled, rank, randomized=randomized, seed=seed)
    root = np.sqrt(found.singular).astype(filled.dtype)
    return found.left * root / root_row[:, None], found.right.T * root / root_column[:, None]


def _additive(values: Floats, weights: Floats, row: Floats, column: Floats) -> Floats:
    """Row mean + column mean - mean, each weighted."""
    weighted = values * weights
    mean = weighted.sum(dtype=np.float64) / weights.sum(dtype=np.float64)
    rows = weighted.sum(axis=1) / row
    columns = weighted.sum(axis=0) / column
    filled: Floats = rows[:, None] + (columns - mean).astype(values.dtype)
    return filled


def nonnegative_start(start: Start) -> Start:
    """Return the better-signed half of every rank-one part (Boutsidis and Gallopoulos 2008)."""
    left, right = start
    sides = []
    for sign in (1, -1):
        u, v = np.maximum(sign * left, 0), np.maximum(sign * right, 0)
        sides.append((u, v, np.linalg.norm(u, axis=0) * np.linalg.norm(v, axis=0)))
    (u, v, size), (other_u, other_v, other_size) = sides
    first: NDArray[np.bool_] = size >= other_size
    return np.where(first, u, other_u), np.where(first, v, other_v)

"""The Cython prange twin."""

from __future__ import annotations

from functools import cache

import numpy as np

from build_twin import Twin, build
from matfac import reference
from matfac._reference_rows import entry_rows
from problem import SGD_HEAD_START, SGD_RATE, Competitor, Floats, Problem, model_of


@cache
def twin() -> Twin:
    """Compile on first use."""
    return build()


class CythonAls:
    """Alternating half sweeps over float32 arrays."""

    name = "Cython prange"
    blas_threads = 1  # BLAS is called within the threads
    note = "the core's iteration"

    def __init__(self, problem: Problem, threads: int) -> None:
        self._module, self._threads = twin().module, threads
        self._problem = problem
        self._steps = problem.solver.cg_steps
        self._factors = [start.copy() for start in problem.start]
        self._bias = [np.zeros(n, np.float32) for n in problem.case.shape]
        self._sides = (problem.case.csr, problem.columns)

    def sweep(self) -> None:
        self._half(0)
        self._half(1)

    def _half(self, side: int) -> None:
        problem = self._problem
        spectrum = self._rotate(1 - side)
        fixed, solved, ridge = self._factors[1 - side], self._factors[side], problem.ridges[side]
        if problem.solver.kind == "implicit":
            self._module.implicit_half_sweep(
                *self._sides[side],
                fixed,
                solved,
                ridge,
                spectrum,
                problem.solver.alpha0,
                self._steps,
                self._threads,
            )
        else:
            self._module.explicit_half_sweep(
                *self._sides[side],
                problem.mean,
                fixed,
                self._bias[1 - side],
                solved,
                self._bias[side],
                ridge,
                spectrum,
                self._steps,
                self._threads,
            )

    def _rotate(self, fixed: int) -> Floats:
        """Turn both tables into the eigenbasis of what all rows share; return the eigenvalues."""
        table = self._factors[fixed]
        if self._problem.solver.kind == "implicit":
            shared = table.T @ table
        elif self._steps == 0:
            return np.zeros(table.shape[1], np.float32)  # nothing is shared
        else:
            share = self._problem.counts[fixed] / self._problem.case.nnz
            shared = table.T @ (table * share.astype(np.float32)[:, None])
        spectrum, basis = np.linalg.eigh(shared)
        self._factors = [factors @ basis for factors in self._factors]
        return np.asarray(np.maximum(spectrum, 0))

    def factors(self) -> reference.Factors:
        if self._problem.solver.kind == "implicit":
            return model_of(self._factors)
        return model_of(self._factors, self._bias, self._problem.mean)


class CythonSgd:
    """Hogwild over the shuffled ratings, with the core's rule for the rates."""

    name = "Cython prange"
    blas_threads = 1
    note = "Hogwild, ratings in random order"

    def __init__(self, problem: Problem, threads: int) -> None:
        self._module, self._threads = twin().module, threads
        self._mean = problem.mean
        indptr, indices, values = problem.case.csr
        order = np.random.default_rng(3).permutation(len(indices))
        users = entry_rows(indptr).astype(np.int32)
        self._visits = users[order], indices[order], values[order]
        self._std = problem.std
        self._factors = [start.copy() for start in problem.start]
        self._rows = []
        for n in problem.case.shape:
            rows = np.zeros((n, 3), np.float32)
            rows[:, 1] = SGD_HEAD_START * self._std**2
            rows[:, 2] = problem.solver.reg
            self._rows.append(rows)

    def sweep(self) -> None:
        self._module.sgd_epoch(
            *self._visits,
            self._mean,
            *self._factors,
            *self._rows,
            SGD_RATE,
            self._std,
            self._threads,
        )

    def factors(self) -> reference.Factors:
        return model_of(self._factors, [rows[:, 0] for rows in self._rows], self._mean)


def competitors(problem: Problem, threads: int) -> list[Competitor]:
    """The twin of the solver."""
    kind = CythonSgd if problem.solver.kind == "sgd" else CythonAls
    return [kind(problem, threads)]

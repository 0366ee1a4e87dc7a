"""NumPy: the reference half sweeps, and a mini-batch SGD, at whichever BLAS threads are faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from matfac import reference
from matfac._als import RELAXATION
from numpy_sgd import NumpySgd
from problem import Competitor, Floats, Problem, model_of

PROBE_ENTRIES = 100_000


class NumpyAls:
    """The half sweeps of `matfac.reference`, blocks of rows at a time."""

    def __init__(self, problem: Problem, dtype: str, blas_threads: int, note: str) -> None:
        self.name = f"NumPy {dtype}"
        self.blas_threads, self.note = blas_threads, note
        self._problem = problem
        self._factors: list[Floats] = [start.astype(dtype) for start in problem.start]
        self._bias: list[Floats] = [np.zeros(n, dtype) for n in problem.case.shape]
        self._sides = [
            (indptr, indices, values.astype(dtype))
            for indptr, indices, values in (problem.case.csr, problem.columns)
        ]

    def sweep(self) -> None:
        for side in (0, 1):
            solved = self.solve(side, slice(None))
            if self._problem.solver.kind == "explicit":
                self._factors[side], self._bias[side] = solved
            else:
                self._factors[side] = solved

    def solve(self, side: int, rows: Any) -> Any:
        """What a half sweep gives for these rows."""
        problem = self._problem
        csr = self._sides[side]
        if rows != slice(None):
            csr = _first_rows(csr, rows.stop)
        fixed, solved = self._factors[1 - side], self._factors[side][rows]
        steps = problem.solver.cg_steps or None
        ridge = problem.ridges[side][rows]
        if problem.solver.kind == "implicit":
            alpha0 = problem.solver.alpha0
            return reference.implicit_half_sweep(
                csr,
                fixed,
                solved,
                ridge=ridge,
                alpha0=alpha0,
                cg_steps=steps,
                relaxation=RELAXATION,
            )
        return reference.explicit_half_sweep(
            csr,
            fixed,
            self._bias[1 - side],
            solved,
            self._bias[side][rows],
            mean=problem.mean,
            ridge=ridge,
            fixed_counts=problem.counts[1 - side],
            cg_steps=steps,
            relaxation=RELAXATION,
        )

    def probe(self) -> None:
        """Some rows of either side, for the choice of BLAS threads."""
        for side in (0, 1):
            most = int(np.searchsorted(self._sides[side][0], PROBE_ENTRIES))
            self.solve(side, slice(0, max(1, most)))

    def factors(self) -> reference.Factors:
        if self._problem.solver.kind == "implicit":
            return model_of(self._factors)
        return model_of(self._factors, self._bias, self._problem.mean)


def _first_rows(csr: reference.Csr, n: int) -> reference.Csr:
    indptr, indices, values = csr
    indptr = indptr[: n + 1]
    return indptr, indices[: indptr[-1]], values[: indptr[-1]]


def faster_threads(work: Callable[[], None], threads: int) -> tuple[int, str]:
    """Try 1 BLAS thread and `threads` in turn, the best of three each; say what was found."""
    candidates = sorted({1, threads})
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(3):
        for count in candidates:
            with threadpool_limits(count, user_api="blas"):
                begin = time.perf_counter()
                work()
                best[count] = min(best[count], time.perf_counter() - begin)
    chosen = min(candidates, key=best.__getitem__)
    tried = ", ".join(f"{count}: {seconds:.3g} s" for count, seconds in best.items())
    return chosen, f"probe by BLAS threads: {tried}"


def competitors(problem: Problem, threads: int) -> list[Competitor]:
    """NumPy in float32, and in the reference's own float64."""
    if problem.solver.kind == "sgd":
        return [NumpySgd(problem, "float32"), NumpySgd(problem, "float64")]
    chosen, note = faster_threads(NumpyAls(problem, "float32", 1, "").probe, threads)
    return [NumpyAls(problem, dtype, chosen, note) for dtype in ("float32", "float64")]

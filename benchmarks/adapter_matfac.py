"""The core: the estimators' ALS solver, and SGD epochs over its plan."""

from __future__ import annotations

import numpy as np

from matfac import _engine, reference
from matfac._als import AlsSolver, Objective
from matfac._ratings import Ratings
from matfac._sgd import make_plan
from problem import SGD_HEAD_START, SGD_RATE, Competitor, Floats, Problem, model_of


def _ratings(problem: Problem) -> Ratings:
    indptr, indices, values = problem.case.csr
    return Ratings(problem.case.shape, indptr, indices, values)


class CoreAls:
    """The solver that `fit` runs, from the common start."""

    name = "matfac"
    blas_threads = 1
    note = ""

    def __init__(self, problem: Problem, threads: int) -> None:
        solver = problem.solver
        implicit = solver.kind == "implicit"
        self._k, self._mean = problem.k, 0.0 if implicit else problem.mean
        loss = "ials" if implicit else "ratings"
        self._solver = AlsSolver(
            _ratings(problem),
            Objective(loss, solver.reg, 1.0, mean=self._mean, alpha=solver.alpha0),
            k=problem.k,
            fit_bias=not implicit,
            init_std=1.0,
            cg_steps=solver.cg_steps or None,
            n_threads=threads,
            generator=np.random.default_rng(0),
        )
        for side, start in zip(("users", "items"), problem.start, strict=True):
            self._solver.tables[side][:, : problem.k] = start
        self._epochs = 0

    def sweep(self) -> None:
        self._solver.epoch(self._epochs)
        self._epochs += 1

    def factors(self) -> reference.Factors:
        tables = self._solver.tables
        factors = [tables[side][:, : self._k] for side in ("users", "items")]
        user_bias, item_bias = self._solver.biases()
        if user_bias is None or item_bias is None:
            return model_of(factors)
        return model_of(factors, [user_bias, item_bias], self._mean)


class CoreSgd:
    """Hogwild epochs at a constant rate; the plan, blocks of users and items, is made before."""

    name = "matfac"
    blas_threads = 1
    note = "Hogwild, block by block"

    def __init__(self, problem: Problem, threads: int) -> None:
        self._k, self._threads = problem.k, threads
        self._mean, self._std = problem.mean, problem.std
        self._plan = make_plan(_ratings(problem).core, problem.k, 1, threads)
        self._tables: list[Floats] = []
        self._rows: list[Floats] = []
        for start in problem.start:
            table = _engine.empty_table(len(start), problem.k, "float32")
            table[:, : problem.k] = start
            rows = np.zeros((len(start), 4), np.float32)  # bias, sum of squares, decay, unused
            rows[:, 1] = SGD_HEAD_START * self._std**2
            rows[:, 2] = problem.solver.reg
            self._tables.append(table)
            self._rows.append(rows)
        self._epochs = 0

    def sweep(self) -> None:
        self._plan.epoch(
            k=self._k,
            users=self._tables[0],
            items=self._tables[1],
            user_rows=self._rows[0],
            item_rows=self._rows[1],
            mean=self._mean,
            rate=SGD_RATE,
            bias_rate=self._std,
            bias=True,
            number=self._epochs,
            deterministic=False,
            n_threads=self._threads,
        )
        self._epochs += 1

    def factors(self) -> reference.Factors:
        factors = [table[:, : self._k] for table in self._tables]
        return model_of(factors, [rows[:, 0] for rows in self._rows], self._mean)


def competitors(problem: Problem, threads: int) -> list[Competitor]:
    """The core, in float32, its default."""
    if problem.solver.kind == "sgd":
        return [CoreSgd(problem, threads)]
    return [CoreAls(problem, threads)]

"""One fit to be raced: data, objective, start; and what a competitor has to offer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cases import Case
from matfac import reference

Floats = NDArray[Any]
INIT_STD = 0.1

# SGD: a row's step is this over the root of its sum of squared errors so far,
SGD_RATE = 0.7
# which begins as if it had met this many typical ratings.
SGD_HEAD_START = 10.0


@dataclass(frozen=True)
class Solver:
    """A method: which objective, how its sweeps are made, how closely competitors must agree."""

    key: str
    title: str
    data: str  # a key of cases.MAKERS
    kind: str  # "explicit", "implicit" or "sgd"
    cg_steps: int  # of the core and its NumPy twin; 0: exact
    reg: float
    tolerance: float  # relative, on the objective after the last sweep
    alpha0: float = 0.0


SOLVERS = {
    solver.key: solver
    for solver in (
        Solver("explicit-cg", "explicit ALS, CG(3)", "ratings", "explicit", 3, 0.05, 1e-3),
        Solver("explicit-exact", "explicit ALS, Cholesky", "ratings", "explicit", 0, 0.05, 1e-3),
        Solver("implicit-cg", "implicit ALS, CG(2)", "clicks", "implicit", 2, 0.005, 1e-3, 0.1),
        Solver(
            "implicit-exact", "implicit ALS, Cholesky", "clicks", "implicit", 0, 0.005, 1e-3, 0.1
        ),
        # Three orders of visit, and a mini-batch: they agree as far as SGD agrees with itself.
        Solver("sgd", "explicit SGD epoch", "ratings", "sgd", 0, 0.05, 0.05),
    )
}


@dataclass(frozen=True)
class Problem:
    """A solver on a case, from one start for all."""

    solver: Solver
    case: Case
    k: int

    @cached_property
    def columns(self) -> reference.Csr:
        """The transpose, items x users."""
        return reference.transpose(self.case.csr, self.case.shape[1])

    @cached_property
    def counts(self) -> tuple[Floats, Floats]:
        """Entries per user and per item."""
        users, items = reference.entry_counts(self.case.csr, self.case.shape[1])
        return users, items

    @cached_property
    def mean(self) -> float:
        return float(self.case.csr[2].mean(dtype=np.float64))

    @cached_property
    def std(self) -> float:
        """Of the ratings: SGD's biases move in units of it."""
        return float(self.case.csr[2].std(dtype=np.float64))

    @cached_property
    def ridges(self) -> tuple[Floats, Floats]:
        """The ridge of every user and item; clicks are ones, so that their sum is their count."""
        m, n = self.case.shape
        reg, alpha0 = self.solver.reg, self.solver.alpha0
        users = reference.row_ridge(self.counts[0], reg, 1.0, alpha0 * n)
        items = reference.row_ridge(self.counts[1], reg, 1.0, alpha0 * m)
        return users.astype(np.float32), items.astype(np.float32)

    @cached_property
    def start(self) -> tuple[Floats, Floats]:
        """Initial factors, float32. Everybody copies them; biases start at 0."""
        rng = np.random.default_rng(7)
        m, n = self.case.shape
        scale = np.float32(INIT_STD / np.sqrt(self.k))
        users = rng.standard_normal((m, self.k), dtype=np.float32) * scale
        items = rng.standard_normal((n, self.k), dtype=np.float32) * scale
        return users, items

    def objective(self, model: reference.Factors) -> float:
        """The objective in float64, by code that no competitor uses."""
        if self.solver.kind == "implicit":
            return reference.implicit_objective(
                self.case.csr, model, reg=self.solver.reg, exponent=1.0, alpha0=self.solver.alpha0
            )
        return reference.explicit_objective(self.case.csr, model, reg=self.solver.reg, exponent=1.0)


def model_of(
    factors: list[Floats], bias: list[Floats] | None = None, mean: float = 0.0
) -> reference.Factors:
    """What `Problem.objective` takes, from one array a side."""
    if bias is None:
        return reference.Factors(factors[0], factors[1])
    return reference.Factors(factors[0], factors[1], bias[0], bias[1], mean)


class Competitor(Protocol):
    """One way to do it. What `__init__` prepares is not in the time; `sweep` is all of it."""

    name: str
    blas_threads: int  # NumPy's and SciPy's BLAS, while it runs
    note: str

    def sweep(self) -> None:
        """Solve every user and then every item, or visit every rating once."""

    def factors(self) -> reference.Factors:
        """The model as it stands."""

"""Hogwild and deterministic SGD on ratings: tables, adaptive state and the epochs."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from matfac import _core
from matfac._als import Objective, fold_in, objective_value, random_table
from matfac._engine import Csr, Floats
from matfac._loop import Record
from matfac._ratings import Ratings
from matfac._values import rating_scale

Plan: TypeAlias = "_core.SgdPlanFloat32 | _core.SgdPlanFloat64"

# Columns of the per-row state that the core keeps beside the factors (SgdRow).
BIAS, GRADIENT_SUM, DECAY = 0, 1, 2
STATE = 4

# A row's first steps are those of a row that has met this many typical ratings already.
HEAD_START = 100.0

# The last epoch's share of the learning rate, which falls to it along half a cosine.
LAST_RATE = 0.03


def make_plan(csr: Csr, k: int, seed: int, n_threads: int) -> Plan:
    """Sort ratings into blocks for SGD."""
    if isinstance(csr, _core.CsrFloat32):
        return _core.SgdPlanFloat32(csr, k, seed, n_threads)
    return _core.SgdPlanFloat64(csr, k, seed, n_threads)


def rms(values: Floats) -> float:
    """Return the root of the mean square."""
    return math.sqrt(float(np.einsum("i,i", values, values, dtype=np.float64)) / len(values))


def annealed(progress: float) -> float:
    """Return the share of the learning rate at a share of the epochs."""
    return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * progress))


class SgdSolver:
    """Runs epochs of per-row adaptive SGD (one AdaGrad sum of squared errors per row)."""

    def __init__(
        self,
        ratings: Ratings,
        objective: Objective,
        *,
        k: int,
        fit_bias: bool,
        init_std: float,
        learning_rate: float,
        n_iter: int,
        deterministic: bool,
        n_threads: int,
        seed: int,
        generator: np.random.Generator,
    ) -> None:
        self.objective = objective
        self.k = k
        self.learning_rate = learning_rate
        self.step_factor = 1.0
        self.n_iter = n_iter
        self.fit_bias = fit_bias
        self.deterministic = deterministic
        self.n_threads = n_threads
        self._ratings = ratings
        dtype = ratings.values.dtype
        m, n = ratings.shape
        self._plan = make_plan(ratings.core, k, seed, n_threads)
        self._scale = rating_scale(ratings)  # the unit in which biases move
        self._weight_scale = 1.0
        if ratings.weights is not None:
            self._weight_scale = rms(ratings.weights) or 1.0
        user_sums, item_sums = ratings.row_sums(n_threads), ratings.column_sums
        users, items = (
            random_table(
                size,
                k,
                init_std,
                dtype,
                generator,
                nonnegative=objective.nonnegative,
                n_threads=n_threads,
            )
            for size in (m, n)
        )
        self.tables: dict[str, Floats] = {
            "users": users,
            "items": items,
            "user_rows": self._rows(user_sums, dtype),
            "item_rows": self._rows(item_sums, dtype),
        }
        user_ridge, item_ridge = (
            (objective.reg * np.where(c > 0, c, 1.0) ** objective.reg_exponent).astype(dtype)
            for c in (user_sums, item_sums)
        )
        self._ridges = (user_ridge, item_ridge)
        self._weight = float(np.sum(user_sums))
        # A thousand times what predicting the mean would cost, beside the ridge at the start.
        self.limit = 1e3 * (self._scale**2 * max(self._weight, 1.0) + self._ridge())

    def _rows(self, sums: Floats, dtype: np.dtype[np.floating]) -> Floats:
        rows = np.zeros((len(sums), STATE), dtype)
        rows[:, GRADIENT_SUM] = HEAD_START * (self._scale * self._weight_scale) ** 2
        # n visits decay a row by n times this: together the objective's n^exponent.
        rows[:, DECAY] = self.objective.reg * np.where(sums > 0, sums, 1.0) ** (
            self.objective.reg_exponent - 1.0
        )
        return rows

    def step_size(self) -> str:
        """Describe the step size."""
        return f"learning_rate={self.learning_rate * self.step_factor:g}"

    def epoch(self, number: int) -> Record:
        """Visit every rating once."""
        rate = self.learning_rate * self.step_factor
        loss = self._plan.epoch(
            k=self.k,
            users=self.tables["users"],
            items=self.tables["items"],
            user_rows=self.tables["user_rows"],
            item_rows=self.tables["item_rows"],
            mean=self.objective.mean,
            rate=rate * annealed(number / self.n_iter),
            bias_rate=self._scale,
            bias=self.fit_bias,
            nonnegative=self.objective.nonnegative,
            number=number,
            deterministic=self.deterministic,
            limit=self.limit,
            n_threads=self.n_threads,
        )
        rmse = float(np.sqrt(loss / max(self._weight, 1e-300))) if loss >= 0 else float("nan")
        return {"objective": loss + self._ridge(), "train_rmse": rmse, "learning_rate": rate}

    def _ridge(self) -> float:
        return sum(
            _core.ridge_value(self.tables[side], self.k, bias, own, self.n_threads)
            for side, bias, own in zip(("users", "items"), self.biases(), self._ridges, strict=True)
        )

    def biases(self) -> tuple[Floats | None, Floats | None]:
        """Return the user and item biases, or None without."""
        if not self.fit_bias:
            return None, None
        return (
            np.ascontiguousarray(self.tables["user_rows"][:, BIAS]),
            np.ascontiguousarray(self.tables["item_rows"][:, BIAS]),
        )

    def stop(self) -> None:
        """Do nothing: the tables of a whole epoch are a model."""

    def finish(self) -> float:
        """Solve every user against the items as fold-in would, so that both agree.

        Returns the objective.
        """
        del self._plan  # there are no epochs to come, and what follows needs the memory
        _, item_bias = self.biases()
        items = self.tables["items"]
        factors, bias = fold_in(
            self._ratings, self.objective, items[:, : self.k], item_bias, self.n_threads
        )
        self.tables["users"][:, : self.k] = factors
        if bias is not None:
            self.tables["user_rows"][:, BIAS] = bias
        return objective_value(
            self._ratings,
            self.objective,
            self.tables,
            self.biases(),
            self._ridges,
            (None, None),
            self.k,
            self.n_threads,
        )

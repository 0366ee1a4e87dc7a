"""SGD on positives against sampled negatives: tables, adaptive state, epochs and fold-in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matfac import _core, _engine
from matfac._als import Objective, random_table
from matfac._engine import Csr, Floats
from matfac._loop import Record
from matfac._ratings import Ratings
from matfac._sgd import BIAS, DECAY, GRADIENT_SUM, annealed

Plan: TypeAlias = "_core.PairwisePlanFloat32 | _core.PairwisePlanFloat64"

# A row's first steps are those of a row that has met squared slopes of this sum already.
HEAD_START = 3.0

# Passes over a row's positives when it is folded in.
FOLD_IN_PASSES = 20

# Their learning rate, as a share of the fit's: the items are where they belong from the start.
FOLD_IN_RATE = 0.3

# The epoch whose draws the final objective is measured on: no fit gets there.
LAST_DRAWS = 2**40


@dataclass(frozen=True)
class PairwiseLoss:
    """What an epoch minimises, how fast, and how its negatives are drawn."""

    name: str
    negatives: int
    sampling: str
    reg: float
    learning_rate: float
    fit_bias: bool

    @property
    def mean(self) -> float:
        """Offset of the scores: the log odds of a positive among what "logistic" samples."""
        return -float(np.log(self.negatives)) if self.name == "logistic" else 0.0

    @property
    def steps(self) -> int:
        """A positive's steps per epoch; an upper bound for "warp"."""
        return self.negatives if self.name == "bpr" else 1

    @property
    def user_visits(self) -> int:
        """How often a positive's steps decay the user's row: "logistic" once per item scored."""
        return 1 + self.negatives if self.name == "logistic" else self.steps

    def pool(self, item_counts: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the items that negatives are drawn from, each as often as its share says."""
        items = np.arange(len(item_counts), dtype=np.int32)
        return np.repeat(items, item_counts) if self.sampling == "popularity" else items


def make_plan(csr: Csr, k: int, seed: int, by_popularity: bool, n_threads: int) -> Plan:
    """Sort positives into blocks for SGD."""
    if isinstance(csr, _core.CsrFloat32):
        return _core.PairwisePlanFloat32(csr, k, seed, by_popularity, n_threads)
    return _core.PairwisePlanFloat64(csr, k, seed, by_popularity, n_threads)


def _state(n: int, reg: float, dtype: Any) -> Floats:
    rows = np.zeros((n, 4), dtype)
    rows[:, GRADIENT_SUM] = HEAD_START
    rows[:, DECAY] = reg
    return rows


class PairwiseSolver:
    """Runs epochs of per-row adaptive SGD (one AdaGrad sum of squared slopes per row)."""

    def __init__(
        self,
        ratings: Ratings,
        loss: PairwiseLoss,
        *,
        k: int,
        init_std: float,
        n_iter: int,
        deterministic: bool,
        n_threads: int,
        seed: int,
        generator: np.random.Generator,
    ) -> None:
        self.step_factor = 1.0
        self.loss = loss
        self.objective = Objective(loss.name, loss.reg, 1.0, mean=loss.mean)
        self.k = k
        self.n_iter = n_iter
        self.deterministic = deterministic
        self.n_threads = n_threads
        self._ratings = ratings
        dtype = ratings.values.dtype
        m, n = ratings.shape
        self._plan = make_plan(ratings.core, k, seed, loss.sampling == "popularity", n_threads)
        self.item_counts = ratings.column_sums.astype(np.int64)
        self.tables: dict[str, Floats] = {
            "users": random_table(m, k, init_std, dtype, generator, n_threads=n_threads),
            "items": random_table(n, k, init_std, dtype, generator, n_threads=n_threads),
            "user_rows": _state(m, loss.reg, dtype),
            "item_rows": _state(n, loss.reg, dtype),
        }
        self._ridges = tuple(
            (0.5 * loss.reg * visits).astype(dtype)
            for visits in (ratings.row_sums(n_threads) * loss.user_visits, self._item_visits())
        )
        # A thousand times what equal scores would cost.
        self.limit = 1e3 * np.log(2) * ratings.nnz * (1 + loss.negatives)

    def _item_visits(self) -> Floats:
        """Return each item's steps per epoch: as a positive and, expected, as a negative."""
        share = np.ones(len(self.item_counts))
        if self.loss.sampling == "popularity":
            share = self.item_counts.astype(np.float64)
        drawn = 1 if self.loss.name == "warp" else self.loss.negatives
        visits = self.item_counts * self.loss.steps
        return np.asarray(visits + drawn * self._ratings.nnz * share / share.sum())

    def step_size(self) -> str:
        """Describe the step size."""
        return f"learning_rate={self.loss.learning_rate * self.step_factor:g}"

    def epoch(self, number: int) -> Record:
        """Visit every positive once."""
        rate = self.loss.learning_rate * self.step_factor
        value, n = self._pass(number, rate * annealed(number / self.n_iter), self.tables)
        record = {"objective": value + self._penalty(), "train_loss": value / max(n, 1)}
        return {**record, "learning_rate": rate}

    def _pass(self, number: int, rate: float, tables: dict[str, Floats]) -> tuple[float, int]:
        return self._plan.epoch(
            k=self.k,
            users=tables["users"],
            items=tables["items"],
            user_rows=tables["user_rows"],
            item_rows=tables["item_rows"],
            mean=self.loss.mean,
            loss=self.loss.name,
            negatives=self.loss.negatives,
            rate=rate,
            bias=self.loss.fit_bias,
            number=number,
            deterministic=self.deterministic,
            n_threads=self.n_threads,
        )

    def _penalty(self) -> float:
        return sum(
            _core.ridge_value(self.tables[side], self.k, bias, ridge, self.n_threads)
            for side, bias, ridge in zip(
                ("users", "items"), self.biases(), self._ridges, strict=True
            )
        )

    def biases(self) -> tuple[Floats | None, Floats | None]:
        """Return the user and item biases, or None without."""
        if not self.loss.fit_bias:
            return None, None
        return (
            np.ascontiguousarray(self.tables["user_rows"][:, BIAS]),
            np.ascontiguousarray(self.tables["item_rows"][:, BIAS]),
        )

    def stop(self) -> None:
        """Do nothing: the tables of a whole epoch are a model."""

    def finish(self) -> float:
        """Fit every user against the items as fold-in would, so that both agree.

        Returns the objective, measured on draws of its own.
        """
        factors, bias = fold_in(
            self._ratings,
            self.loss,
            self.tables["items"][:, : self.k],
            self.biases()[1],
            self.item_counts,
            self.n_threads,
        )
        self.tables["users"][:, : self.k] = factors
        if bias is not None:
            self.tables["user_rows"][:, BIAS] = bias
        # Steps of length 0 leave all but the sums of squares as it is, to the bit.
        copied = {name: self.tables[name].copy() for name in ("user_rows", "item_rows")}
        value, _ = self._pass(LAST_DRAWS, 0.0, self.tables | copied)
        return value + self._penalty()


def fold_in(
    ratings: Ratings,
    loss: PairwiseLoss,
    items: Floats,
    item_bias: Floats | None,
    item_counts: NDArray[np.int64],
    n_threads: int,
) -> tuple[Floats, Floats | None]:
    """Fit the rows of `ratings` against fixed item factors (n_items x k), from zero.

    The same steps as in an epoch, on the users alone; the draws are the same for every row and
    call, so that a row's factors depend on its own entries and nothing else. Returns the rows'
    factors (n x k) and, where there are item biases, their biases.
    """
    k, dtype = items.shape[1], items.dtype
    users = _engine.empty_table(ratings.shape[0], k, dtype)
    user_rows = _state(ratings.shape[0], loss.reg, dtype)
    item_rows = _state(len(items), 0.0, dtype)
    if item_bias is not None:
        item_rows[:, BIAS] = item_bias
    _core.pairwise_fold_in(
        ratings.core,
        k=k,
        users=users,
        items=_engine.table(items),
        user_rows=user_rows,
        item_rows=item_rows,
        mean=loss.mean,
        loss=loss.name,
        negatives=loss.negatives,
        rates=[
            FOLD_IN_RATE * loss.learning_rate * annealed(p / FOLD_IN_PASSES)
            for p in range(FOLD_IN_PASSES)
        ],
        bias=loss.fit_bias,
        pool=loss.pool(item_counts),
        n_threads=n_threads,
    )
    bias = None if item_bias is None else np.ascontiguousarray(user_rows[:, BIAS])
    return _engine.factors_of(users, k), bias

"""Alternating least squares: tables, ridges and the two half sweeps of an epoch."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from matfac import _core, _engine
from matfac._derived import derived
from matfac._engine import Floats
from matfac._feature_input import Features
from matfac._features import FeatureMap, FeatureWeights, Prior
from matfac._loop import Record
from matfac._ratings import Ratings

SIDES = ("users", "items")
BIASES = ("user_bias", "item_bias")
OF_FEATURES = ("user_features", "item_features")  # the maps' tables, and their biases
FEATURE_BIASES = ("user_feature_bias", "item_feature_bias")
# Up to here the exact solution of a row costs no more than gradient steps to the same accuracy: few
# steps where the part that all rows share is a good preconditioner, as it is with implicit losses.
EXACT_UP_TO = {"ratings": 256, "ials": 32, "hu": 32}
# Gradient steps go this many times as far as to their row's minimum, which takes two thirds of the
# sweeps or fewer (successive over-relaxation). The objective still falls, as with any below 2.
RELAXATION = 1.4


@dataclass(frozen=True)
class Objective:
    """What is minimised: the loss of `_core.half_sweep` and the ridge of each row."""

    loss: str  # "ratings", "ials" or "hu"
    reg: float
    reg_exponent: float
    mean: float = 0.0
    alpha: float = 0.0
    l1_reg: float = 0.0
    nonnegative: bool = False

    @property
    def descends(self) -> bool:
        """Whether rows are solved by coordinate descent."""
        return self.nonnegative or self.l1_reg > 0

    def ridge(self, ratings: Ratings, n_threads: int) -> Floats:
        """Return the ridge of each row: reg (n [+ alpha0 n_columns])^exponent, never 0 for reg > 0.

        n is the entry count; with weights their sum, for iALS that of weights times values.
        """
        return (self.reg * self._scale(ratings, n_threads)).astype(ratings.values.dtype)

    def lasso(self, ratings: Ratings, n_threads: int) -> Floats | None:
        """Return the weight of each row's L1 norm, scaled as the ridge; None without."""
        if self.l1_reg == 0:
            return None
        return (self.l1_reg * self._scale(ratings, n_threads)).astype(ratings.values.dtype)

    def _scale(self, ratings: Ratings, n_threads: int) -> Floats:
        if self.loss == "ials":
            counts = ratings.value_sums(n_threads) + self.alpha * ratings.shape[1]
        else:
            counts = ratings.row_sums(n_threads)
        return np.asarray(np.where(counts > 0, counts, 1.0) ** self.reg_exponent)


def random_table(
    n: int,
    k: int,
    std: float,
    dtype: Any,
    generator: np.random.Generator,
    *,
    nonnegative: bool = False,
    n_threads: int = 1,
) -> Floats:
    """Return a padded table of factors of mean 0, variance std^2 / k, or their absolute values."""
    seed = int(generator.integers(2**63))
    name = np.dtype(dtype).name
    return _core.random_table(n, k, name, std / np.sqrt(k), seed, nonnegative, n_threads)


def take_over(tables: dict[str, Floats], model: Any) -> None:
    """Start from a fitted model's factors and biases; columns it has not keep what they hold."""
    width = model.item_factors_.shape[1]
    for side in ("user", "item"):
        tables[f"{side}s"][:, :width] = getattr(model, f"{side}_factors_")
        if f"{side}_bias" in tables:
            tables[f"{side}_bias"][:] = getattr(model, f"{side}_bias_")


class AlsSolver:
    """Alternates exact or conjugate-gradient half sweeps over users and items."""

    def __init__(
        self,
        ratings: Ratings,
        objective: Objective,
        *,
        k: int,
        fit_bias: bool,
        init_std: float,
        cg_steps: int | None,
        n_threads: int,
        generator: np.random.Generator,
        features: tuple[Features, Features] = (None, None),
        feature_reg: float = 1.0,
    ) -> None:
        self.objective = objective
        self.k = k
        self.cg_steps = cg_steps
        self.n_threads = n_threads
        self.limit = np.inf  # every half sweep lowers the objective
        self.step_factor = 0.0
        dtype = ratings.values.dtype
        m, n = ratings.shape
        signs = objective.nonnegative
        self.tables: dict[str, Floats] = {
            "users": _engine.empty_table(m, k, dtype),  # solved first: where from is all the same
            "items": random_table(
                n, k, init_std, dtype, generator, nonnegative=signs, n_threads=n_threads
            ),
        }
        if fit_bias:
            self.tables["user_bias"] = np.zeros(m, dtype)
            self.tables["item_bias"] = np.zeros(n, dtype)
        self._users = ratings
        self._items = ratings.transposed(n_threads)
        users, items = sides = (self._users, self._items)
        self._ridges = (objective.ridge(users, n_threads), objective.ridge(items, n_threads))
        self._lassos = (objective.lasso(users, n_threads), objective.lasso(items, n_threads))
        self._maps = tuple(
            None
            if f is None
            else FeatureMap(f, ridge, np.diff(r.indptr) > 0, feature_reg, n_threads)
            for f, ridge, r in zip(features, self._ridges, sides, strict=True)
        )
        for side, of_side in enumerate(self._maps):
            if of_side is not None:
                width = of_side.features.shape[1]
                self.tables[OF_FEATURES[side]] = _engine.empty_table(width, k, dtype)
                if fit_bias:
                    self.tables[FEATURE_BIASES[side]] = np.zeros(width, dtype)
        # Where ridges are of factors alone, and pull them to zero. Not with iALS, whose lists are
        # at their best before its ridges are equal, nor exactly, which `partial_fit` continues.
        mapped = self._maps != (None, None)
        plain = cg_steps is None or mapped or objective.l1_reg > 0
        self._balances = objective.loss == "hu" and not plain
        self._counts = tuple(side.row_sums(n_threads).astype(dtype) for side in sides)
        self._weight = float(np.sum(self._counts[0], dtype=np.float64))

    def step_size(self) -> str:
        """Describe the step size: there is none."""
        return f"reg={self.objective.reg:g}"

    def epoch(self, number: int) -> Record:
        """Solve every user, then every item; after each side, what its features say of it."""
        _, user_ridge = self._half(0, self.cg_steps or 0, relaxation=RELAXATION)
        penalty = self._feature_penalty()
        self._fit_features(0)
        value, item_ridge = self._half(1, self.cg_steps or 0, relaxation=RELAXATION)
        self._fit_features(1)
        ridges = user_ridge - self._balance(user_ridge, item_ridge)
        record = {"objective": max(value + ridges + penalty, 0.0)}
        if self.objective.loss == "ratings":
            loss = max(value - item_ridge, 0.0)
            record["train_rmse"] = float(np.sqrt(loss / max(self._weight, 1e-300)))
        return record

    def _balance(self, user_ridge: float, item_ridge: float) -> float:
        """Give users and items equal ridges, as a minimum has them; return what the sum loses.

        Factors times a number and the other side's divided by it predict the same. Half sweeps
        change one side alone and get there slowly.
        """
        if not self._balances or not (user_ridge > 0 and item_ridge > 0):
            return 0.0
        scale = float(item_ridge / user_ridge) ** 0.25
        for name, factor in zip(SIDES, (scale, 1 / scale), strict=True):
            for rows in _engine.parts_of(self.tables[name]):
                self.tables[name][rows] *= factor
        return float((user_ridge**0.5 - item_ridge**0.5) ** 2)

    def biases(self) -> tuple[Floats | None, Floats | None]:
        """Return the user and item biases, or None without."""
        return self.tables.get("user_bias"), self.tables.get("item_bias")

    @property
    def feature_weights(self) -> tuple[FeatureWeights | None, FeatureWeights | None]:
        """The maps of user and item features, as views of the tables; None without."""
        users, items = (
            None
            if name not in self.tables
            else FeatureWeights(self.tables[name][:, : self.k], self.tables.get(bias))
            for name, bias in zip(OF_FEATURES, FEATURE_BIASES, strict=True)
        )
        return users, items

    def stop(self) -> None:
        """Give rows without entries, which stay out of epochs, the prior of their features."""
        for side in (0, 1):
            self._fill_unknown(side)

    def finish(self) -> float:
        """Solve every user once more as fold-in would, so that both agree; return the objective.

        Rows without entries, which stayed out of the fit, get the prior of their features.
        """
        self._fill_unknown(1)
        self._half(0, *converged(self.k, self.objective, self.tables["users"].dtype), last=True)
        priors = tuple(self._prior(side, everyone=True) for side in (0, 1))
        value = objective_value(
            self._users,
            self.objective,
            self.tables,
            self.biases(),
            self._ridges,
            self._lassos,
            self.k,
            self.n_threads,
            (priors[0], priors[1]),
        )
        return value + self._feature_penalty()

    def _fit_features(self, side: int) -> None:
        of_side, weights = self._maps[side], self.feature_weights[side]
        if of_side is not None and weights is not None:
            found = of_side.fit(self.tables[SIDES[side]], self.k, self.tables.get(BIASES[side]))
            weights.factors[:] = found.factors
            if weights.bias is not None:
                weights.bias[:] = found.bias

    def _fill_unknown(self, side: int) -> None:
        of_side, weights = self._maps[side], self.feature_weights[side]
        if of_side is not None and weights is not None:
            of_side.fill_unknown(self.tables[SIDES[side]], self.tables.get(BIASES[side]), weights)

    def _prior(self, side: int, *, everyone: bool) -> Prior | None:
        of_side, weights = self._maps[side], self.feature_weights[side]
        if of_side is None or weights is None:
            return None
        return of_side.prior(weights, everyone=everyone)

    def _feature_penalty(self) -> float:
        pairs = zip(self._maps, self.feature_weights, strict=True)
        return sum(m.penalty_of(w) for m, w in pairs if m is not None and w is not None)

    def _half(
        self,
        side: int,
        cg_steps: int,
        tolerance: float = 0.0,
        *,
        relaxation: float = 1.0,
        last: bool = False,
    ) -> tuple[float, float]:
        prior = self._prior(side, everyone=last)
        return _core.half_sweep(
            (self._users, self._items)[side].core,
            loss=self.objective.loss,
            mean=self.objective.mean,
            alpha=self.objective.alpha,
            k=self.k,
            fixed=self.tables[SIDES[1 - side]],
            solved=self.tables[SIDES[side]],
            fixed_bias=self.tables.get(BIASES[1 - side]),
            solved_bias=self.tables.get(BIASES[side]),
            prior=None if prior is None else prior.table,
            prior_bias=None if prior is None else prior.bias,
            ridge=self._ridges[side],
            fixed_weight=self._counts[1 - side],
            lasso=self._lassos[side],
            nonnegative=self.objective.nonnegative,
            cg_steps=cg_steps,
            tolerance=tolerance,
            relaxation=relaxation,
            # A half sweep may turn the factor space, but for the last: the other side stays.
            keep_basis=last and self._maps != (None, None),
            along=[] if last else [self.tables[t] for t in OF_FEATURES if t in self.tables],
            n_threads=self.n_threads,
        )


def objective_value(
    ratings: Ratings,
    objective: Objective,
    tables: dict[str, Floats],
    biases: tuple[Floats | None, Floats | None],
    ridges: tuple[Floats, Floats],
    lassos: tuple[Floats | None, Floats | None],
    k: int,
    n_threads: int,
    priors: tuple[Prior | None, Prior | None] = (None, None),
) -> float:
    """Return the objective of factors and biases, summed in float64."""
    value = _core.loss_value(
        ratings.core,
        loss=objective.loss,
        mean=objective.mean,
        alpha=objective.alpha,
        k=k,
        users=tables["users"],
        items=tables["items"],
        user_bias=biases[0],
        item_bias=biases[1],
        n_threads=n_threads,
    )
    for side, bias, ridge, prior in zip(SIDES, biases, ridges, priors, strict=True):
        table = tables[side]
        if prior is not None:
            table = table - prior.table
            bias = None if bias is None else bias - prior.bias
        value += _core.ridge_value(table, k, bias, ridge, n_threads)
    for side, lasso in zip(SIDES, lassos, strict=True):
        if lasso is not None:
            value += float(lasso @ np.abs(tables[side]).sum(axis=1, dtype=np.float64))
    return value


def converged(k: int, objective: Objective, dtype: Any) -> tuple[int, float]:
    """Return cg_steps and tolerance that solve a row to the dtype's accuracy at the least cost."""
    if objective.descends or k <= EXACT_UP_TO[objective.loss]:
        return 0, 0.0
    return 4 * k, 1e-12 if dtype == np.float32 else 1e-24


def fold_in(
    ratings: Ratings,
    objective: Objective,
    fixed: Floats,
    fixed_bias: Floats | None,
    n_threads: int,
    prior: Prior | None = None,
) -> tuple[Floats, Floats | None]:
    """Solve the rows of `ratings` against the fixed factors of their columns (n_columns x k).

    The ridge pulls them towards `prior`, which this call uses up, or to zero. Returns the rows'
    factors (n x k) and, where the columns have biases, their biases.
    """
    k = fixed.shape[1]
    dtype = fixed.dtype
    solved = _engine.empty_table(ratings.shape[0], k, dtype)
    bias = None if fixed_bias is None else np.zeros(ratings.shape[0], dtype)
    few = ratings.nnz < len(fixed)
    cg_steps, tolerance = converged(k, objective, dtype)
    ridge, lasso = objective.ridge(ratings, n_threads), objective.lasso(ratings, n_threads)
    basis = None
    shared = objective.loss != "ratings" or cg_steps > 0
    if few:
        # The columns that have entries are all that is read, but for what every row shares.
        if shared:
            basis = derived("basis", fixed, lambda table: _basis_of(table, n_threads))
        met, indices = np.unique(ratings.indices, return_inverse=True)
        ratings = replace(
            ratings, shape=(ratings.shape[0], len(met)), indices=indices.astype(np.int32)
        )
        fixed, fixed_bias = fixed[met], None if fixed_bias is None else fixed_bias[met]
    with nullcontext() if few or not shared else _engine.single_threaded_blas():
        _core.half_sweep(
            ratings.core,
            loss=objective.loss,
            mean=objective.mean,
            alpha=objective.alpha,
            k=k,
            fixed=_engine.table(fixed),
            solved=solved,
            fixed_bias=fixed_bias,
            solved_bias=bias,
            prior=None if prior is None else prior.table,
            prior_bias=None if prior is None else prior.bias,
            ridge=ridge,
            lasso=lasso,
            nonnegative=objective.nonnegative,
            cg_steps=cg_steps,
            tolerance=tolerance,
            keep_basis=True,
            basis=basis,
            n_threads=n_threads,
        )
    return _engine.factors_of(solved, k), bias


def _basis_of(factors: Floats, n_threads: int) -> _core.BasisFloat32 | _core.BasisFloat64:
    with _engine.single_threaded_blas():
        table = _engine.table(factors)
        return _core.shared_basis(table, k=factors.shape[1], n_threads=n_threads)

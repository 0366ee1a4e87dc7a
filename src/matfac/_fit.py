"""What the estimators' fits share: parameter checks, the loop, storing the result."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from matfac import _checkpoint, _engine, _loop, _memory
from matfac._als import Objective, take_over
from matfac._checkpoint import Checkpoint
from matfac._derived import freeze
from matfac._engine import Floats
from matfac._exceptions import ConvergenceError
from matfac._feature_input import Features, check_feature_size, check_features, ids_of
from matfac._interruptible import held_back, over_entries
from matfac._memory import MemoryEstimate
from matfac._persistence import plain_params
from matfac._progress import shown
from matfac._ratings import Ratings, apart
from matfac._validation import (
    MOST_FACTORS,
    check_dtype,
    check_flag,
    check_integer,
    check_matrix,
    check_real,
    check_threads,
    seed_of,
)


class FittingSolver(_loop.Solver, Protocol):
    """A solver that the estimators can finish and read."""

    k: int
    objective: Objective

    def biases(self) -> tuple[Floats | None, Floats | None]:
        """Return user and item biases, None without."""


class FitMixin:
    """The common part of `fit`. The estimator gives `_make_solver` and `_metric`."""

    n_factors: int
    n_iter: int
    reg: Any  # a float; RankingMF: or None
    feature_reg: float
    nonnegative: bool
    l1_reg: float
    init_std: float
    cg_steps: int | None = None  # RankingMF has none
    n_threads: int | None
    random_state: Any
    dtype: str
    early_stopping: bool
    validation_fraction: float
    patience: int
    callback: _loop.Callback | None
    verbose: bool | None
    _implicit: bool

    def _make_solver(
        self, ratings: Ratings, features: tuple[Features, Features], seed: int
    ) -> FittingSolver:
        raise NotImplementedError

    def _metric(self, solver: FittingSolver, train: Ratings, held_out: Ratings) -> _loop.Validation:
        raise NotImplementedError

    def fit_transform(self, X: Any, y: None = None, **fit_params: Any) -> Floats:
        """Fit and return what `transform` gives for the rows of X; parameters as `fit` has them."""
        self.fit(X, y, **fit_params)  # type: ignore[attr-defined]
        transformed: Floats = self.transform(  # type: ignore[attr-defined]
            X,
            **{
                name: fit_params[name]
                for name in ("weights", "user_features")
                if name in fit_params
            },
        )
        return transformed

    def estimate_memory(
        self,
        n_users: int,
        n_items: int,
        nnz: int,
        *,
        user_features: tuple[int, int] | None = None,
        item_features: tuple[int, int] | None = None,
    ) -> MemoryEstimate:
        """Tell how much memory `fit` will need at its peak, before there is a matrix.

        Parameters
        ----------
        n_users, n_items : int
            The shape of X.
        nnz : int
            Its stored entries.
        user_features, item_features : (int, int), optional
            Of side features: their number, and the stored entries of their matrix.

        Returns
        -------
        MemoryEstimate
            In bytes; prints as a table. The interpreter and its packages, about 150 MB, are not in
            it, nor entry weights, nor X itself where it is of another format or dtype.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.

        Examples
        --------
        >>> from matfac import ImplicitMF
        >>> model = ImplicitMF(n_factors=64, n_threads=2)
        >>> print(model.estimate_memory(480_000, 17_800, 100_000_000))
        matrix           803.8 MB
        arranged         984.5 MB
        features           0.0 MB
        factors          127.4 MB
        snapshots        127.4 MB
        total          2,043.2 MB
        """
        self._check_shared()
        sizes = {"n_users": n_users, "n_items": n_items, "nnz": nnz}
        m, n, nnz = (check_integer(name, size, minimum=1) for name, size in sizes.items())
        itemsize = check_dtype(self.dtype).itemsize
        arranged, factors = self._working_bytes(m, n, nnz, itemsize)
        snapshots = factors
        if self.early_stopping:
            snapshots += factors
            arranged += _memory.csr_bytes(m, nnz, itemsize)
        features = 0
        given = {"user_features": (m, user_features), "item_features": (n, item_features)}
        for name, (rows, pair) in given.items():
            if pair is not None:
                self._check_takes_features()
                width, stored = check_feature_size(name, pair)
                features += _memory.feature_bytes(rows, width, stored, self.n_factors, itemsize)
        matrix = _memory.csr_bytes(m, nnz, itemsize)
        return MemoryEstimate(matrix, arranged, features, factors, snapshots)

    def _check_takes_features(self) -> None:
        """Raise where the model or its solver has no use for side features."""

    def _working_bytes(self, m: int, n: int, nnz: int, itemsize: int) -> tuple[int, int]:
        """Return the bytes of the entries as the solver arranges them, and of its tables."""
        factors = _memory.table_bytes(m + n, self.n_factors, itemsize)
        arranged = _memory.csr_bytes(n, nnz, itemsize)
        threads = check_threads(self.n_threads)
        if self.cg_steps is None:
            arranged += _memory.systems_bytes(self.n_factors, itemsize, threads)
        elif not (self.nonnegative or self.l1_reg):
            arranged += _memory.batch_bytes(m, n, nnz, self.n_factors, itemsize, threads)
        return arranged, factors

    def _check_shared(self) -> None:
        check_integer("n_factors", self.n_factors, minimum=1, maximum=MOST_FACTORS)
        check_integer("n_iter", self.n_iter, minimum=1)
        self._check_reg()
        check_real("feature_reg", self.feature_reg, above=True)
        check_real("init_std", self.init_std, above=True)
        check_dtype(self.dtype)
        check_integer("patience", self.patience, minimum=1)
        check_real("validation_fraction", self.validation_fraction, above=True, below=1.0)
        for name in ("fit_bias", "nonnegative", "deterministic", "early_stopping"):
            check_flag(name, getattr(self, name, False))  # not all have all
        shown(self.verbose)
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback must be callable or None, got {self.callback!r}")

    def _check_reg(self) -> None:
        check_real("reg", self.reg)

    def _check_features(
        self, X: Any, ratings: Ratings, user_features: Any, item_features: Any
    ) -> tuple[Features, Features]:
        dtype = check_dtype(self.dtype)
        m, n = ratings.shape
        users = check_features(
            "user_features", user_features, dtype, n_rows=m, of="X has users (rows):",
            ids=ids_of(X, "user"),
        )  # fmt: skip
        items = check_features(
            "item_features", item_features, dtype, n_rows=n, of="X has items (columns):",
            ids=ids_of(X, "item"),
        )  # fmt: skip
        if users is None and items is None:
            return None, None
        self._check_takes_features()
        if self.nonnegative or self.l1_reg:
            raise ValueError(
                "features go with neither nonnegative nor l1_reg: what features say of a row has "
                "signs, and no zeros"
            )
        if self.reg == 0:
            raise ValueError(
                "features need reg above 0: it is the ridge that pulls factors towards what their "
                "features say"
            )
        return users, items

    @contextmanager
    def _whole_or_unchanged(self) -> Iterator[None]:
        """Undo what was set on the way, the width for one, unless a whole model was stored."""
        before = dict(vars(self))
        try:
            yield
        except BaseException as error:
            if vars(self).get("user_factors_") is before.get("user_factors_"):
                self.__dict__ = before
            if isinstance(error, MemoryError):
                raise MemoryError(
                    f"{type(self).__name__}(n_factors={self.n_factors}) takes more memory than "
                    "there is: lower n_factors; estimate_memory tells what a fit takes"
                ) from error
            raise

    def _fit_from(self, X: Any, start: Any) -> None:
        """Fit by alternating least squares from a fitted model with no more factors; None: anew."""
        with self._whole_or_unchanged():
            self._check_parameters()  # type: ignore[attr-defined]
            ratings = self._ratings(X, reset=True)  # type: ignore[attr-defined]
            self._run_fit(ratings, X, None, start=start)

    def _run_fit(
        self,
        ratings: Ratings,
        X: Any,
        validation: Any,
        features: tuple[Features, Features] = (None, None),
        *,
        checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
        resume: bool = False,
        start: Any = None,
    ) -> None:
        """Run the solver on checked ratings and, only once that worked, store the model."""
        place = _checkpoint.as_checkpoint(checkpoint)
        if check_flag("resume", resume) and place is None:
            raise ValueError("resume needs checkpoint: the path that the interrupted fit was given")
        if ratings.nnz == 0:
            raise ValueError(
                f"X has no stored entries: {type(self).__name__} needs at least one "
                + ("value above 0" if self._implicit else "known rating")
            )
        found = _checkpoint.find(place.path) if resume and place is not None else None
        seed = seed_of(self.random_state) if found is None else found.seed
        train, held_out = ratings, None
        if validation is not None:
            held_out = self._validation_ratings(validation, X, ratings)
        elif self.early_stopping:
            train, held_out = over_entries(ratings.nnz, lambda: self._split(ratings, seed))
        solver = self._make_solver(train, features, seed)
        if start is not None:
            take_over(solver.tables, start)
        keeper, resumed = None, None
        if place is not None:
            keeper = _checkpoint.Keeper(
                place,
                type(self).__name__,
                plain_params(self),
                _checkpoint.fingerprint((ratings, held_out), features),
                seed,
            )
        if found is not None and keeper is not None:
            found.check(keeper)
            resumed = found.restore(solver.tables)
        schedule = _loop.Schedule(
            n_iter=self.n_iter,
            callback=self.callback,
            verbose=self.verbose,
            validation=None if held_out is None else self._metric(solver, train, held_out),
            patience=self.patience if self.early_stopping else None,
            keeper=keeper,
            resumed=resumed,
        )
        training = self._training(ratings, X)  # type: ignore[attr-defined]
        with _engine.single_threaded_blas():
            outcome = _loop.run(solver, schedule, type(self).__name__)
        try:
            fitted = self._result(solver, outcome)
        except KeyboardInterrupt:  # between the last epoch and here
            outcome.interrupted = True
            fitted = self._result(solver, outcome)
        del solver, schedule  # their arrays make room for the copy: it raises no peak
        with held_back():  # all at once: Ctrl-C falls before or after
            training["_seen"] = apart(training["_seen"], getattr(X, "matrix", X))
            self.__dict__ |= fitted | training
        if outcome.interrupted:
            raise KeyboardInterrupt

    def _validation_ratings(self, validation: Any, X: Any, ratings: Ratings) -> Ratings:
        from matfac.interactions import Interactions

        if isinstance(validation, Interactions) != isinstance(X, Interactions):
            raise TypeError("validation must be of X's kind: both matrices, or both Interactions")
        matrix = validation
        if isinstance(validation, Interactions):
            matrix = validation.aligned(X.user_ids, X.item_ids)
        held_out = check_matrix(
            self,
            matrix,
            check_dtype(self.dtype),
            reset=False,
            implicit=self._implicit,
            argument="validation",
        )
        if held_out.shape != ratings.shape:
            raise ValueError(
                f"validation must have X's shape {ratings.shape}, got {held_out.shape}"
            )
        if held_out.nnz == 0:
            raise ValueError("validation has no stored entries")
        return held_out

    def _split(self, ratings: Ratings, seed: int) -> tuple[Ratings, Ratings]:
        generator = np.random.default_rng(seed + 1)
        held_out = generator.random(ratings.nnz) < self.validation_fraction
        if not held_out.any() or held_out.all():
            raise ValueError(
                f"early_stopping needs entries on both sides of its split: X has {ratings.nnz}, "
                f"validation_fraction is {self.validation_fraction}; pass validation to fit, or "
                "turn early_stopping off"
            )
        return ratings.take(~held_out), ratings.take(held_out)

    def _result(self, solver: FittingSolver, outcome: _loop.Outcome) -> dict[str, Any]:
        """Return the fitted attributes; no model holds NaN or infinity.

        After Ctrl-C nothing is read that takes longer with larger tables: padding stays where it
        is, and the epoch's objective, the ridges of all factors in it, was finite.
        """
        user_bias, item_bias = solver.biases()

        def factors(name: str) -> Floats:
            padded, k = solver.tables[name], solver.k
            return freeze(padded[:, :k] if outcome.interrupted else _engine.factors_of(padded, k))

        result: dict[str, Any] = {
            "user_factors_": factors("users"),
            "item_factors_": factors("items"),
            "user_bias_": user_bias,
            "item_bias_": item_bias,
            "mean_": solver.objective.mean,
            "history_": outcome.history,
            "n_iter_": outcome.n_iter,
            "objective_": outcome.objective,
        }
        for side in ("user", "item"):
            mapped = f"{side}_features" in solver.tables
            result[f"{side}_feature_factors_"] = factors(f"{side}_features") if mapped else None
            result[f"{side}_feature_bias_"] = solver.tables.get(f"{side}_feature_bias")
        checked = () if outcome.interrupted else ("user_factors_", "item_factors_")
        for name in (*checked, "user_bias_", "item_bias_", "objective_"):
            value = result[name]
            if value is not None and not _engine.all_finite(np.atleast_1d(value)):
                raise ConvergenceError(
                    f"{type(self).__name__} ended with NaN or infinity in {name}, with "
                    f"{solver.step_size()}: a larger reg, a smaller scale of X or dtype='float64' "
                    "makes the problem better conditioned"
                )
        return result

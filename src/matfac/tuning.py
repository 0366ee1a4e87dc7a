"""Search for good parameters: a validation split, a log grid and successive halving."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid, ParameterSampler

from matfac import metrics, splits
from matfac._evaluate import RANKING_METRICS
from matfac._exceptions import ConvergenceError
from matfac._model import FactorModel
from matfac._progress import Bar, shown
from matfac._tune_result import ERRORS, Trial, TuneResult
from matfac._validation import check_flag, check_integer, seed_of
from matfac.interactions import Interactions

Grid = Mapping[str, Any] | Sequence[Mapping[str, Any]]

# Multiples of the model's own values: by default values go up in steps of about 3; the ridge of a
# ratings model, to which its error is more sensitive, in smaller ones.
STEPS = {
    "alpha0": (0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
    "alpha": (0.1, 0.3, 1.0, 3.0, 10.0),
    "reg": (0.1, 0.3, 1.0, 3.0, 10.0),
}
RATING_STEPS = (0.25, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0)
RUNGS = 3  # each doubles length and sweeps, and takes the best third of the last
LEAST_FACTORS, LEAST_SWEEPS = 16, 4


def tune(
    model: Any,
    X: Any,
    grid: Grid | None = None,
    *,
    n_trials: int | None = None,
    metric: str | None = None,
    split: tuple[Any, Any] | None = None,
    halving: bool = True,
    refit: bool = True,
    random_state: Any = 0,
    callback: Callable[[Trial], bool | None] | None = None,
    verbose: bool | None = None,
) -> TuneResult:
    """Search for the parameters of a model, and fit it with the best.

    Part of X is held out: a tenth of the entries for ratings, a tenth of each user's for feedback.
    All candidates are fitted at a quarter of `n_factors` and `n_iter`, but no fewer than 16 factors
    and 4 sweeps; the best third goes on at half of them, and the best third of those at full
    length: by alternating least squares from where it was (the new factors start at random), by
    other solvers from the start. Three candidates or fewer are all fitted at full length. All fits
    are without weights and side features; docs/tuning.md shows the final fit with them.

    Parameters
    ----------
    model : ExplicitMF, ImplicitMF or another estimator with `n_factors` and `n_iter`
        Not changed. Its parameters hold where the grid has none.
    X : as for the model's `fit`
    grid : dict, or list of dicts, optional
        Values, or with `n_trials` also SciPy distributions, by parameter, as for scikit-learn's
        ``ParameterGrid``. None: multiples of the model's own `reg` and, for feedback, of its
        `alpha0` or `alpha`, in log steps.
    n_trials : int, optional
        Draw this many candidates at random; None tries the whole grid.
    metric : str, optional
        "rmse" or "mae", or a metric of rankings with its cut-off, such as "recall@20"; see
        `matfac.metrics.evaluate`. None: "rmse" for ratings, "ndcg@10" for feedback.
    split : (train, validation), optional
        Matrices of one shape, or Interactions, in place of the parts made here, as of
        `matfac.splits.temporal`. The best model is fitted to X all the same.
    halving : bool
        False fits every candidate at full length.
    refit : bool
        Fit the best to all of X.
    random_state : int, RandomState or None
        Seed of the split and the draws, and of the model where it has none of its own.
    callback : callable, optional
        Called with each finished trial; returning True ends the search.
    verbose : bool or None
        Progress bar on standard error. None: on a terminal only.

    Returns
    -------
    TuneResult

    Raises
    ------
    ValueError, TypeError
        Naming the argument; also where no candidate could be fitted.
    KeyboardInterrupt
        On Ctrl-C before the first trial is done. Later, the result holds what there is.

    Examples
    --------
    >>> import matfac
    >>> clicks = matfac.datasets.planted_clicks(300, 100, 6000, seed=0)
    >>> result = matfac.tune(
    ...     matfac.ImplicitMF(n_factors=16, random_state=0),
    ...     clicks.train,
    ...     {"alpha0": [0.03, 0.3], "reg": [0.001, 0.01]},
    ... )
    >>> sorted(result.best_params), len(result.trials)
    (['alpha0', 'reg'], 7)
    >>> result.model.recommend([0], k=3)[0].shape
    (1, 3)
    """
    if not isinstance(model, FactorModel):
        raise TypeError(
            f"model must be an ExplicitMF, ImplicitMF or RankingMF, got {type(model).__name__}"
        )
    halving, refit = check_flag("halving", halving), check_flag("refit", refit)
    candidates = _candidates(model, grid, n_trials, random_state)
    result = TuneResult(_check_metric(metric, model))
    parts = _parts(model, X, split, random_state)
    rungs = RUNGS if halving and len(candidates) > 3 else 1
    counts = [math.ceil(len(candidates) / 3**rung) for rung in range(rungs)]
    runners = [_Runner(_prepared(model, params, random_state), params) for params in candidates]
    show = shown(verbose)
    bar = Bar(total=sum(counts), desc="tune", disable=not show, unit="trial")
    try:
        _search(result, runners, counts, parts, callback, bar)
    except KeyboardInterrupt:
        if not result.trials:
            raise
        result.interrupted = True
    finally:
        bar.close()
    result._conclude(list(dict.fromkeys(name for params in candidates for name in params)))
    if refit and not result.interrupted:
        best = clone(model).set_params(**result.best_params)
        if best.random_state is None:
            best.set_params(random_state=seed_of(random_state))
        result.model = best
        try:
            best.fit(X)
        except KeyboardInterrupt:
            result.interrupted = True
            if not hasattr(best, "item_factors_"):  # before its first epoch was done
                result.model = None
    return result


def _search(
    result: TuneResult,
    runners: list[_Runner],
    counts: list[int],
    parts: tuple[sp.csr_array, sp.csr_array],
    callback: Callable[[Trial], bool | None] | None,
    bar: Bar,
) -> None:
    """Fit `counts` of the candidates, the best of the rung before, until the callback ends it."""
    for rung, count in enumerate(counts):
        runners = runners[:count]
        for runner in runners:
            trial = runner.run(rung, 2.0 ** (rung - len(counts) + 1), parts, result.metric)
            result.trials.append(trial)
            bar.update()
            bar.set_postfix(best=f"{result._leader()['score']:.5g}")
            if callback is not None and callback(dict(trial)):
                return
        runners.sort(key=lambda runner: result._rank(runner.trial), reverse=True)


class _Runner:
    """A candidate: its full-length model, its last trial and that trial's fitted model."""

    def __init__(self, full: Any, params: dict[str, Any]) -> None:
        self.full = full
        self.params = params
        self.trial: Trial = {}
        self.fitted: Any = None

    def run(
        self, rung: int, share: float, parts: tuple[sp.csr_array, sp.csr_array], metric: str
    ) -> Trial:
        """Fit at a share of the full length, from the fitted model of the rung before."""
        start = time.perf_counter()
        full, before = self.full, self.fitted
        n_factors = _share(full.n_factors, share, LEAST_FACTORS)
        n_iter = _share(full.n_iter, share, LEAST_SWEEPS)
        if getattr(full, "solver", "als") != "als":
            before = None
        done = 0 if before is None else _share(full.n_iter, share / 2, LEAST_SWEEPS)
        self.fitted = clone(full).set_params(n_factors=n_factors, n_iter=max(n_iter - done, 1))
        self.trial = {"rung": rung, **self.params, "n_factors": n_factors, "n_iter": n_iter}
        try:
            self.fitted._fit_from(parts[0], before)
            self.trial["score"] = _score(self.fitted, parts[1], metric)
        except ConvergenceError:
            self.fitted, self.trial["score"] = None, math.nan
        self.trial["seconds"] = time.perf_counter() - start
        return self.trial


def _candidates(model: Any, grid: Grid | None, n_trials: int | None, seed: Any) -> list[Any]:
    if grid is None:
        steps = dict(STEPS) if model._implicit else {"reg": RATING_STEPS}
        grid = {}
        for name, multiples in steps.items():
            own = getattr(model, name, None)
            if name == "alpha0" and own is None and getattr(model, "alpha", 0) is None:
                own = model._objective().alpha
            if name == "reg" and own is None:
                own = model._objective().reg
            if own:
                grid[name] = [own * step for step in multiples]
    known = model.get_params()
    for part in [grid] if isinstance(grid, Mapping) else grid:
        for name in part:
            if name not in known:
                raise ValueError(
                    f"grid has {name!r}, which is no parameter of {type(model).__name__}: "
                    f"it has {', '.join(sorted(known))}"
                )
    if n_trials is None:
        return list(ParameterGrid(grid))
    wanted = check_integer("n_trials", n_trials, minimum=1)
    parts = [grid] if isinstance(grid, Mapping) else list(grid)
    if all(isinstance(v, Sequence | np.ndarray) for part in parts for v in part.values()):
        wanted = min(wanted, len(ParameterGrid(grid)))
    return list(ParameterSampler(grid, wanted, random_state=seed_of(seed)))


def _check_metric(metric: Any, model: Any) -> str:
    if metric is None:
        return "ndcg@10" if model._implicit else "rmse"
    lists = "|".join(name for name in RANKING_METRICS if name != "auc")
    if isinstance(metric, str) and re.fullmatch(rf"rmse|mae|auc|({lists})@[1-9][0-9]*", metric):
        return metric
    raise ValueError(
        f"metric must be one of {', '.join(ERRORS)}, auc, or name@k with a name of "
        f"{', '.join(n for n in RANKING_METRICS if n != 'auc')}, got {metric!r}"
    )


def _parts(model: Any, X: Any, split: Any, seed: Any) -> tuple[sp.csr_array, sp.csr_array]:
    if split is not None:
        if not (isinstance(split, list | tuple) and len(split) == 2):
            parted = isinstance(split, list | tuple)
            found = f"{len(split)} parts" if parted else type(split).__name__
            raise TypeError(f"split must be a pair (train, validation), got {found}")
        train, held_out = split
        if isinstance(train, Interactions) and isinstance(held_out, Interactions):
            held_out = held_out.aligned(train.user_ids, train.item_ids)
        parts = _matrix(model, train), _matrix(model, held_out)
        if parts[0].shape != parts[1].shape:
            raise ValueError(
                f"split must be two matrices of one shape, got {parts[0].shape}, {parts[1].shape}"
            )
        return parts
    matrix = _matrix(model, X)
    if model._implicit:
        return splits.per_user(matrix, 0.1, random_state=seed_of(seed))
    return splits.entries(matrix, 0.1, random_state=seed_of(seed))


def _matrix(model: Any, X: Any) -> sp.csr_array:
    ratings = clone(model)._ratings(X, reset=True)
    return sp.csr_array((ratings.values, ratings.indices, ratings.indptr), shape=ratings.shape)


def _prepared(model: Any, params: dict[str, Any], seed: Any) -> Any:
    own = clone(model).set_params(**params)
    own.set_params(verbose=False, callback=None, early_stopping=False)
    return own if own.random_state is not None else own.set_params(random_state=seed_of(seed))


def _share(whole: int, share: float, least: int) -> int:
    return max(min(whole, least), math.ceil(whole * share))


def _score(model: Any, held_out: sp.csr_array, metric: str) -> float:
    if metric in ERRORS:
        coo = held_out.tocoo()
        return ERRORS[metric](coo.data, model.predict(*coo.coords))
    name, _, cut = metric.partition("@")
    result = metrics.evaluate(model, held_out, k=int(cut or 10), metrics=name)
    return float(result[metric])

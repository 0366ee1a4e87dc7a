"""Rank all items for every test user, and score the rankings: what `metrics.evaluate` does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from matfac import _core, _engine
from matfac._engine import Floats
from matfac._ratings import Pattern, take_rows
from matfac._serving import Serving
from matfac._validation import (
    check_flag,
    check_integer,
    check_pattern,
    check_threads,
)
from matfac.interactions import Interactions

Array: TypeAlias = NDArray[np.float64]

# Those with a value per user, and those of all lists together.
RANKING_METRICS = (*_core.LIST_METRICS, "auc", "novelty")
AGGREGATE_METRICS = ("coverage",)
DEFAULT = ("hit_rate", "recall", "precision", "ndcg", "map", "mrr")


@dataclass(frozen=True)
class Side:
    """What is ranked: a row of factors per row of the test data, and the items."""

    queries: Floats
    items: Floats
    item_bias: Floats | None
    user_ids: NDArray[Any] | None
    item_ids: NDArray[Any] | None
    seen: Pattern | None  # of the rows of `queries`
    trained: Pattern | None  # of training, for popularity
    n_threads: int | None

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.queries), len(self.items)


def list_metrics(
    lists: NDArray[np.int32], relevant: Pattern, k: int, n_threads: int
) -> dict[str, Array]:
    """Return every metric of lists at cut-off k, each of shape (n_users,)."""
    table = _core.list_metrics(
        lists=lists,
        relevant_indptr=relevant[0],
        relevant_indices=relevant[1],
        k=k,
        n_threads=n_threads,
    )
    return dict(zip(_core.LIST_METRICS, table.T, strict=True))


def surprise(trained: Pattern, n_items: int) -> Array:
    """Return each item's -log2 of the share of users that have it; none counts as one user."""
    n_users = len(trained[0]) - 1
    counts = np.bincount(trained[1], minlength=n_items)
    return np.asarray(np.log2(n_users) - np.log2(np.maximum(counts, 1)))


def mean_surprise(lists: NDArray[np.int32], per_item: Array) -> Array:
    """Return the mean of `per_item` over each list; NaN for an empty list."""
    listed = lists >= 0
    sums = np.where(listed, per_item[lists], 0).sum(axis=1)
    out = np.full(len(lists), np.nan)
    np.divide(sums, listed.sum(axis=1), out=out, where=listed.any(axis=1))
    return out


def covered(lists: NDArray[np.int32], n_items: int) -> float:
    """Return the share of the items that are in any list."""
    return len(np.unique(lists[lists >= 0])) / n_items


def evaluate(
    model: Any,
    test: Any,
    *,
    X: Any = None,
    train: Any = None,
    exclude_seen: bool = True,
    k: int | Sequence[int] = 10,
    metrics: str | Iterable[str] = DEFAULT,
    per_user: bool = False,
    n_threads: int | None = None,
) -> dict[str, Any]:
    """Rank all items for every test user, and return the mean of each metric over the users.

    Parameters
    ----------
    model : fitted estimator, or tuple (user_factors, item_factors[, item_bias])
        What ranks: by the product of the factors plus the item's bias.
    test : sparse matrix of shape (n_users, n_items), or Interactions
        Held-out feedback. Every stored entry that is not 0 is a relevant item, whatever its value
        (``test >= 4`` keeps the ratings that count). An Interactions is matched by ids.
    X : sparse matrix of shape (n_rows, n_items), or Interactions, optional
        Rows of users to fold in, for whom `test`, then of n_rows rows, holds the targets.
        Weights count as 1 and features as 0: with either, rank by the tuple of
        ``transform(X, ...)``, the items' factors and bias (a user bias changes no ranking, so
        leave out its column), and give X as `train`.
    train : sparse matrix of shape (n_users, n_items), or Interactions, optional
        Entries whose items are left out of a user's ranking. None: the model's own training
        entries, or those of `X`. Training and validation entries together are
        ``train + validation``.
    exclude_seen : bool
        False ranks all items.
    k : int or sequence of int
        Cut-off, or cut-offs, of the lists.
    metrics : str, or iterable of str
        Of "hit_rate", "precision", "recall" (hits over relevant items), "recall_capped" (hits over
        the lesser of k and relevant items), "ndcg", "map", "mrr", "auc", "novelty", "coverage".
    per_user : bool
        Return the values of the users instead of their means.
    n_threads : int or None
        None: that of the model, else as the estimators' own.

    Returns
    -------
    dict
        "name@k" for each metric and cut-off ("auc" has none), a float; and the counts, int:
        "n_users" that the means are over, "n_skipped" users of `test` who have no relevant item or
        are unknown to the model, "n_dropped" entries of `test` whose user or item is unknown to it,
        and "n_seen" entries of `test` that are excluded as seen, so that no list can hold them
        (they count as relevant still, but for "auc"). With `per_user` ndarrays of shape (n_users,)
        in place of the floats and, in place of the counts, "users": the ids or indices that the
        values belong to.

    Raises
    ------
    ValueError, TypeError
        Naming the argument: another shape, negative or infinite values in `test`, no relevant
        items at all, all of them seen, nothing known to leave out, an unknown metric.

    Notes
    -----
    Equal scores are ranked by the lower item index, as in ``recommend``; for "auc" they count half.
    The definitions are in docs/evaluation.md. "auc" of a user without a pair to compare is NaN and
    no part of the mean. Memory: the lists, of max(k) items per user; never users x items.

    Examples
    --------
    >>> from matfac import ImplicitMF, datasets, metrics
    >>> data = datasets.planted_clicks(300, 100, 6000, seed=0)
    >>> model = ImplicitMF(n_factors=8, random_state=0).fit(data.train)
    >>> result = metrics.evaluate(model, data.test, k=(5, 10), metrics=("ndcg", "auc"))
    >>> sorted(result)
    ['auc', 'n_dropped', 'n_seen', 'n_skipped', 'n_users', 'ndcg@10', 'ndcg@5']
    >>> result["auc"] > 0.7, result["n_users"]
    (True, 299)
    """
    check_flag("exclude_seen", exclude_seen)
    names, cuts = _check_metrics(metrics, check_flag("per_user", per_user)), _check_cuts(k)
    side = side_of(model, X)
    threads = check_threads(side.n_threads if n_threads is None else n_threads)
    relevant, n_rows, dropped = aligned(test, side, "test")
    if train is not None:
        trained = aligned(train, side, "train")[0]
        side = Side(**{**vars(side), "seen": trained, "trained": trained})
    if exclude_seen and side.seen is None:
        raise ValueError(
            "there is nothing known to leave out of the rankings: give train, the entries of "
            "training, or exclude_seen=False to rank all items"
        )
    users = np.flatnonzero(np.diff(relevant[0]))
    if len(users) == 0:
        raise ValueError("test has no relevant item of a user and an item that the model knows")
    relevant = take_rows(*relevant, users)
    seen = take_rows(*side.seen, users) if exclude_seen and side.seen is not None else None
    n_seen = 0 if seen is None else overlap(relevant, seen, side.shape[1])
    if n_seen == len(relevant[1]):
        raise ValueError(
            "every entry of test is among the seen entries, whose items are left out of the "
            "rankings: test has to be held out of training; or give exclude_seen=False"
        )
    values = _values(side, users, relevant, seen, names, cuts, threads)
    if per_user:
        values["users"] = users if side.user_ids is None else side.user_ids[users]
        return values
    means: dict[str, Any] = {name: _mean(value) for name, value in values.items()}
    counts = {"n_users": len(users), "n_skipped": n_rows - len(users)}
    return {**means, **counts, "n_dropped": dropped, "n_seen": n_seen}


def _values(
    side: Side,
    users: NDArray[np.int64],
    relevant: Pattern,
    seen: Pattern | None,
    names: list[str],
    cuts: list[int],
    threads: int,
) -> dict[str, Any]:
    """Return each metric's values, one per user; those of all lists together as they are."""
    n_items = side.shape[1]
    scoring: dict[str, Any] = {
        "k": side.items.shape[1],
        "queries": _engine.table(np.ascontiguousarray(side.queries[users])),
        "items": _engine.table(side.items),
        "item_bias": side.item_bias,
        "exclude": [] if seen is None else [seen],
        "n_threads": threads,
    }
    lists = np.empty((len(users), 0), np.int32)
    if set(names) != {"auc"}:
        lists, _ = _core.top_k(**scoring, n_best=min(max(cuts), n_items))
    values: dict[str, Any] = {}
    if "auc" in names:
        values["auc"] = _core.auc(
            **scoring, relevant_indptr=relevant[0], relevant_indices=relevant[1]
        )
    for k in cuts:
        of_lists: dict[str, Any] = dict(list_metrics(lists, relevant, k, threads))
        if "novelty" in names:
            of_lists["novelty"] = mean_surprise(lists[:, :k], _surprise_of(side))
        of_lists["coverage"] = covered(lists[:, :k], n_items)
        values |= {f"{name}@{k}": of_lists[name] for name in names if name != "auc"}
    return values


def _surprise_of(side: Side) -> Array:
    if side.trained is None:
        raise ValueError(
            "novelty needs the training entries, for the popularity of the items: give train"
        )
    return surprise(side.trained, side.shape[1])


def _mean(values: Any) -> float:
    known = np.asarray(values)[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def side_of(model: Any, X: Any) -> Side:
    if isinstance(model, Serving):
        return _side_of_model(model, X)
    if not isinstance(model, tuple | list) or len(model) not in (2, 3):
        raise TypeError(
            "model must be a fitted estimator or a tuple (user_factors, item_factors[, item_bias]),"
            f" got {type(model).__name__}"
        )
    if X is not None:
        raise ValueError("X is folded in by a fitted estimator: factors alone cannot")
    arrays = [np.asarray(part) for part in model]
    single = all(array.dtype == np.float32 for array in arrays)
    users, items, *bias = (array.astype(np.float32 if single else np.float64) for array in arrays)
    for name, table in (("user_factors", users), ("item_factors", items)):
        if table.ndim != 2 or table.shape[1] < 1 or table.shape[1] != items.shape[-1]:
            raise ValueError(
                "user_factors and item_factors must have shapes (n_users, n_factors) and "
                f"(n_items, n_factors), got {users.shape} and {items.shape}"
            )
        if not np.isfinite(table).all():
            raise ValueError(f"{name} holds values that are not finite")
    if bias and (bias[0].shape != (len(items),) or not np.isfinite(bias[0]).all()):
        raise ValueError(
            f"item_bias must hold a finite number for each of the {len(items)} items, got shape "
            f"{bias[0].shape}"
        )
    return Side(users, items, bias[0] if bias else None, None, None, None, None, None)


def _side_of_model(model: Any, X: Any) -> Side:
    check_is_fitted(model)
    factors, seen, user_ids = model.user_factors_, model._seen, model.user_ids_
    if X is not None:
        ratings = model._ratings(X, reset=False)
        factors, _ = model._fold_in(ratings, "users")
        seen = ratings.indptr, ratings.indices
        user_ids = X.user_ids if isinstance(X, Interactions) else None
    return Side(
        factors, model.item_factors_, model.item_bias_, user_ids, model.item_ids_, seen,
        model._seen, model.n_threads,
    )  # fmt: skip


def aligned(data: Any, side: Side, argument: str) -> tuple[Pattern, int, int]:
    """Return the pattern over the rows and items of `side`, the rows given, and entries dropped."""
    if not isinstance(data, Interactions):
        return check_pattern(data, argument, side.shape), side.shape[0], 0
    if side.user_ids is None or side.item_ids is None:
        raise ValueError(
            f"{argument} is an Interactions, but there are no ids to match its own with: fit on an "
            "Interactions (and give X as one), or pass a matrix"
        )
    matrix = data.aligned(side.user_ids, side.item_ids)
    return check_pattern(matrix, argument), data.shape[0], data.nnz - matrix.nnz


def overlap(one: Pattern, other: Pattern, width: int) -> int:
    """Count the entries that two patterns of the same rows share."""
    keys = [
        np.repeat(np.arange(len(indptr) - 1), np.diff(indptr)) * width + indices
        for indptr, indices in (one, other)
    ]
    at = np.searchsorted(keys[1], keys[0])
    return int((keys[1][np.minimum(at, len(keys[1]) - 1)] == keys[0]).sum()) if len(keys[1]) else 0


def _check_metrics(metrics: str | Iterable[str], per_user: bool) -> list[str]:
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    known = (*RANKING_METRICS, *AGGREGATE_METRICS)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        found = repr(unknown[0]) if unknown else "none"
        hint = ""
        if unknown and unknown[0] in ("rmse", "mae"):
            hint = f"; metrics.{unknown[0]} compares ratings with model.predict(users, items)"
        raise ValueError(f"metrics must be of {', '.join(known)}, got {found}{hint}")
    if per_user and (whole := set(names) & set(AGGREGATE_METRICS)):
        raise ValueError(f"{whole.pop()} has no value per user: leave it out, or per_user=False")
    return names


def _check_cuts(k: Any) -> list[int]:
    cuts = list(k) if isinstance(k, Sequence | np.ndarray) and not isinstance(k, str) else [k]
    if not cuts:
        raise ValueError("k must hold at least one cut-off")
    return [check_integer("k", cut, minimum=1) for cut in cuts]

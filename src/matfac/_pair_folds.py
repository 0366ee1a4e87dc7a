"""Folds of (user, item) pairs for scikit-learn's cross-validation tools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import BaseCrossValidator

from matfac._assemble import check_times
from matfac._ids import factorize
from matfac._validation import check_integer, seed_of
from matfac.pairs import columns_of


class PerUserKFold(BaseCrossValidator):
    """Folds of (user, item) pairs over which each user's pairs are dealt out evenly.

    A pair that occurs again goes where it went before: none is in training and test at once.
    Users who have fewer pairs than there are folds are missing in some tests, and one with a
    single pair is unknown to the training of its fold.

    Parameters
    ----------
    n_splits : int
        Number of folds.
    random_state : int, RandomState or None
        Seed of the dealing.

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> from matfac import ExplicitMF, RatingRegressor, datasets, splits
    >>> ratings = datasets.planted_ratings(100, 60, 2000, seed=0).train.tocoo()
    >>> pairs = np.column_stack(ratings.coords)
    >>> model = RatingRegressor(ExplicitMF(n_factors=4, random_state=0))
    >>> cv = splits.PerUserKFold(3, random_state=0)
    >>> len(cross_val_score(model, pairs, ratings.data, cv=cv))
    3
    """

    def __init__(self, n_splits: int = 5, *, random_state: Any = None) -> None:
        self.n_splits = n_splits
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds."""
        return check_integer("n_splits", self.n_splits, minimum=2)

    def _iter_test_masks(
        self, X: Any = None, y: Any = None, groups: Any = None
    ) -> Iterator[NDArray[np.bool_]]:
        n_splits = self.get_n_splits()
        (_, users), (item_index, items) = (
            factorize(ids, name)
            for ids, name in zip(columns_of(X), ("users", "items"), strict=True)
        )
        pairs, where = np.unique(
            users.astype(np.int64) * len(item_index) + items, return_inverse=True
        )
        if len(pairs) < n_splits:
            raise ValueError(f"n_splits={n_splits} is more than the {len(pairs)} distinct pairs")
        rng = np.random.default_rng(seed_of(self.random_state))
        order = np.lexsort((rng.random(len(pairs)), pairs // len(item_index)))
        fold = np.empty(len(pairs), np.int64)
        fold[order] = np.arange(len(pairs)) % n_splits
        for number in range(n_splits):
            yield fold[where.reshape(-1)] == number


class TemporalKFold(BaseCrossValidator):
    """Folds of pairs that train on the past and test on what comes next.

    The pairs, by time, fall into n_splits + 1 blocks of about one size; fold i tests on block
    i + 1 and trains on all before it. Equal times stay together. The times go in as `groups`:
    ``cross_val_score(model, pairs, y, cv=TemporalKFold(5), groups=timestamps)``.

    Parameters
    ----------
    n_splits : int
        Number of folds.

    Examples
    --------
    >>> from matfac import splits
    >>> pairs = [["ann", 1], ["ann", 2], ["bob", 1], ["bob", 2]]
    >>> cv = splits.TemporalKFold(3)
    >>> for train, test in cv.split(pairs, groups=[40, 10, 30, 20]):
    ...     print(train, test)
    [1] [3]
    [1 3] [2]
    [1 2 3] [0]
    """

    def __init__(self, n_splits: int = 5) -> None:
        self.n_splits = n_splits

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds."""
        return check_integer("n_splits", self.n_splits, minimum=1)

    def split(
        self, X: Any, y: Any = None, groups: ArrayLike | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield the pairs to train and to test on.

        Parameters
        ----------
        X : array-like or frame of shape (n, 2)
            Pairs.
        y : None
            Ignored.
        groups : array-like of shape (n,)
            Time of each pair, numbers or datetimes.

        Yields
        ------
        train, test : ndarray of int64
            Their numbers.
        """
        n_splits = self.get_n_splits()
        if groups is None:
            raise ValueError("groups must hold the time of each pair: pass groups=timestamps")
        times, n = check_times(groups), len(X)
        if len(times) != n:
            raise ValueError(f"groups holds {len(times)} times, but X has {n} pairs")
        ordered = np.sort(times)
        cuts = ordered[[n * i // (n_splits + 1) for i in range(1, n_splits + 1)]]
        ends = [*cuts, None]
        if cuts[0] == ordered[0] or (np.diff(cuts) <= 0).any():
            raise ValueError(
                f"n_splits={n_splits} asks for {n_splits + 1} blocks, but {n} pairs of "
                f"{len(np.unique(times))} different times do not part into as many"
            )
        for start, end in zip(cuts, ends[1:], strict=True):
            test = times >= start if end is None else (times >= start) & (times < end)
            yield np.flatnonzero(times < start), np.flatnonzero(test)

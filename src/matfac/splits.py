"""Training and test data that share nothing.

Every function takes a sparse matrix of users x items, or an `Interactions`, and returns parts of
the same kind. Each entry is in exactly one part. Times are those of the Interactions or, beside a
matrix, `timestamps`: one per entry in the order of a canonical CSR matrix, numbers or datetimes
(which count as seconds since 1970).

`PerUserKFold` and `TemporalKFold` split (user, item) pairs, for `RatingRegressor` in scikit-learn's
``cross_val_score`` and ``GridSearchCV``.
"""

from __future__ import annotations

import itertools
import numbers
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from matfac._entries import Entries, check_time
from matfac._interruptible import over_entries
from matfac._pair_folds import PerUserKFold, TemporalKFold
from matfac._validation import check_flag, check_integer, check_real, seed_of

__all__ = [
    "PerUserKFold", "TemporalKFold", "UserSplit", "entries", "held_out_users", "leave_one_out",
    "per_user", "temporal",
]  # fmt: skip


def entries(X: Any, test_size: float = 0.2, *, random_state: Any = None) -> tuple[Any, Any]:
    """Hold out entries, whoever's they are.

    Parameters
    ----------
    X : sparse matrix of shape (n_users, n_items), or Interactions
        Stored entries are the known ones.
    test_size : int or float
        Number of entries, or share of them (between 0 and 1), in the test part.
    random_state : int, RandomState or None
        Seed.

    Returns
    -------
    train, test : as X
        Of X's shape. A user or item may have all its entries in one of them.

    Raises
    ------
    ValueError, TypeError
        Naming the argument.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> from matfac import splits
    >>> train, test = splits.entries(sp.csr_array([[5, 3], [4, 0], [1, 2]]), 2, random_state=0)
    >>> train.nnz, test.nnz
    (3, 2)
    """
    data = Entries.of(X, None)
    n_test = _number("test_size", test_size, data.csr.nnz, "entries")
    held_out = np.zeros(data.csr.nnz, bool)
    rng = np.random.default_rng(seed_of(random_state))
    shuffled = over_entries(data.csr.nnz, lambda: rng.permutation(data.csr.nnz))
    held_out[shuffled[:n_test]] = True
    return data.take(~held_out), data.take(held_out)


def per_user(
    X: Any,
    test_size: float = 0.2,
    *,
    latest: bool = False,
    timestamps: ArrayLike | None = None,
    random_state: Any = None,
) -> tuple[Any, Any]:
    """Hold out entries of every user, and leave every user some.

    Parameters
    ----------
    X : sparse matrix of shape (n_users, n_items), or Interactions
        Stored entries are the known ones.
    test_size : int or float
        Entries of each user in the test part: a number, which takes none from a user who has no
        more than that; or a share between 0 and 1, rounded, but at least one and never all of two
        or more. A single entry stays in the training part.
    latest : bool
        Hold out a user's latest entries (of equal times, those of the higher item index) instead
        of random ones. Times are compared within a user only: other users' entries in training
        may be later; `temporal` cuts at one time.
    timestamps : array-like of shape (nnz,), optional
        Times of a matrix's entries.
    random_state : int, RandomState or None
        Seed.

    Returns
    -------
    train, test : as X
        Of X's shape.

    Raises
    ------
    ValueError, TypeError
        Naming the argument.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> from matfac import splits
    >>> train, test = splits.per_user(sp.csr_array([[5, 3, 1, 2], [4, 0, 0, 0]]), 0.5)
    >>> train.nnz, test.nnz
    (3, 2)
    """
    data = Entries.of(X, timestamps)
    rng = np.random.default_rng(seed_of(random_state))
    held_out = _hold_out(data, _numbers_per_user("test_size", test_size, data.counts), latest, rng)
    if not held_out.any():
        raise ValueError(
            f"test_size={test_size} takes no entry: no user of X has more, the longest row holds "
            f"{data.counts.max()}"
        )
    return data.take(~held_out), data.take(held_out)


def leave_one_out(
    X: Any,
    *,
    latest: bool = True,
    timestamps: ArrayLike | None = None,
    random_state: Any = None,
) -> tuple[Any, Any]:
    """Hold out one entry of every user who has two or more: the latest, or a random one.

    Parameters, results and errors are those of `per_user`, of which this is ``test_size=1``.

    Examples
    --------
    >>> from matfac import Interactions, splits
    >>> data = Interactions.from_arrays(
    ...     ["ann", "ann", "bob"], ["up", "jaws", "up"], timestamps=[30, 20, 10]
    ... )
    >>> train, test = splits.leave_one_out(data)
    >>> test.matrix.toarray()
    array([[0., 1.],
           [0., 0.]], dtype=float32)
    """
    return per_user(X, 1, latest=latest, timestamps=timestamps, random_state=random_state)


def temporal(
    X: Any, test_size: float = 0.2, *, cut: Any = None, timestamps: ArrayLike | None = None
) -> tuple[Any, Any]:
    """Hold out everything from one time on: nothing in training is as late as any test entry.

    Parameters
    ----------
    X : sparse matrix of shape (n_users, n_items), or Interactions
        Stored entries are the known ones.
    test_size : int or float
        Number or share of the entries in the test part. It gets more where the time of the cut
        occurs repeatedly.
    cut : number or datetime, optional
        First time of the test part, in place of `test_size`.
    timestamps : array-like of shape (nnz,), optional
        Times of a matrix's entries.

    Returns
    -------
    train, test : as X
        Of X's shape. Users and items may be in one of them only.

    Raises
    ------
    ValueError, TypeError
        Naming the argument; also where all entries would be on one side.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> from matfac import splits
    >>> X = sp.csr_array([[5, 3], [0, 4]])
    >>> train, test = splits.temporal(X, cut=20, timestamps=[30, 10, 20])
    >>> train.toarray()
    array([[0, 3],
           [0, 0]])
    """
    data = Entries.of(X, timestamps)
    times = data.known_times("")
    if cut is None:
        n_test = _number("test_size", test_size, len(times), "entries")
        first = np.partition(times, len(times) - n_test)[len(times) - n_test]
    else:
        first = check_time("cut", cut)
    held_out = times >= first
    if held_out.all() or not held_out.any():
        raise ValueError(
            f"{'test_size' if cut is None else 'cut'} leaves all entries on one side of the time "
            f"{first}: those of X run from {times.min()} to {times.max()}"
        )
    return data.take(~held_out), data.take(held_out)


@dataclass(frozen=True)
class UserSplit:
    """Users to train on, and users to fold in and to predict: strong generalisation.

    Attributes
    ----------
    train : matrix of shape (n_train_users, n_items), or Interactions
        All entries of the training users.
    fold_in, target : matrix of shape (n_test_users, n_items), or Interactions
        The entries of the test users: those that a model may see, and those it has to predict.
    train_users, test_users : ndarray of int64
        Their rows in X, rising: disjoint, and together all of them.
    """

    train: Any
    fold_in: Any
    target: Any
    train_users: NDArray[np.int64]
    test_users: NDArray[np.int64]


def held_out_users(
    X: Any,
    test_size: float = 0.2,
    *,
    target_size: float = 0.2,
    latest: bool = False,
    timestamps: ArrayLike | None = None,
    random_state: Any = None,
) -> UserSplit:
    """Hold out users: none of their entries is in training; part of them is there to fold in.

    Parameters
    ----------
    X : sparse matrix of shape (n_users, n_items), or Interactions
        Stored entries are the known ones.
    test_size : int or float
        Number of test users, or their share of all users, drawn from those with two entries or
        more.
    target_size : int or float
        Entries of each test user in `target`, as `test_size` of `per_user`.
    latest : bool
        Predict a test user's latest entries from the earlier ones.
    timestamps : array-like of shape (nnz,), optional
        Times of a matrix's entries.
    random_state : int, RandomState or None
        Seed.

    Returns
    -------
    UserSplit

    Raises
    ------
    ValueError, TypeError
        Naming the argument.

    Examples
    --------
    >>> from matfac import ImplicitMF, datasets, metrics, splits
    >>> clicks = datasets.planted_clicks(300, 100, 6000, seed=0).train
    >>> split = splits.held_out_users(clicks, 50, random_state=0)
    >>> model = ImplicitMF(n_factors=8, random_state=0).fit(split.train)
    >>> result = metrics.evaluate(model, split.target, X=split.fold_in)
    >>> result["n_users"]
    50
    """
    data = Entries.of(X, timestamps)
    n_test = _number("test_size", test_size, data.csr.shape[0], "users")
    rng = np.random.default_rng(seed_of(random_state))
    counts = _numbers_per_user("target_size", target_size, data.counts)
    able = np.flatnonzero(counts)
    if len(able) < n_test:
        raise ValueError(
            f"test_size asks for {n_test} test users, but only {len(able)} users of X have enough "
            "entries to be parted in fold-in and target"
        )
    test_users = np.sort(rng.permutation(able)[:n_test])
    is_test = np.zeros(data.csr.shape[0], bool)
    is_test[test_users] = True
    train_users = np.flatnonzero(~is_test)
    of_test = is_test[data.rows]
    if of_test.all():
        raise ValueError(f"test_size={test_size} leaves no entries to train on")
    target = _hold_out(data, np.where(is_test, counts, 0), latest, rng)
    return UserSplit(
        data.take(~of_test, train_users),
        data.take(of_test & ~target, test_users),
        data.take(target, test_users),
        train_users,
        test_users,
    )


def _hold_out(
    data: Entries, counts: NDArray[np.int64], latest: bool, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Mark `counts` entries of each row: the latest, or random ones."""
    nnz, rows = data.csr.nnz, data.rows
    latest = check_flag("latest", latest)
    key = data.known_times("; or latest=False, for random entries") if latest else rng.random(nnz)
    behind = data.csr.indptr[1:][rows] - np.arange(nnz)  # 1 for the last of a row
    last = behind <= counts[rows]
    held_out = np.zeros(nnz, bool)
    # Whole rows, some 200,000 entries at a time: one sort of all would keep Ctrl-C waiting.
    starts = np.searchsorted(data.csr.indptr, np.arange(0, nnz, 200_000))
    bounds = np.unique(np.append(data.csr.indptr[starts], nnz)).tolist()
    for a, b in itertools.pairwise(bounds):
        order = np.lexsort((key[a:b], rows[a:b]))  # stable: equal times keep the items' order
        held_out[a + order] = last[a:b]
    return held_out


def _number(name: str, size: Any, total: int, what: str) -> int:
    """Return how many of `total` a number or share is, at least one and not all."""
    if isinstance(size, numbers.Integral) and not isinstance(size, bool):
        n = check_integer(name, size, minimum=1)
    else:
        n = round(check_real(name, size, above=True, below=1.0) * total)
    if not 0 < n < total:
        raise ValueError(f"{name}={size} takes {n} of the {total} {what}: both sides need some")
    return n


def _numbers_per_user(name: str, size: Any, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    if isinstance(size, numbers.Integral) and not isinstance(size, bool):
        n = check_integer(name, size, minimum=1)
        return np.where(counts > n, n, 0)
    share = check_real(name, size, above=True, below=1.0)
    wanted = np.floor(share * counts + 0.5).astype(np.int64)
    return np.where(counts > 1, np.clip(wanted, 1, np.maximum(counts - 1, 1)), 0)

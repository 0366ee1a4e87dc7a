"""Weights of entries."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from matfac._entries import Entries, check_time
from matfac._validation import check_real


def time_decay(
    X: Any, half_life: Any, *, now: Any = None, timestamps: ArrayLike | None = None
) -> sp.csr_array:
    """Return a weight for each entry, which halves with every `half_life` of age.

    The weight of an entry of time t is 2 ** (-(now - t) / half_life): 1 at `now`. The result goes
    to ``fit(X, weights=...)``; without timestamps there can be no decay, and no guess is made.

    Parameters
    ----------
    X : Interactions with timestamps, or sparse matrix of shape (n_users, n_items)
        What is to be fitted.
    half_life : number or timedelta
        In the unit of the timestamps, which is seconds where they were datetimes.
    now : number or datetime, optional
        The time of weight 1, at or after every entry. None: that of the latest entry.
    timestamps : array-like of shape (nnz,), optional
        Times of a matrix's entries, in the order of a canonical CSR matrix.

    Returns
    -------
    csr_array of shape (n_users, n_items)
        The entries of X, with weights in (0, 1] in place of their values; 0 where they are too old
        for the dtype.

    Raises
    ------
    ValueError, TypeError
        Naming the argument. An entry later than `now` is an error: it lies in the future of `now`.

    Examples
    --------
    >>> from matfac import ExplicitMF, Interactions, time_decay
    >>> ratings = Interactions.from_arrays(
    ...     ["ann", "ann", "bob"], ["up", "jaws", "up"], [5, 1, 4], timestamps=[0, 60, 90]
    ... )
    >>> weights = time_decay(ratings, half_life=30)
    >>> weights.toarray()
    array([[0.5  , 0.125],
           [0.   , 1.   ]], dtype=float32)
    >>> model = ExplicitMF(n_factors=2).fit(ratings, weights=weights)
    """
    data = Entries.of(X, timestamps)
    times = data.known_times("")
    if isinstance(half_life, dt.timedelta | np.timedelta64):
        half_life = float(np.timedelta64(half_life) / np.timedelta64(1, "s"))
    half_life = check_real("half_life", half_life, above=True)
    latest = times.max().item()
    reference = latest if now is None else check_time("now", now)
    if latest > reference:
        late = int((times > reference).sum())
        raise ValueError(
            f"now={now} lies before {late} of the {len(times)} entries, the latest of time "
            f"{latest}: leave those out first, as splits.temporal(X, cut=now) does"
        )
    age = (reference - times).astype(np.float64)
    dtype = data.csr.dtype if data.csr.dtype.kind == "f" else np.dtype(np.float32)
    weights = np.exp2(-age / half_life).astype(dtype)
    made: sp.csr_array = sp.csr_array(
        (weights, data.csr.indices, data.csr.indptr), shape=data.csr.shape
    )
    return made

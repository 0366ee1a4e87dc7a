"""NumPy twin of an epoch on positives against sampled negatives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from matfac._reference_sgd import SgdState

Floats = NDArray[Any]


def trial_weights(trials: int, n_items: int) -> NDArray[np.float64]:
    """Return WARP's weights of a violation found at trial 1, 2, ..., `trials`.

    The sum of 1/r up to the rank that the trial t suggests, (n_items - 1) // t, over that sum up to
    n_items - 1.

    Examples
    --------
    >>> trial_weights(2, 5).round(2).tolist()
    [1.0, 0.72]
    """
    others = max(n_items - 1, 1)
    harmonic = np.concatenate(([0.0], np.cumsum(1 / np.arange(1, others + 1))))
    ranks = np.maximum(others // np.arange(1, trials + 1), 1)
    return np.asarray(harmonic[ranks] / harmonic[-1])


def pairwise_slopes(loss: str, scores: Floats) -> tuple[float, NDArray[np.float64]]:
    """Return the loss of a positive's score, ``scores[0]``, and its negatives', and the descent.

    The descent is minus the derivative by each score. "bpr" takes one negative, "warp" one that
    violates the margin, and leaves out the weight of its trial.

    Examples
    --------
    >>> value, slopes = pairwise_slopes("bpr", np.zeros(2))
    >>> round(value, 4), slopes.tolist()
    (0.6931, [0.5, -0.5])
    """
    s = np.asarray(scores, np.float64)
    if loss == "logistic":
        signed = s * np.where(np.arange(len(s)) == 0, -1.0, 1.0)
        slopes = _sigmoid(signed) * np.where(np.arange(len(s)) == 0, 1.0, -1.0)
        return float(np.logaddexp(0, signed).sum()), slopes
    if loss == "softmax":
        top = s.max()
        total = np.log(np.exp(s - top).sum()) + top
        slopes = -np.exp(s - total)
        slopes[0] += 1
        return float(total - s[0]), slopes
    if loss == "warp":
        return max(0.0, 1 - s[0] + s[1]), np.array([1.0, -1.0]) * (1 - s[0] + s[1] > 0)
    slope = float(_sigmoid(s[1] - s[0]))
    return float(np.logaddexp(0, s[1] - s[0])), np.array([slope, -slope])


def pairwise_epoch(
    samples: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
    state: SgdState,
    *,
    loss: str,
    rate: float,
    mean: float = 0.0,
    fit_bias: bool = True,
) -> tuple[float, int]:
    """Visit positives one after another, each with its draws; change `state` in place.

    Parameters
    ----------
    samples : (users, items, drawn)
        Vectors of length n, and an array n x negatives whose -1 end a row's draws.
    state : SgdState
    loss : {"bpr", "warp", "logistic", "softmax"}
    rate : float
        A row's step is this over the root of its sum of squared slopes so far. Its decay takes the
        row to zero at most.
    mean : float
        Offset of the scores.
    fit_bias : bool
        Move the biases too.

    Returns
    -------
    loss : float
        Sum of the losses, each just before its own step.
    n : int
        Positives that had a negative.

    Examples
    --------
    >>> state = SgdState(np.ones((1, 1)), np.array([[1.0], [1.0]]), np.zeros(1), np.zeros(2),
    ...                  np.ones(1), np.ones(2), np.zeros(1), np.zeros(2))
    >>> samples = np.array([0]), np.array([0]), np.array([[1]])
    >>> value, n = pairwise_epoch(samples, state, loss="bpr", rate=1.0)
    >>> round(value, 4), n, state.items.ravel().tolist()
    (0.6931, 1, [1.5, 0.5])
    """
    weights = trial_weights(samples[2].shape[1], len(state.items))
    total, count = 0.0, 0
    for u, i, drawn in zip(*samples, strict=True):
        negatives = drawn[: np.argmax(drawn < 0)] if (drawn < 0).any() else drawn
        if len(negatives) == 0:
            continue
        count += 1
        if loss in ("logistic", "softmax"):
            total += _step(state, u, np.array([i, *negatives]), loss, rate, mean, fit_bias)
        elif loss == "bpr":
            for j in negatives:
                total += _step(state, u, np.array([i, j]), loss, rate, mean, fit_bias)
        else:
            for t, j in enumerate(negatives):
                pair = np.array([i, j])
                scores = state.items[pair] @ state.users[u] + state.item_bias[pair]
                if 1 - scores[0] + scores[1] > 0:
                    total += _step(state, u, pair, loss, rate, mean, fit_bias, weights[t])
                    break
    return total, count


def _sigmoid(z: Any) -> Any:
    return np.exp(-np.logaddexp(0, -z))


def _step(
    state: SgdState,
    u: int,
    items: NDArray[Any],
    loss: str,
    rate: float,
    mean: float,
    fit_bias: bool,
    weight: float = 1.0,
) -> float:
    x = state.users[u].copy()
    offset = mean + state.user_bias[u]
    value, slopes = pairwise_slopes(loss, state.items[items] @ x + state.item_bias[items] + offset)
    slopes = slopes * weight
    along = np.zeros_like(x)
    for j, g in zip(items, slopes, strict=True):  # an item drawn twice takes two steps
        along += g * state.items[j]
        own = rate / np.sqrt(state.item_sums[j])
        decay = state.item_decay[j]
        state.items[j] = max(1 - own * decay, 0) * state.items[j] + own * g * x
        if fit_bias:
            state.item_bias[j] += own * (g - decay * state.item_bias[j])
        state.item_sums[j] += g**2
    own = rate / np.sqrt(state.user_sums[u])
    decay = state.user_decay[u] * (len(items) if loss == "logistic" else 1)
    state.users[u] = max(1 - own * decay, 0) * x + own * along
    if fit_bias and loss == "logistic":
        state.user_bias[u] += own * (slopes.sum() - decay * state.user_bias[u])
    state.user_sums[u] += slopes[0] ** 2 if loss in ("bpr", "warp") else (slopes**2).sum()
    return value * weight

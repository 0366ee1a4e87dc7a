"""NumPy twin of the SGD epoch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]


class SgdState(NamedTuple):
    """Everything an epoch changes (in place), and the decay it applies.

    users (n_users, K), items (n_items, K), user_bias and item_bias (n,), user_sums and item_sums
    (n,): running sums of squared errors, user_decay and item_decay (n,): ridge per visit.
    """

    users: Floats
    items: Floats
    user_bias: Floats
    item_bias: Floats
    user_sums: Floats
    item_sums: Floats
    user_decay: Floats
    item_decay: Floats


def sgd_epoch(
    visits: tuple[NDArray[Any], NDArray[Any], Floats, Floats | None],
    state: SgdState,
    *,
    mean: float,
    rate: float,
    bias_rate: float = 1.0,
    fit_bias: bool = True,
    nonnegative: bool = False,
) -> float:
    """Visit ratings one after another; return the sum of weight * error^2 met on the way.

    At each visit, with error e and weight w, a row x takes the step
    ``rate / sqrt(sum of (w e)^2 so far) * (w e y - w decay x)``, of which the decay takes x to zero
    at most; so do the biases, ``bias_rate`` times as far. ``nonnegative`` then takes factors below
    0 to 0.

    Examples
    --------
    >>> import numpy as np
    >>> state = SgdState(np.ones((1, 1)), np.ones((1, 1)), *(np.zeros(1) for _ in range(2)),
    ...                  *(np.ones(1) for _ in range(2)), *(np.zeros(1) for _ in range(2)))
    >>> visits = (np.array([0]), np.array([0]), np.array([2.0]), None)
    >>> sgd_epoch(visits, state, mean=0.0, rate=0.5)
    1.0
    >>> state.users.item(), state.user_bias.item(), state.user_sums.item()
    (1.5, 0.5, 2.0)
    """
    users, items, values, weights = visits
    loss = 0.0
    for j, (u, i, value) in enumerate(zip(users, items, values, strict=True)):
        w = 1.0 if weights is None else weights[j]
        x, y = state.users[u].copy(), state.items[i].copy()
        error = value - mean - state.user_bias[u] - state.item_bias[i] - x @ y
        rate_u = rate / np.sqrt(state.user_sums[u])
        rate_i = rate / np.sqrt(state.item_sums[i])
        keep_x = max(1 - rate_u * w * state.user_decay[u], 0)
        keep_y = max(1 - rate_i * w * state.item_decay[i], 0)
        state.users[u] = keep_x * x + rate_u * w * error * y
        state.items[i] = keep_y * y + rate_i * w * error * x
        if nonnegative:
            np.maximum(state.users[u], 0, out=state.users[u])
            np.maximum(state.items[i], 0, out=state.items[i])
        if fit_bias:
            b, c = state.user_bias[u], state.item_bias[i]
            state.user_bias[u] += bias_rate * rate_u * w * (error - state.user_decay[u] * b)
            state.item_bias[i] += bias_rate * rate_i * w * (error - state.item_decay[i] * c)
        state.user_sums[u] += (w * error) ** 2
        state.item_sums[i] += (w * error) ** 2
        loss += float(w * error**2)
    return loss

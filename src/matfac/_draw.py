"""Draw distinct (user, item) pairs at power-law activity and popularity, millions in seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 20  # proposals drawn and sorted at a time
Preference = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]  # (users, items) -> (0, 1]
Alias = tuple[NDArray[np.float64], NDArray[np.int64]]


def draw_counts(
    n_users: int, n_items: int, nnz: int, spread: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw how many items each user has: log-normal, at most all, at least one if that can be."""
    activity = rng.lognormal(0.0, spread, n_users)
    least = 1.0 if nnz >= n_users else 0.0
    low, high = 0.0, n_items / activity.min()
    for _ in range(100):
        scale = (low + high) / 2
        too_many = np.clip(activity * scale, least, n_items).sum() > nnz
        low, high = (low, scale) if too_many else (scale, high)
    counts = np.floor(np.clip(activity * low, least, n_items)).astype(np.int64)
    while missing := nnz - int(counts.sum()):  # what the rounding took away
        room = np.flatnonzero(counts < n_items)
        counts[rng.choice(room, min(missing, len(room)), replace=False)] += 1
    return counts


def draw_popularity(n_items: int, exponent: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return popularities that follow Zipf's law, in random order; they sum to 1."""
    popularity = np.arange(1, n_items + 1) ** -exponent
    return np.asarray(rng.permutation(popularity / popularity.sum()))


def draw_items(
    counts: NDArray[np.int64],
    popularity: NDArray[np.float64],
    rng: np.random.Generator,
    preference: Preference | None = None,
) -> NDArray[np.int32]:
    """Draw each user's distinct items, with probability popularity times preference.

    Returns
    -------
    ndarray of shape (counts.sum(),)
        User after user, sorted within each.
    """
    n_items = len(popularity)
    starts = np.concatenate(([0], np.cumsum(counts)))
    items = np.empty(starts[-1], np.int32)
    surplus = 1.3
    if preference is not None:
        u = rng.integers(len(counts), size=4096)
        i = rng.choice(n_items, 4096, p=popularity)
        surplus /= max(float(preference(u, i).mean()), 0.01)
    heavy = counts * 8 > n_items  # proposals would mostly repeat
    light = np.flatnonzero(~heavy & (counts > 0))
    block = np.cumsum(counts[light] * surplus + 8) // BLOCK
    late = [np.flatnonzero(heavy)]
    alias = _alias(popularity)
    for users in np.split(light, np.flatnonzero(np.diff(block)) + 1):
        factor = surplus
        while len(users) and factor < 16 * surplus:
            users = _propose(users, counts, starts, items, alias, factor, rng, preference)
            factor *= 2
        late.append(users)
    for user in np.concatenate(late):
        everything = np.arange(n_items)
        # The largest perturbed logits are a draw without replacement (Gumbel's trick).
        logits = np.log(popularity) + rng.gumbel(size=n_items)
        if preference is not None:
            logits += np.log(preference(np.full(n_items, user), everything))
        best = np.argpartition(-logits, counts[user] - 1)[: counts[user]]
        items[starts[user] : starts[user + 1]] = np.sort(best)
    return items


def _alias(popularity: NDArray[np.float64]) -> Alias:
    """Make Walker's table: a uniform draw from it, kept or exchanged, has these odds."""
    odds = (popularity * (len(popularity) / popularity.sum())).tolist()
    other = list(range(len(odds)))
    small = [k for k, odd in enumerate(odds) if odd < 1]
    large = [k for k, odd in enumerate(odds) if odd >= 1]
    while small and large:
        k, rich = small.pop(), large[-1]
        other[k] = rich
        odds[rich] -= 1 - odds[k]
        if odds[rich] < 1:
            small.append(large.pop())
    return np.array(odds), np.array(other)


def _propose(
    users: NDArray[np.int64],
    counts: NDArray[np.int64],
    starts: NDArray[np.int64],
    items: NDArray[np.int32],
    alias: Alias,
    factor: float,
    rng: np.random.Generator,
    preference: Preference | None,
) -> NDArray[np.int64]:
    """Fill the rows of the users who get enough distinct items; return the others."""
    n_items, wanted = len(alias[0]), counts[users]
    n = np.ceil(wanted * factor).astype(np.int64) + 8
    owner = np.repeat(np.arange(len(users)), n)
    keep, other = alias
    where = rng.random(len(owner)) * n_items
    proposed = np.minimum(where.astype(np.int64), n_items - 1)
    proposed = np.where(where - proposed < keep[proposed], proposed, other[proposed])
    if preference is not None:
        accepted = rng.random(len(owner)) < preference(users[owner], proposed)
        owner, proposed = owner[accepted], proposed[accepted]
    distinct = _first_occurrences(owner * n_items + proposed)
    owner, proposed = owner[distinct], proposed[distinct]
    found = np.bincount(owner, minlength=len(users))
    done = found >= wanted
    # The first that came are the draw: taking any others would favour rare items.
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(found) - found, found)
    chosen = np.repeat(done, found) & (rank < np.repeat(wanted, found))
    keys = np.sort(owner[chosen] * n_items + proposed[chosen])
    items[ranges(starts[users[done]], wanted[done])] = keys % n_items
    return users[~done]


def _first_occurrences(keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark each key where it occurs first."""
    first = np.zeros(len(keys), np.bool_)
    if not len(keys):
        return first
    bits = len(keys).bit_length()
    if int(keys.max()) >> (63 - bits):
        first[np.unique(keys, return_index=True)[1]] = True
        return first
    # Sorting keys and places packed into one number takes a fraction of an argsort.
    packed = np.sort((keys << bits) | np.arange(len(keys)))
    keys, places = packed >> bits, packed & ((1 << bits) - 1)
    first[places[np.concatenate(([True], keys[1:] != keys[:-1]))]] = True
    return first


def ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the numbers starts[0] .. starts[0] + lengths[0] - 1, and so on, in one array."""
    offsets = np.cumsum(lengths) - lengths
    return np.asarray(np.arange(lengths.sum()) + np.repeat(starts - offsets, lengths))


def window(
    first: NDArray[np.int64],
    found: NDArray[np.int64],
    wanted: NDArray[np.int64],
    rng: np.random.Generator,
    total: int,
) -> NDArray[np.bool_]:
    """Mark `wanted` of each row's `found` entries: neighbours, from a random one on, in a circle.

    Items lie in random order of popularity and taste: neighbours are as good a draw as any.
    """
    chosen = np.zeros(total, np.bool_)
    shift = rng.integers(np.maximum(found, 1))
    at = ranges(shift, wanted) % np.repeat(found, wanted)
    chosen[np.repeat(first, wanted) + at] = True
    return chosen

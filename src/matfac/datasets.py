"""Planted data whose true answer is known, and loaders of data sets that you bring."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.special import ndtr

from matfac._bundled import MovieLens, Split, load_movielens, load_split
from matfac._draw import draw_counts, draw_items, draw_popularity, window

__all__ = [
    "MovieLens", "PlantedClicks", "PlantedRatings", "Split", "load_movielens", "load_split",
    "planted_clicks", "planted_ratings",
]  # fmt: skip

CHUNK = 1 << 20  # entries whose ratings are made at a time


@dataclass(frozen=True)
class PlantedRatings:
    """Ratings made from known factors.

    Attributes
    ----------
    train, test : csr_array of shape (n_users, n_items), float32
        Disjoint entries; every user who has any keeps one in `train`.
    user_factors, item_factors : ndarray of shape (n, rank), float32
        The true factors.
    user_bias, item_bias : ndarray of shape (n,), float32
        The true biases.
    mean : float
        The true mean.
    noise : float
        Standard deviation of the noise.
    levels : (lowest, highest, step), or None
        The rating scale.
    noise_floor : float
        RMSE on `test` of `predict`: what no fit can be expected to beat. NaN if `test` is empty.
    """

    train: sp.csr_array
    test: sp.csr_array
    user_factors: NDArray[np.float32]
    item_factors: NDArray[np.float32]
    user_bias: NDArray[np.float32]
    item_bias: NDArray[np.float32]
    mean: float
    noise: float
    levels: tuple[float, float, float] | None
    noise_floor: float

    def truth(self, users: NDArray[np.integer], items: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the true scores of pairs, before noise and rounding."""
        dots = np.einsum("ij,ij->i", self.user_factors[users], self.item_factors[items])
        biases = self.user_bias[users] + self.item_bias[items]
        return np.asarray(self.mean + (biases + dots).astype(np.float64))

    def predict(
        self, users: NDArray[np.integer], items: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """Return the expected rating of pairs, the best guess of one who knows the truth."""
        return _expected(self.truth(users, items), self.noise, self.levels)


@dataclass(frozen=True)
class PlantedClicks:
    """Clicks drawn from known tastes.

    Attributes
    ----------
    train, test : csr_array of shape (n_users, n_items), ones, float32
        Disjoint entries; every user with two or more clicks has one at least in each, unless
        nothing is held out.
    user_factors, item_factors : ndarray of shape (n, rank), float32
        Their products are the users' tastes.
    popularity : ndarray of shape (n_items,)
        The true popularities; they sum to 1.
    taste : float
        Standard deviation of the products.
    """

    train: sp.csr_array
    test: sp.csr_array
    user_factors: NDArray[np.float32]
    item_factors: NDArray[np.float32]
    popularity: NDArray[np.float64]
    taste: float

    def preference(
        self, users: NDArray[np.integer], items: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """Return what multiplies an item's popularity for a user, in (0, 1)."""
        return _preference(self.user_factors[users], self.item_factors[items], self.taste)


def planted_ratings(
    n_users: int = 2000,
    n_items: int = 1000,
    nnz: int = 100_000,
    rank: int = 8,
    noise: float = 0.5,
    *,
    levels: tuple[float, float, float] | None = (0.5, 5.0, 0.5),
    test_fraction: float = 0.1,
    seed: int = 0,
) -> PlantedRatings:
    """Make ratings from biases, factors and noise, at power-law users and items.

    Parameters
    ----------
    n_users, n_items, nnz, rank : int
        Shape, distinct entries, length of the true factors.
    noise : float
        Standard deviation of what no model can know.
    levels : (lowest, highest, step) or None
        Rating scale to round and clip to; None leaves the values as they are.
    test_fraction : float
        Chance of an entry to be in `test`.
    seed : int
        The same seed gives the same data.

    Returns
    -------
    PlantedRatings

    Raises
    ------
    ValueError, TypeError
        Naming the argument.

    Examples
    --------
    >>> from matfac.datasets import planted_ratings
    >>> data = planted_ratings(100, 50, 1000, seed=1)
    >>> data.train.nnz + data.test.nnz
    1000
    """
    _check_sizes(n_users, n_items, nnz, rank)
    _check_real("noise", noise, 0.0, np.inf)
    _check_real("test_fraction", test_fraction, 0.0, 1.0)
    _check_levels(levels)
    rng = np.random.default_rng(seed)
    counts = draw_counts(n_users, n_items, nnz, 1.1, rng)
    items = draw_items(counts, draw_popularity(n_items, 0.8, rng), rng)
    low, high = (0.5, 5.0) if levels is None else levels[:2]
    unit = (high - low) / 4.5
    # Later directions matter less, as in real data; together they move a rating by 0.75 units.
    spread = 0.9 ** np.arange(rank)
    spread *= 0.75 * unit / np.sqrt((spread**2).sum())
    made = PlantedRatings(
        train=sp.csr_array((n_users, n_items)), test=sp.csr_array((n_users, n_items)),
        user_factors=(rng.standard_normal((n_users, rank)) * np.sqrt(spread)).astype(np.float32),
        item_factors=(rng.standard_normal((n_items, rank)) * np.sqrt(spread)).astype(np.float32),
        user_bias=rng.normal(0, 0.4 * unit, n_users).astype(np.float32),
        item_bias=rng.normal(0, 0.5 * unit, n_items).astype(np.float32),
        mean=low + (high - low) * 2 / 3, noise=float(noise), levels=levels, noise_floor=np.nan,
    )  # fmt: skip
    users = np.repeat(np.arange(n_users, dtype=np.int32), counts)
    held_out = rng.random(nnz) < test_fraction
    held_out[(np.cumsum(counts) - counts)[counts > 0]] = False
    values = np.empty(nnz, np.float32)
    squares = 0.0
    for start in range(0, nnz, CHUNK):
        part = slice(start, start + CHUNK)
        truth = made.truth(users[part], items[part])
        noisy = truth + noise * rng.standard_normal(len(truth))
        values[part] = noisy if levels is None else _round(noisy, levels)
        out = held_out[part]
        error = values[part][out] - _expected(truth[out], made.noise, levels)
        squares += float((error**2).sum())
    n_test = int(held_out.sum())
    train, test = _split(counts, items, values, held_out, n_items)
    floor = float(np.sqrt(squares / n_test)) if n_test else float("nan")
    return PlantedRatings(**{**vars(made), "train": train, "test": test, "noise_floor": floor})


def planted_clicks(
    n_users: int = 2000,
    n_items: int = 1000,
    nnz: int = 60_000,
    rank: int = 8,
    *,
    taste: float = 1.5,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> PlantedClicks:
    """Draw clicks: a user picks an item with probability popularity times preference.

    The preference is 1 / (1 + exp(2 (taste - x.y))): about 1 for the items whose product with the
    user's factors is far above one standard deviation, falling off exponentially below.

    Parameters
    ----------
    n_users, n_items, nnz, rank : int
        Shape, distinct clicks, length of the true factors.
    taste : float
        Standard deviation of the products; 0 leaves popularity alone.
    test_fraction : float
        Share of each user's clicks in `test`: at least one, and never all, of two or more.
        0 holds nothing out.
    seed : int
        The same seed gives the same data.

    Returns
    -------
    PlantedClicks

    Raises
    ------
    ValueError, TypeError
        Naming the argument.

    Examples
    --------
    >>> from matfac.datasets import planted_clicks
    >>> data = planted_clicks(100, 50, 500, seed=1)
    >>> data.train.nnz + data.test.nnz
    500
    """
    _check_sizes(n_users, n_items, nnz, rank)
    _check_real("taste", taste, 0.0, 100.0)
    _check_real("test_fraction", test_fraction, 0.0, 1.0)
    rng = np.random.default_rng(seed)
    counts = draw_counts(n_users, n_items, nnz, 0.8, rng)
    popularity = draw_popularity(n_items, 0.6, rng)
    scale = np.sqrt(taste) / rank**0.25
    x = rng.normal(0, scale, (n_users, rank)).astype(np.float32)
    y = rng.normal(0, scale, (n_items, rank)).astype(np.float32)
    items = draw_items(counts, popularity, rng, lambda u, i: _preference(x[u], y[i], taste))
    share = counts * test_fraction
    out = np.floor(share + rng.random(n_users)).astype(np.int64)
    out = np.minimum(np.maximum(out, test_fraction > 0), np.maximum(counts - 1, 0))
    held_out = window(np.cumsum(counts) - counts, counts, out, rng, nnz)
    train, test = _split(counts, items, np.ones(nnz, np.float32), held_out, n_items)
    return PlantedClicks(train, test, x, y, popularity, float(taste))


def _preference(
    x: NDArray[np.float32], y: NDArray[np.float32], taste: float
) -> NDArray[np.float64]:
    score = np.einsum("ij,ij->i", x, y).astype(np.float64)
    return np.asarray(1 / (1 + np.exp(2 * np.clip(taste - score, -350, 350))))


def _split(
    counts: NDArray[np.int64],
    items: NDArray[np.int32],
    values: NDArray[np.float32],
    held_out: NDArray[np.bool_],
    n_items: int,
) -> tuple[sp.csr_array, sp.csr_array]:
    """Return the entries that are not held out, and those that are."""
    ends = np.concatenate(([0], np.cumsum(counts)))
    parts = []
    for part in (~held_out, held_out):
        indptr = np.concatenate(([0], np.cumsum(part)))[ends]
        matrix = sp.csr_array((values[part], items[part], indptr), shape=(len(counts), n_items))
        parts.append(matrix)
    return parts[0], parts[1]


def _round(values: NDArray[np.float64], levels: tuple[float, float, float]) -> NDArray[np.float64]:
    low, high, step = levels
    return np.asarray(np.clip(low + np.round((values - low) / step) * step, low, high))


def _expected(
    truth: NDArray[np.float64], noise: float, levels: tuple[float, float, float] | None
) -> NDArray[np.float64]:
    """Return the mean of truth plus noise, rounded to the levels."""
    if levels is None:
        return truth
    if noise == 0:
        return _round(truth, levels)
    low, high, step = levels
    mean = np.full(truth.shape, float(low))
    for k in range(round((high - low) / step)):
        # Each boundary between two levels that is passed adds a step.
        mean += step * ndtr((truth - (low + (k + 0.5) * step)) / noise)
    return mean


def _check_sizes(n_users: int, n_items: int, nnz: int, rank: int) -> None:
    sizes = {"n_users": n_users, "n_items": n_items, "nnz": nnz, "rank": rank}
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise TypeError(f"{name} must be an integer, got {value!r}")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if nnz > n_users * n_items:
        raise ValueError(
            f"nnz must be at most the number of cells, {n_users} x {n_items}, got {nnz}"
        )


def _check_real(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not low <= value < high:
        raise ValueError(f"{name} must be at least {low:g} and less than {high:g}, got {value}")


def _check_levels(levels: Any) -> None:
    if levels is None:
        return
    if len(levels) != 3 or not all(np.isfinite(level) for level in levels):
        raise ValueError(f"levels must be (lowest, highest, step), got {levels!r}")
    low, high, step = levels
    steps = (high - low) / step if step > 0 else 0.0
    if not 1 <= round(steps) <= 1000 or abs(steps - round(steps)) > 1e-6:
        raise ValueError(f"levels must be up to 1000 whole steps apart, got {levels!r}")

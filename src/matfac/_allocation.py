"""Ranks across layers: where the next parameter lowers the relative errors most."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from matfac._truncated import of_unit_size

_NOTHING = 1e-14  # of a layer's energy: rounding, not worth a parameter
_PAIRS = 24  # layers; of more each is a small part of the budget, and pairs are many
KEEP = 0  # in place of a rank: the matrix stays whole


@dataclass(frozen=True)
class Curve:
    """What a layer's ranks cost, and the share of its energy that each leaves out.

    Attributes
    ----------
    m, n : int
        Rank r costs ``r * (m + n)``, the whole matrix ``m * n``.
    tail : ndarray of shape (min(m, n) + 1,)
        Share of the squared (weighted) norm beyond rank r; convex, from 1 to 0.
    """

    m: int
    n: int
    tail: NDArray[np.float64]

    @property
    def last(self) -> int:
        """The largest rank that is smaller than the matrix."""
        return (self.m * self.n - 1) // (self.m + self.n)

    def cost(self, rank: int) -> int:
        """Parameters at a rank, or of the whole."""
        return self.m * self.n if rank == KEEP else rank * (self.m + self.n)

    def worth(self) -> float:
        """What the whole matrix gains per parameter over the rank that it is the best buy after.

        It is the slope of the line from the whole (no error at full cost) that touches the curve.
        """
        ranks = np.arange(1, self.last + 1)
        return float(np.min(self.tail[ranks] / (self.m * self.n - ranks * (self.m + self.n))))


def curve_of(m: int, n: int, singular: NDArray[np.float64]) -> Curve:
    """Return the curve of a spectrum."""
    energies = of_unit_size(singular)[0][::-1] ** 2
    tail = np.concatenate(([0.0], np.cumsum(energies)))[::-1]
    return Curve(m, n, tail / tail[0] if tail[0] > 0 else tail)


class _Steps:
    """Every layer's steps from rank to rank, the one that gains most per parameter first."""

    def __init__(self, curves: list[Curve], budget: int) -> None:
        self.curves, self.budget = curves, budget
        self.price = np.array([curve.cost(1) for curve in curves])
        self.whole = np.array([curve.cost(KEEP) for curve in curves])
        gains = [-np.diff(curve.tail[1 : curve.last + 1]) for curve in curves]
        gains = [g[c.tail[1 : c.last] >= _NOTHING] for g, c in zip(gains, curves, strict=True)]
        owner = np.repeat(np.arange(len(curves)), [len(gain) for gain in gains])
        order = np.argsort(-np.concatenate(gains) / self.price[owner], kind="stable")
        self.owner = owner[order]

    def taken(self, whole: NDArray[np.bool_]) -> tuple[float, list[int]]:
        """Return the error and the ranks, best steps first, with some of the layers kept whole."""
        room = self.budget - int(self.whole[whole].sum() + self.price[~whole].sum())
        if room < 0:
            return np.inf, []
        steps = self.owner[~whole[self.owner]]
        spent = np.cumsum(self.price[steps])
        n = int(np.searchsorted(spent, room, side="right"))
        room -= int(spent[n - 1]) if n else 0
        taken, steps = steps[:n].tolist(), steps[n:]
        while len(fitting := np.flatnonzero(self.price[steps] <= room)):
            layer, steps = steps[fitting[0]], steps[fitting[0] + 1 :]
            taken.append(layer)
            room -= self.price[layer]
        ranks = np.where(whole, KEEP, 1 + np.bincount(taken, minlength=len(whole))).tolist()
        error = sum(float(c.tail[r]) for c, r in zip(self.curves, ranks, strict=True) if r != KEEP)
        return error, ranks


def allocate(curves: list[Curve], budget: int) -> list[int]:
    """Choose a rank (or `KEEP`) for each layer, at most `budget` parameters in all.

    Lowers the sum of the layers' squared relative errors. For given layers that stay whole, the
    others' ranks are the best but for the last step of each: errors are convex in the rank. Which
    stay whole is a knapsack problem: the layers that gain most per parameter, as many as is best,
    and from there one more or fewer (of few layers, also one for another) until no such change
    lowers the sum.

    Raises
    ------
    ValueError
        Rank 1 everywhere is over the budget.

    Examples
    --------
    >>> flat, steep = (curve_of(8, 8, np.array(s)) for s in ([1.0] * 8, [8.0, 4, 2, 1, 1, 1, 1, 1]))
    >>> allocate([flat, steep], 64)
    [2, 2]
    >>> allocate([flat, steep], 128)
    [0, 0]
    """
    spent = sum(curve.cost(1) for curve in curves)
    if spent > budget:
        raise ValueError(f"rank 1 in every layer takes {spent} parameters, the budget is {budget}")
    if not curves:
        return []
    steps = _Steps(curves, budget)
    place = np.argsort([-curve.worth() for curve in curves], kind="stable").argsort()
    best = min(steps.taken(place < n) for n in range(len(curves) + 1))
    one = list(np.eye(len(curves), dtype=np.bool_))
    two = [a | b for a, b in combinations(one, 2)] if len(curves) <= _PAIRS else []
    while True:
        whole = np.equal(best[1], KEEP)
        found = min(steps.taken(whole ^ change) for change in one + two)
        if found[0] >= best[0] - _NOTHING:
            return best[1]
        best = found

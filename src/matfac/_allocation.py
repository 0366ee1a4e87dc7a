"""Ranks across layers: where the next parameter lowers the relative errors most."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matfac._truncated import of_unit_size

_NOTHING = 1e-14  # of a layer's energy: rounding, not worth a parameter
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

    def turn(self) -> int:
        """The rank from which the whole matrix is the better buy than any larger rank.

        It is where the line from the whole matrix (no error at full cost) touches the curve.
        """
        ranks = np.arange(1, self.last + 1)
        gains = self.tail[ranks] / (self.m * self.n - ranks * (self.m + self.n))
        return int(ranks[np.argmin(gains)])


def curve_of(m: int, n: int, singular: NDArray[np.float64]) -> Curve:
    """Return the curve of a spectrum."""
    energies = of_unit_size(singular)[0][::-1] ** 2
    tail = np.concatenate(([0.0], np.cumsum(energies)))[::-1]
    return Curve(m, n, tail / tail[0] if tail[0] > 0 else tail)


def allocate(curves: list[Curve], budget: int) -> list[int]:
    """Choose a rank (or `KEEP`) for each layer, at most `budget` parameters in all.

    Minimises the sum of the layers' squared relative errors, greedily along the lower convex hull
    of each layer's (cost, error) points, which is optimal but for the last step of each layer.

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
    ranks = [1] * len(curves)
    spent = sum(curve.cost(1) for curve in curves)
    if spent > budget:
        raise ValueError(f"rank 1 in every layer takes {spent} parameters, the budget is {budget}")
    turns = [curve.turn() for curve in curves]
    waiting: list[tuple[float, int, int]] = []  # minus the gain per parameter, layer, next rank

    def offer(layer: int, *, whole: bool) -> None:
        curve, rank = curves[layer], ranks[layer]
        following = KEEP if whole else rank + 1
        if following > curve.last or curve.tail[rank] < _NOTHING:
            return
        error = 0.0 if whole else float(curve.tail[following])
        price = curve.cost(following) - curve.cost(rank)
        heapq.heappush(waiting, ((error - float(curve.tail[rank])) / price, layer, following))

    for layer, turn in enumerate(turns):
        offer(layer, whole=turn == 1)
    while waiting:
        _, layer, following = heapq.heappop(waiting)
        price = curves[layer].cost(following) - curves[layer].cost(ranks[layer])
        if spent + price <= budget:
            ranks[layer], spent = following, spent + price
            if following != KEEP:
                offer(layer, whole=following == turns[layer])
        elif following == KEEP:
            offer(layer, whole=False)  # the whole is too much: what is left goes into ranks
    return ranks

"""Planted data of the sizes measured, in the shapes of the MovieLens sets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from matfac.datasets import planted_ratings
from matfac.reference import Csr

# Entries: (users, items)
SHAPES = {
    100_000: (1_000, 1_700),
    1_000_000: (6_000, 3_700),
    10_000_000: (70_000, 10_700),
    20_000_000: (138_000, 27_000),
    100_000_000: (480_000, 17_800),
}
RANK = 16
SEED = 20


@dataclass(frozen=True)
class Case:
    """One matrix, users x items, float32."""

    name: str
    csr: Csr
    shape: tuple[int, int]

    @property
    def nnz(self) -> int:
        return len(self.csr[1])


def parse_size(text: str) -> int:
    """Read 100k, 1M or a plain number of entries.

    >>> parse_size("1M")
    1000000
    """
    factor = {"k": 1_000, "m": 1_000_000}.get(text[-1:].lower(), 1)
    return int(float(text[:-1] if factor > 1 else text) * factor)


def size_name(nnz: int) -> str:
    """Write a number of entries as people do."""
    for unit, name in ((1_000_000, "M"), (1_000, "k")):
        if nnz >= unit and nnz % unit == 0:
            return f"{nnz // unit}{name}"
    return str(nnz)


def shape_of(nnz: int) -> tuple[int, int]:
    """Users and items for this many entries: a known shape, or one as dense as at 1M."""
    if nnz in SHAPES:
        return SHAPES[nnz]
    users, items = SHAPES[1_000_000]
    scale = (nnz / 1_000_000) ** 0.5
    return max(64, round(users * scale)), max(64, round(items * scale))


def _case(name: str, matrix: sp.csr_array) -> Case:
    csr = (
        matrix.indptr.astype(np.int64),
        matrix.indices.astype(np.int32),
        matrix.data.astype(np.float32),
    )
    return Case(name, csr, matrix.shape)


def ratings(nnz: int) -> Case:
    """Ratings with biases, factors and noise."""
    users, items = shape_of(nnz)
    data = planted_ratings(users, items, nnz, rank=RANK, test_fraction=0.0, seed=SEED)
    return _case(f"ratings {size_name(nnz)}", data.train)


def clicks(nnz: int) -> Case:
    """What is liked, as ones: the better half of twice as many ratings."""
    users, items = shape_of(nnz)
    data = planted_ratings(
        users, items, 2 * nnz, rank=RANK, levels=None, test_fraction=0.0, seed=SEED
    ).train.tocoo()
    liked = np.argpartition(data.data, nnz)[nnz:]
    rows, columns = data.coords
    ones = np.ones(nnz, np.float32)
    matrix = sp.csr_array((ones, (rows[liked], columns[liked])), shape=(users, items))
    return _case(f"clicks {size_name(nnz)}", matrix)


MAKERS = {"ratings": ratings, "clicks": clicks}

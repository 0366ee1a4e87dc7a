"""What a fit will need of memory, counted before it begins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from matfac._features import BLOCK, DIRECT_UP_TO

INDEX, POINTER, DOUBLE = 4, 8, 8  # bytes of the core's column indices, its row pointers
SGD_BAND = 512 << 10  # bytes of item factors in an SGD block; see sgd_plan.cpp
PAIRWISE_BAND = 1 << 20  # see pairwise.cpp
SGD_LEAST_BANDS, SGD_MOST_BANDS = 16, 256
SGD_SHORT_USER = 32  # half as many where users have fewer entries
SGD_MOST_ENTRIES = 500e3  # of a block
CG_TILE, CACHED, BATCH_SHARE = 512 << 10, 32 << 20, 24  # see kernels.hpp, row_schedule.hpp
SIDE_BY_SIDE, SIDE_BY_SIDE_FACTORS = 64, 64  # bytes of a vector's lanes, factors; see kernels.hpp


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak memory of a fit in bytes, the matrix included, the interpreter not.

    Attributes
    ----------
    matrix : int
        X as the core reads it: CSR, with the estimator's dtype and 32-bit column indices. Where X
        is just that, it is read in place; the model's copy of the indices comes after the peak.
    arranged : int
        The same entries by item, or in the blocks of SGD; with early stopping, the training part;
        with gradient steps on a large matrix, the threads' copies of what they are working on;
        with exact solutions, the rows' normal equations that they hold.
    features : int
        Side features by row and by feature, what solves for their map, and the means that they
        give the factors.
    factors : int
        Factors, biases and per-row state.
    snapshots : int
        Copies of them, which Ctrl-C and early stopping go back to.
    """

    matrix: int
    arranged: int
    features: int
    factors: int
    snapshots: int

    @property
    def total(self) -> int:
        return sum(vars(self).values())

    def __str__(self) -> str:
        parts = {**vars(self), "total": self.total}
        return "\n".join(f"{name:<10}{size / 1e6:>12,.1f} MB" for name, size in parts.items())


def csr_bytes(n_rows: int, nnz: int, itemsize: int) -> int:
    """Return the bytes of a CSR matrix in the core's types."""
    return nnz * (INDEX + itemsize) + (n_rows + 1) * POINTER


def table_bytes(n_rows: int, k: int, itemsize: int) -> int:
    """Return the bytes of a padded table of factors."""
    return n_rows * -(-k // 16) * 16 * itemsize


def batch_bytes(m: int, n: int, nnz: int, k: int, itemsize: int, n_threads: int) -> int:
    """Return the bytes of the terms of rows that are solved together, on the side with more."""

    def side(rows: int, fixed: int) -> int:
        table = table_bytes(fixed, k, itemsize)
        if table < CACHED or nnz / rows < CG_TILE / (table / fixed) / 4:  # most rows are short
            return 0
        return 2 * itemsize * min(nnz // 2, n_threads * BATCH_SHARE * fixed)

    return max(side(m, n), side(n, m))


def systems_bytes(k: int, itemsize: int, n_threads: int) -> int:
    """Return the bytes of the normal equations that the threads hold, and of their factors."""
    stride = table_bytes(1, k, 1)
    elements = stride * (stride + 4) + 16
    if stride <= SIDE_BY_SIDE_FACTORS:
        elements = SIDE_BY_SIDE // itemsize * elements + (stride + 2) * (stride + 3) // 2 * 16
    return n_threads * elements * itemsize


def feature_bytes(n_rows: int, n_features: int, nnz: int, k: int, itemsize: int) -> int:
    """Return the bytes of one side's features and of their map; see FeatureMap."""
    both = csr_bytes(n_rows, nnz, itemsize) + csr_bytes(n_features, nnz, itemsize)
    if n_features <= DIRECT_UP_TO:
        solving = n_features * (n_features + 2 * k) * DOUBLE
        solving += 4 * min(nnz, BLOCK) * (INDEX + DOUBLE)
    else:
        solving = 5 * n_features * k * DOUBLE
        solving += table_bytes(4 * n_features + n_rows, k + 1, itemsize)
    return both + solving + table_bytes(n_rows, k, itemsize)


def plan_bytes(
    n_users: int,
    n_items: int,
    nnz: int,
    k: int,
    itemsize: int,
    *,
    values: bool = True,
    band: int = SGD_BAND,
) -> int:
    """Return the bytes of SGD's blocks: the entries, and where each user's run begins."""
    by_cache = -(-table_bytes(n_items, k, itemsize) // band)
    least = SGD_LEAST_BANDS // (2 if nnz < SGD_SHORT_USER * n_users else 1)
    bands = max(by_cache, least, int((nnz / SGD_MOST_ENTRIES) ** 0.5) + 1)
    bands = int(np.clip(min(bands, int((nnz / 1000) ** 0.5)), 1, SGD_MOST_BANDS))
    per_user = nnz / max(n_users, 1)
    runs = n_users * bands * (1 - (1 - 1 / bands) ** per_user) if bands > 1 else n_users
    return int(nnz * (INDEX + values * itemsize) + runs * (INDEX + POINTER))


def pairwise_bytes(
    n_users: int, n_items: int, nnz: int, k: int, itemsize: int, *, by_popularity: bool
) -> int:
    """Return the bytes of the blocks, of the filter of positives and of the pool of negatives."""
    blocks = plan_bytes(n_users, n_items, nnz, k, itemsize, values=False, band=PAIRWISE_BAND)
    words = min(2 ** np.ceil(np.log2(max(nnz / max(n_users, 1) / 4, 1))), -(-n_items // 64))
    return int(
        blocks + n_users * (words + 1) * POINTER + INDEX * (nnz if by_popularity else n_items)
    )

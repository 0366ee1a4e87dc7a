"""The table of dtypes, instruction sets and factor lengths that the core is tested over."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from matfac import _core, _engine

# 1 to over two registers of every set, on and beside the multiples of the padding.
FACTOR_LENGTHS = (1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 65, 128)
DTYPES = ("float32", "float64")
ISAS = tuple(_core.isas())

DATA_DIR = Path(os.environ.get("MATFAC_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once per instruction set that this processor has."""
    before = _core.isa()
    _core.use_isa(request.param)
    yield request.param
    _core.use_isa(before)


@pytest.fixture(params=DTYPES)
def dtype(request: pytest.FixtureRequest) -> str:
    """Run the test once per factor dtype."""
    return str(request.param)


def random_ratings(
    n_users: int, n_items: int, density: float, seed: int, *, implicit: bool = False
) -> sp.csr_array:
    """Ratings 1..5 (or ones) with an empty row and an empty column."""
    rng = np.random.default_rng(seed)
    known = rng.random((n_users, n_items)) < density
    known[n_users // 2] = False
    known[:, n_items // 3] = False
    values = np.ones(known.shape) if implicit else rng.integers(1, 6, known.shape)
    return sp.csr_array(np.where(known, values, 0).astype(np.float64))


def side_features(n: int, p: int, seed: int) -> np.ndarray:
    """Groups, a number and a constant column."""
    rng = np.random.default_rng(seed)
    groups = np.eye(p - 2)[rng.integers(p - 2, size=n)]
    return np.column_stack((groups, rng.normal(size=n), np.ones(n)))


def core_csr(matrix: sp.csr_array, dtype: str, weights: np.ndarray | None = None) -> _engine.Csr:
    """The matrix in the core's hands."""
    matrix.sort_indices()
    return _engine.make_csr(
        matrix.shape[1],
        matrix.indptr.astype(np.int64),
        matrix.indices.astype(np.int32),
        matrix.data.astype(dtype),
        None if weights is None else weights.astype(dtype),
    )


def table(factors: np.ndarray, dtype: str) -> np.ndarray:
    """A padded copy of the factors."""
    padded = _engine.empty_table(*factors.shape, np.dtype(dtype))
    padded[:, : factors.shape[1]] = factors
    return padded


def load_data(name: str) -> dict[str, np.ndarray]:
    """A real data set, or skip."""
    path = DATA_DIR / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{path} is absent: set MATFAC_DATA_DIR to the folder that holds it")
    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays}


def check_interrupted(make: Callable[..., Any], X: Any) -> None:
    """Check that Ctrl-C in a fit leaves the model of its last whole epoch."""

    def note(epoch: int, _: Any) -> None:
        if epoch == 2:
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()

    model = make(callback=note)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert model.n_iter_ == len(model.history_) >= 2
    again = make(callback=lambda epoch, _: epoch == model.n_iter_).fit(X)
    np.testing.assert_array_equal(model.item_factors_, again.item_factors_)

"""The core's passes over a matrix's arrays, against NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.sparse as sp

from matfac import ExplicitMF, ImplicitMF, _core

PART = 1 << 16  # of what a thread takes at a time


def some(n: int, dtype: str) -> np.ndarray:
    return np.random.default_rng(n).standard_normal(n).astype(dtype)


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("n", [0, 1, 7, 8, 15, 16, 17, 33, PART - 1, PART, 3 * PART + 5])
def test_least_and_largest(isa: str, dtype: str, n: int, n_threads: int) -> None:
    values = some(n, dtype)
    wanted = (values.min(), values.max()) if n else (0, 0)
    assert _core.value_range(values, n_threads) == wanted
    for at in {0, n // 2, n - 1} if n else ():
        least, most = values.copy(), values.copy()
        least[at], most[at] = -9, 9
        assert _core.value_range(least, n_threads)[0] == -9
        assert _core.value_range(most, n_threads)[1] == 9


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_seen_anywhere(isa: str, dtype: str, odd: float) -> None:
    n = 2 * PART + 21
    for at in (0, 1, 16, PART - 1, PART, PART + 7, n - 5, n - 1):
        values = some(n, dtype)
        values[at] = odd
        assert np.isnan(_core.value_range(values, 2)).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_sums_of_rows(isa: str, dtype: str, weighted: bool) -> None:
    """Empty rows, at either end too, and rows longer than a part."""
    lengths = np.array([0, 0, 1, 2, 3, 4, 5, 0, PART, 2 * PART + 3, 0, 7, 100, PART - 1, 0])
    indptr = np.concatenate(([0], np.cumsum(lengths)))
    values, weights = some(indptr[-1], dtype), some(indptr[-1] + 1, dtype)[1:]
    factors = weights if weighted else np.ones(1, dtype)
    products = values.astype(np.float64) * factors
    wanted = [products[a:b].sum() for a, b in itertools.pairwise(indptr)]
    given = weights if weighted else None
    found = [_core.row_sums(indptr, values, given, threads) for threads in (1, 2, 5)]
    np.testing.assert_allclose(found[0], wanted, rtol=1e-12, atol=1e-10)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
    assert _core.row_sums(np.zeros(4, np.int64), values[:0], None, 2).tolist() == [0, 0, 0]


@pytest.mark.parametrize("n", [0, 1, PART - 1, PART, 3 * PART + 5])
def test_narrow_indices(n: int) -> None:
    wide = np.random.default_rng(n).integers(0, 2**31 - 1, n)
    for threads in (1, 2, 5):
        narrow = _core.narrow_indices(wide, 2**31 - 1, threads)
        assert narrow.dtype == np.int32
        np.testing.assert_array_equal(narrow, wide)
    for at in {0, n // 2, n - 1} if n else ():
        for odd in (-1, 2**31, 2**32 + 1, -(2**63)):
            wild = wide.copy()
            wild[at] = odd
            with pytest.raises(ValueError, match=f"indices must lie in .*, not {odd}"):
                _core.narrow_indices(wild, 2**31 - 1, 2)


def test_wrong_arrays_are_refused() -> None:
    indptr, values = np.array([0, 2, 3]), np.ones(3)
    for bad in (np.array([1, 3]), np.array([0, 3, 2]), np.zeros(0, np.int64), np.array([[0, 3]])):
        with pytest.raises(ValueError, match="indptr"):
            _core.row_sums(bad, values, None, 1)
    with pytest.raises(ValueError, match="values must be a vector of 3 elements"):
        _core.row_sums(indptr, values[:2], None, 1)
    with pytest.raises(ValueError, match="weights must be a vector of 3 elements"):
        _core.row_sums(indptr, values, values[:2], 1)
    with pytest.raises(ValueError, match="values must be a vector"):
        _core.value_range(np.ones((2, 2)), 1)
    with pytest.raises(ValueError, match="n_threads"):
        _core.value_range(values, 0)


@pytest.mark.parametrize("make", [ExplicitMF, ImplicitMF])
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 1e16])
def test_a_fit_names_the_entry(make: type, odd: float) -> None:
    X = sp.csr_array(np.arange(1, 13, dtype=np.float32).reshape(3, 4))
    X.data[6] = odd
    with pytest.raises(ValueError, match=r"X\[1, 2\] = |X contains .*X\[1, 2\]"):
        make(n_factors=2).fit(X)

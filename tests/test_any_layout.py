"""However a matrix is laid out, an estimator makes of it what it makes of the plain one."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from matfac import ExplicitMF, ImplicitMF, RankingMF

ESTIMATORS = (
    ExplicitMF(n_factors=2, n_iter=2, random_state=0),
    ExplicitMF(n_factors=2, n_iter=2, random_state=0, solver="sgd", deterministic=True),
    ImplicitMF(n_factors=2, n_iter=2, random_state=0),
    RankingMF(n_factors=2, n_iter=2, random_state=0, deterministic=True),
)
FORMATS = ("csr", "csc", "coo", "lil", "dok")  # blocks of BSR store zeros, which are ratings


@st.composite
def matrices(draw: st.DrawFn) -> sp.csr_array:
    """Positive values from tiny to huge, with rows and columns that may be empty."""
    shape = draw(st.integers(2, 9)), draw(st.integers(2, 9))
    scale = draw(st.sampled_from([1e-12, 1e-3, 1.0, 1e6, 1e12]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    known = rng.random(shape) < draw(st.floats(0.1, 1.0))
    known[0, 0] = True
    return sp.csr_array(np.where(known, scale * rng.integers(1, 6, shape), 0.0))


def with_layout(matrix: sp.csr_array, draw: Any) -> Any:
    """The matrix with its entries shuffled, split in two, of wide indices or read-only."""
    coo = matrix.tocoo()
    order = np.argsort(draw(st.permutations(range(matrix.nnz))))
    rows, columns, values = coo.row[order], coo.col[order], coo.data[order]
    if draw(st.booleans()):  # halves of each entry, the sum of which is exact
        rows, columns = np.tile(rows, 2), np.tile(columns, 2)
        values = np.tile(values / 2, 2)
    index = draw(st.sampled_from([np.int32, np.int64]))
    by_row = np.argsort(rows, kind="stable")  # columns stay shuffled within their row
    indptr = np.searchsorted(rows[by_row], np.arange(matrix.shape[0] + 1)).astype(index)
    arrays = [values[by_row], columns[by_row].astype(index), indptr]
    if draw(st.booleans()):
        arrays[:2] = [np.repeat(array, 2)[::2] for array in arrays[:2]]
    other = sp.csr_array(tuple(arrays), shape=matrix.shape)
    other = other.asformat(draw(st.sampled_from(FORMATS)))
    if draw(st.booleans()) and hasattr(other, "data") and isinstance(other.data, np.ndarray):
        other.data.flags.writeable = False
    return other


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: f"{type(e).__name__}")
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_layout_changes_nothing(estimator: Any, data: st.DataObject) -> None:
    matrix = data.draw(matrices())
    other = with_layout(matrix, data.draw)
    before = other.toarray()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few entries: steps that diverge are told and retried
        plain = estimator.fit(matrix)
        expected = (plain.user_factors_.copy(), plain.item_factors_.copy(), plain.transform(matrix))
        again = estimator.fit(other)
        found = (again.user_factors_, again.item_factors_, again.transform(other))
    for left, right in zip(expected, found, strict=True):
        assert np.isfinite(left).all()
        np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(other.toarray(), before)
